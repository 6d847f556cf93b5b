//! A lease at rest, with three replicas: what they ask of the API server, and what they cost on their machine.

use std::{fs, io, thread, time::Duration};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::{Api, api::PostParams};
use leasehold_tests::{from_env, host_process::HostProcess, table::SideBySide};
use serde_json::json;

use super::{Elector, World};

const REPLICAS: usize = 3;
/// What is done at the start is over by then: lists, the first watch, what a garbage collector makes of it.
const SETTLING: Duration = Duration::from_secs(20);

pub(super) fn rest(world: &World) {
    let minutes = from_env("LEASEHOLD_BENCH_MINUTES").unwrap_or(5);
    world.allow_leases();
    let both = [Elector::Leasehold("heartbeat"), Elector::ClientGo { releases: true }].map(|one| Team::new(world, one));
    thread::sleep(SETTLING);
    let before = both.each_ref().map(|team| team.measure(world));
    thread::sleep(Duration::from_secs(60 * minutes));
    let after = both.each_ref().map(|team| team.measure(world));

    let [ours, theirs] = [0, 1].map(|one| Cost::between(&before[one], &after[one], minutes));
    let title = format!("A lease at rest, {REPLICAS} replicas, over {minutes} min; standby: the mean of both");
    let mut table = SideBySide::new(&title);
    let mut row = |what, number: fn(&Cost) -> Option<f64>| table.numbers(what, number(&ours), number(&theirs));
    row("requests a minute, of all", |cost| Some(cost.requests));
    row("of that, the standbys'", |cost| Some(cost.requests_of_standbys));
    row("standby: CPU, ms a minute", |cost| cost.standby.as_ref().map(|usage| usage.cpu_ms));
    row("standby: resident memory, MB", |cost| cost.standby.as_ref().map(|usage| usage.resident_mb));
    row("of that, its own alone, MB", |cost| cost.standby.as_ref().map(|usage| usage.own_mb));
    row("leader: CPU, ms a minute", |cost| cost.leader.as_ref().map(|usage| usage.cpu_ms));
    table.print();
}

/// The replicas of one elector: the leader, and then the standbys.
struct Team {
    replicas: Vec<(HostProcess, String)>,
}

/// What each has cost so far.
type Measured = Vec<(usize, Option<Usage>)>;

impl Team {
    fn new(world: &World, elector: Elector) -> Self {
        let name = match elector {
            Elector::Leasehold(_) => "rest-leasehold",
            Elector::ClientGo { .. } => "rest-client-go",
        };
        let replicas = (0..REPLICAS).map(|number| {
            let user = user(name, number);
            let kubeconfig = world.plane.kubeconfig_for(&user).expect("a kubeconfig");
            let process = elector.spawn(&user, name, &kubeconfig);
            process.wait_for_event(if number == 0 { "guest-output" } else { "new-leader" }, 1);
            (process, user)
        });
        Self { replicas: replicas.collect() }
    }

    fn measure(&self, world: &World) -> Measured {
        let measure = |(process, user): &(HostProcess, String)| {
            (world.plane.requests_of(user).expect("the audit log").len(), Usage::of(process.id()).ok())
        };
        self.replicas.iter().map(measure).collect()
    }
}

/// Each replica is a user, so that the API server's audit log tells them apart.
fn user(team: &str, number: usize) -> String {
    format!("{team}-{number}")
}

impl World {
    /// All that the replicas need.
    fn allow_leases(&self) {
        let users =
            ["rest-leasehold", "rest-client-go"].map(|team| (0..REPLICAS).map(move |number| user(team, number)));
        let subjects: Vec<_> = users.into_iter().flatten().map(|user| json!({"kind": "User", "name": user})).collect();
        let rules = json!([{
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "list", "watch", "create", "update"],
        }]);
        let role = json!({"metadata": {"name": "rest"}, "rules": rules});
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "rest"});
        let binding = json!({"metadata": {"name": "rest"}, "subjects": subjects, "roleRef": role_ref});
        let role: ClusterRole = serde_json::from_value(role).expect("a role");
        let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("a binding");
        self.runtime.block_on(async {
            let (roles, bindings) = (Api::all(self.plane.client()), Api::all(self.plane.client()));
            roles.create(&PostParams::default(), &role).await.expect("created");
            bindings.create(&PostParams::default(), &binding).await.expect("created");
        });
    }
}

/// A minute of it.
struct Cost {
    requests: f64,
    requests_of_standbys: f64,
    leader: Option<Usage>,
    standby: Option<Usage>,
}

impl Cost {
    fn between(before: &Measured, after: &Measured, minutes: u64) -> Self {
        let minutes = minutes as f64;
        let requests: Vec<_> =
            before.iter().zip(after).map(|(before, after)| (after.0 - before.0) as f64 / minutes).collect();
        let usages: Option<Vec<_>> = before
            .iter()
            .zip(after)
            .map(|(before, after)| {
                let (before, after) = before.1.as_ref().zip(after.1.as_ref())?;
                Some(Usage { cpu_ms: (after.cpu_ms - before.cpu_ms) / minutes, ..*after })
            })
            .collect();
        let (leader, standbys) = usages.as_ref().and_then(|usages| usages.split_first()).unzip();
        let standby = standbys.map(|standbys| {
            let mean = |of: fn(&Usage) -> f64| standbys.iter().map(of).sum::<f64>() / standbys.len() as f64;
            Usage {
                cpu_ms: mean(|usage| usage.cpu_ms),
                resident_mb: mean(|usage| usage.resident_mb),
                own_mb: mean(|usage| usage.own_mb),
            }
        });
        Self {
            requests: requests.iter().sum(),
            requests_of_standbys: requests[1..].iter().sum(),
            leader: leader.copied(),
            standby,
        }
    }
}

/// What a process has used.
#[derive(Clone, Copy)]
struct Usage {
    /// Of all its threads that are there.
    cpu_ms: f64,
    resident_mb: f64,
    /// What would be free if it ended.
    own_mb: f64,
}

impl Usage {
    /// Linux alone tells it.
    fn of(process: u32) -> io::Result<Self> {
        let mut cpu_ns = 0.0;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // Nanoseconds on a CPU, and two other numbers; `stat` knows no less than 10 ms.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            cpu_ns += text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default();
        }
        let memory = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let mb = |names: &[&str]| {
            let lines = memory.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| names.contains(name));
            let kib = lines.filter_map(|(_, kib)| kib.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kib.sum::<f64>() * 1024.0 / 1e6
        };
        Ok(Self { cpu_ms: cpu_ns / 1e6, resident_mb: mb(&["Rss"]), own_mb: mb(&["Private_Clean", "Private_Dirty"]) })
    }
}
