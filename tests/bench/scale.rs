//! One host with many tasks, a Lease each, and a second one that stands by for all of them: what they ask of the
//! API server, what they take of the machine, and how long all of it takes to be handed over. Beside it client-go's
//! elector, as many times in one process, and the two writes for each Lease that a handover cannot do without.

use std::{
    fmt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use comfy_table::Table;
use futures_util::{StreamExt, stream};
use leasehold::lease::{kubernetes::KubernetesStore, room::Room};
use leasehold_core::{lease::LeaseRecord, ports::LeaseStore};
use leasehold_tests::{
    build,
    control_plane::ControlPlane,
    from_env,
    host_process::HostProcess,
    many_tasks::{ManyTasks, Rights, first_of_each, wait_for_all},
    process_use::ProcessUse,
    table::{Samples, table},
};
use rustix::process::Signal;

/// How many tasks; `LEASEHOLD_SCALE_TASKS` takes another number alone.
const COUNTS: [u64; 3] = [1, 100, 1_000];
/// For how long a leader and a standby are looked at while nothing happens.
const WATCHED_FOR: Duration = Duration::from_secs(30);
/// Before that: what the start has set off.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Elector {
    Leasehold(Rights),
    ClientGo,
}

impl fmt::Display for Elector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leasehold(Rights::Namespace) => "Leasehold, one watch",
            Self::Leasehold(Rights::Names) => "Leasehold, a watch each",
            Self::ClientGo => "client-go",
        })
    }
}

pub(crate) fn scale() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let counts = from_env("LEASEHOLD_SCALE_TASKS").map_or(COUNTS.to_vec(), |count| vec![count]);
    let mut costs = table(&[
        "leases of 15 s, at rest",
        "leases",
        "requests/lease/min",
        "leader: CPU %",
        "MiB",
        "files",
        "standby: CPU %",
        "MiB",
        "files",
    ]);
    let mut times = table(&[
        "milliseconds",
        "leases",
        "start to the last led",
        "requests/lease",
        "SIGTERM to led by the other: p50",
        "p99",
        "max",
        "requests/lease",
        "failed",
        "leases lost",
    ]);
    for count in counts {
        let count = usize::try_from(count).expect("a number of leases");
        limit(&runtime, &plane, count, &mut times);
        for elector in [Elector::Leasehold(Rights::Namespace), Elector::Leasehold(Rights::Names), Elector::ClientGo] {
            Contest::new(&runtime, &plane, count, elector).row(&mut costs, &mut times);
        }
        costs.add_row(Vec::<String>::new());
    }
    println!("One process with many tasks, a Lease each, and another that stands by, at rest\n\n{costs}\n");
    println!("The same, at the start, and when the leader is asked to end\n\n{times}\n");
}

/// A release and an acquisition of each, as many at once as a host has under way.
fn limit(runtime: &tokio::runtime::Runtime, plane: &ControlPlane, count: usize, times: &mut Table) {
    let (client, room) = (
        {
            let _inside = runtime.enter();
            plane.client()
        },
        Room::default(),
    );
    let mut samples = Samples::new();
    runtime.block_on(async {
        let held = LeaseRecord { holder: Some("first".into()), ..LeaseRecord::default() };
        let next = LeaseRecord { holder: Some("second".into()), ..LeaseRecord::default() };
        let each = |index: usize| {
            let name = format!("limit-{count}-{index}");
            let store = KubernetesStore::new(client.clone(), "default", &name).sharing(room.clone(), None);
            let held = &held;
            async move {
                let version = store.write(None, held).await.expect("made");
                (store, version)
            }
        };
        let stores: Vec<_> = stream::iter((0..count).map(each)).buffer_unordered(32).collect().await;
        let begun = Instant::now();
        let hand_over = |(store, version): (KubernetesStore, _)| {
            let next = &next;
            async move {
                let version = store.write(Some(version), &LeaseRecord::default()).await.expect("released");
                store.write(Some(version), next).await.expect("acquired");
                begun.elapsed()
            }
        };
        let done: Vec<_> = stream::iter(stores.into_iter().map(hand_over)).buffer_unordered(32).collect().await;
        for took in done {
            samples.add_micros(i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        }
    });
    let ms = |ms: f64| format!("{ms:.0}");
    times.add_row([
        "two writes for each".to_owned(),
        count.to_string(),
        "-".to_owned(),
        "-".to_owned(),
        ms(samples.p50_ms()),
        ms(samples.p99_ms()),
        ms(samples.max_ms()),
        "2.0".to_owned(),
        "0".to_owned(),
        "-".to_owned(),
    ]);
}

struct Host {
    user: String,
    process: HostProcess,
}

impl Host {
    fn use_of(&self) -> ProcessUse {
        ProcessUse::of(self.process.id()).expect("it runs")
    }
}

struct Contest<'a> {
    runtime: &'a tokio::runtime::Runtime,
    plane: &'a ControlPlane,
    tasks: ManyTasks,
    count: usize,
    elector: Elector,
}

impl<'a> Contest<'a> {
    fn new(runtime: &'a tokio::runtime::Runtime, plane: &'a ControlPlane, count: usize, elector: Elector) -> Self {
        let namespace = format!("{elector}-{count}").to_lowercase().replace([' ', ','], "-");
        let tasks = runtime.block_on(ManyTasks::prepare(plane, &namespace, count, build::guest("heartbeat")));
        Self { runtime, plane, tasks: tasks.expect("a namespace"), count, elector }
    }

    fn start(&self, name: &str) -> Host {
        let user = format!("{}-{name}", self.tasks.namespace());
        let rights = match self.elector {
            Elector::Leasehold(rights) => rights,
            Elector::ClientGo => Rights::Namespace,
        };
        let kubeconfig = self.runtime.block_on(self.tasks.kubeconfig(self.plane, &user, rights)).expect("a user");
        let process = match self.elector {
            Elector::Leasehold(_) => self.tasks.host(name, &kubeconfig),
            Elector::ClientGo => {
                let mut command = Command::new(build::client_go());
                command.env("KUBECONFIG", kubeconfig).env("NAMESPACE", self.tasks.namespace());
                command.env("LEASES", self.count.to_string()).args(["task", name]);
                HostProcess::spawn(name, command)
            }
        };
        Host { process, user }
    }

    /// What they have asked for so far, and how much of it has failed.
    fn asked(&self, hosts: [&Host; 2]) -> (usize, usize) {
        let of = |host: &Host| self.plane.requests_of(&host.user).expect("a record");
        let requests: Vec<_> = hosts.into_iter().flat_map(of).collect();
        (requests.len(), requests.iter().filter(|request| request.code >= 400).count())
    }

    fn per_lease(&self, requests: usize) -> String {
        format!("{:.1}", requests as f64 / self.count as f64)
    }

    fn row(&self, costs: &mut Table, times: &mut Table) {
        let begun = Instant::now();
        let mut leader = self.start("leader");
        wait_for_all(&mut [&mut leader.process], "guest-output", self.count);
        let all_led = begun.elapsed();
        let until_led = self.plane.requests_of(&leader.user).expect("a record").len();
        let mut standby = self.start("standby");
        wait_for_all(&mut [&mut standby.process], "new-leader", self.count);
        thread::sleep(SETTLES_WITHIN);
        self.at_rest(&leader, &standby, costs);

        let before = self.asked([&leader, &standby]);
        let ended = jiff::Timestamp::now().as_microsecond();
        leader.process.signal(Signal::TERM);
        wait_for_all(&mut [&mut standby.process], "guest-output", self.count);
        leader.process.wait();
        let mut handover = Samples::new();
        for started in first_of_each(&standby.process.events(), "guest-output").values() {
            handover.add_micros(started - ended);
        }
        let after = self.asked([&leader, &standby]);
        let lost: usize = [&leader, &standby].map(|host| host.process.count("lost")).iter().sum();
        let ms = |ms: f64| format!("{ms:.0}");
        times.add_row([
            self.elector.to_string(),
            self.count.to_string(),
            ms(all_led.as_secs_f64() * 1e3),
            self.per_lease(until_led),
            ms(handover.p50_ms()),
            ms(handover.p99_ms()),
            ms(handover.max_ms()),
            self.per_lease(after.0 - before.0),
            (after.1 - before.1).to_string(),
            lost.to_string(),
        ]);
        standby.process.signal(Signal::TERM);
        standby.process.wait();
    }

    fn at_rest(&self, leader: &Host, standby: &Host, costs: &mut Table) {
        let (requests, _) = self.asked([leader, standby]);
        let (before, begun) = ([leader.use_of(), standby.use_of()], Instant::now());
        thread::sleep(WATCHED_FOR);
        let (after, lasted) = ([leader.use_of(), standby.use_of()], begun.elapsed().as_secs_f64());
        let requests = self.asked([leader, standby]).0 - requests;
        let a_minute = requests as f64 / self.count as f64 * 60.0 / lasted;
        let mut cells = vec![self.elector.to_string(), self.count.to_string(), format!("{a_minute:.1}")];
        for (before, after) in before.iter().zip(&after) {
            cells.push(format!("{:.1}", 100.0 * (after.cpu - before.cpu).as_secs_f64() / lasted));
            cells.push(format!("{:.0}", after.resident_bytes as f64 / 1024.0 / 1024.0));
            cells.push(after.files.to_string());
        }
        costs.add_row(cells);
    }
}
