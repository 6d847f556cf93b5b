//! A module in a ConfigMap that is watched through the API, and what a person can see of its life:
//! log, health, metrics, Kubernetes Events.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use k8s_openapi::{
    ByteString,
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Event as CoreEvent},
    },
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use leasehold_tests::{
    build::{self, guest},
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;

use super::{LONG_LEASE, cluster::Cluster, only};

const KEY: &str = "task.wasm";

impl Cluster {
    fn put_module(&self, bytes: &[u8]) {
        let config_map = ConfigMap {
            metadata: ObjectMeta { name: Some("nightly".into()), ..ObjectMeta::default() },
            binary_data: Some([(KEY.to_owned(), ByteString(bytes.to_owned()))].into()),
            ..ConfigMap::default()
        };
        let (config_maps, params) = (self.api(), PostParams::default());
        self.runtime
            .block_on(async {
                match config_maps.replace("nightly", &params, &config_map).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        config_maps.create(&params, &config_map).await
                    }
                    replaced => replaced,
                }
            })
            .expect("written");
    }

    fn put_guest(&self, name: &str) {
        self.put_module(&std::fs::read(guest(name)).expect("it was built"));
    }

    fn host_of_config_map(&self, name: &str, more: &[&str]) -> HostProcess {
        let module = format!("configmap:nightly/{KEY}");
        let args =
            [&["--lease", "task", "--env", "BEAT_MS=20", "--admin", "127.0.0.1:0"], &LONG_LEASE[..], more].concat();
        HostProcess::run_in_cluster(name, module.as_ref(), self.plane.kubeconfig(), &args)
    }

    /// The Events on the Lease, as `kubectl describe` finds them: reason, type, note.
    fn events(&self) -> Vec<(String, String, String)> {
        let (leases, events) = (self.api::<Lease>(), self.api::<CoreEvent>());
        self.runtime.block_on(async {
            let uid = leases.get("task").await.expect("the lease is there").uid().expect("it has a uid");
            let about = format!("involvedObject.kind=Lease,involvedObject.name=task,involvedObject.uid={uid}");
            let found = events.list(&ListParams::default().fields(&about)).await.expect("listed").items;
            let text = Option::<String>::unwrap_or_default;
            found.into_iter().map(|event| (text(event.reason), text(event.type_), text(event.message))).collect()
        })
    }

    pub(super) fn wait_for_event_on_lease(&self, reason: &str, kind: &str, says: &[&str]) {
        let begun = Instant::now();
        loop {
            let events = self.events();
            let is = |(found, found_kind, note): &&(String, String, String)| {
                found == reason && found_kind == kind && says.iter().all(|says| note.contains(says))
            };
            if events.iter().any(|event| is(&event)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {kind} Event {reason} with {says:?}, but {events:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The status and the body of a GET to the host's admin address.
pub(super) fn get(host: &HostProcess, path: &str) -> (u16, String) {
    let address = host.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

pub(super) fn assert_metric(host: &HostProcess, line: &str) {
    let (status, metrics) = get(host, "/metrics");
    assert!(status == 200 && metrics.lines().any(|found| found == line), "no line {line:?} in:\n{metrics}");
}

fn beats(host: &HostProcess) -> usize {
    host.events_named("guest-output").len()
}

#[test]
fn a_new_module_takes_over_with_the_write_and_a_broken_one_changes_nothing() {
    let cluster = Cluster::start();
    cluster.put_guest("heartbeat");
    let leader = cluster.host_of_config_map("first", &[]);
    let begun = leader.wait_for_event("guest-started", 1);
    let standby = cluster.host_of_config_map("second", &[]);
    standby.wait_for_event("new-leader", 1);
    cluster.wait_for_event_on_lease("StartedLeading", "Normal", &["first_", &begun.token().to_string()]);
    let held = cluster.lease().spec.expect("a spec");

    // A broken one: both say why, and the old one works on.
    cluster.put_module(b"\0asm\x0d\0\x01\0 and then nonsense");
    for host in [&leader, &standby] {
        let rejected = host.wait_for_event("module-rejected", 1);
        assert!(rejected.message().contains("cut off or damaged"), "{}", rejected.message());
        assert_metric(host, "leasehold_module_rejections_total{task=\"task\"} 1");
    }
    cluster.wait_for_event_on_lease("ModuleRejected", "Warning", &["first_", "sha256:", "cut off or damaged"]);
    let so_far = beats(&leader);
    leader.wait_until("beat of the old module", |events| {
        (events.iter().filter(|event| event.name() == "guest-output").count() > so_far + 3).then_some(())
    });

    // So does one whose ConfigMap is gone.
    cluster.runtime.block_on(cluster.api::<ConfigMap>().delete("nightly", &DeleteParams::default())).expect("deleted");
    let rejected = leader.wait_for_event("module-rejected", 2);
    assert!(rejected.message().contains("there is no configmap default/nightly"), "{}", rejected.message());

    // A good one: in the same term, on a lease that has not changed hands.
    cluster.put_guest("parked");
    standby.wait_for_event("module-loaded", 2);
    let swapped = leader.wait_for_event("module-swapped", 1);
    assert_eq!(leader.wait_for_event("guest-started", 2).token(), begun.token());
    let stopped = only(leader.events_named("guest-stopped"));
    assert_eq!(stopped.line["reason"], "module-replaced");
    cluster.wait_for_event_on_lease(
        "ModuleSwapped",
        "Normal",
        &["first_", swapped.line["digest"].as_str().expect("a digest")],
    );
    assert_metric(&leader, "leasehold_module_swaps_total{task=\"task\"} 1");
    assert_metric(&leader, "leader_election_master_status{name=\"task\"} 1");
    assert_metric(&standby, "leader_election_master_status{name=\"task\"} 0");
    let spec = cluster.lease().spec.expect("a spec");
    assert_eq!((spec.holder_identity, spec.lease_transitions), (held.holder_identity, held.lease_transitions));
    assert!(standby.events_named("guest-started").is_empty());
}

#[test]
fn a_config_map_that_comes_only_later_is_waited_for_in_a_pod() {
    let cluster = Cluster::start();
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", cluster.plane.kubeconfig()).env("POD_NAME", "pod-1").env("POD_NAMESPACE", "default");
    command.args(["run", &format!("configmap:nightly/{KEY}"), "--lease", "task", "--env", "BEAT_MS=20"]);
    command.args(["--admin", "127.0.0.1:0", "--log-format", "json"]);
    let host = HostProcess::spawn("pod-1", command);
    let rejected = host.wait_for_event("module-rejected", 1);
    assert!(rejected.message().contains("the task waits for one that is: there is no configmap"), "{rejected}");
    let (status, lines) = get(&host, "/readyz");
    assert!(status == 503 && lines.contains("there is no configmap default/nightly"), "{status} {lines}");
    cluster.put_guest("heartbeat");
    host.wait_for("beat", |event| event.message().starts_with("beat 1,"));
    assert_eq!(get(&host, "/readyz"), (200, "task: ready\n".to_owned()));
    assert_eq!(host.count("candidate"), 1);
}

#[test]
fn while_the_api_server_is_gone_the_module_stays_and_its_changes_are_taken_up_afterwards() {
    let mut cluster = Cluster::start();
    cluster.put_guest("parked");
    let host = cluster.host_of_config_map("only", &[]);
    host.wait_for_event("guest-started", 1);
    cluster.plane.stop_api_server().expect("stopped");
    let unavailable = host.wait_for_event("module-source-unavailable", 1);
    assert!(unavailable.message().contains("configmap default/nightly"), "{}", unavailable.message());
    assert_metric(&host, "leasehold_module_source_unavailable{task=\"task\"} 1");
    let Cluster { plane, runtime } = &mut cluster;
    runtime.block_on(plane.start_api_server()).expect("started again");
    cluster.put_guest("heartbeat");
    host.wait_for_event("module-swapped", 1);
    host.wait_for("beat", |event| event.message().starts_with("beat 1,"));
    assert_metric(&host, "leasehold_module_rejections_total{task=\"task\"} 0");
    assert_metric(&host, "leasehold_module_source_unavailable{task=\"task\"} 0");
}

#[test]
fn health_and_metrics_are_told_from_the_start_to_the_end() {
    let cluster = Cluster::start();
    cluster.put_guest("slow-stop");
    let mut host = cluster.host_of_config_map("only", &["--stop-grace", "3s"]);
    host.wait_for_event("guest-output", 1);
    assert_eq!(get(&host, "/livez"), (200, "it works\n".to_owned()));
    assert_eq!(get(&host, "/readyz"), (200, "task: ready\n".to_owned()));
    assert_eq!(get(&host, "/nothing").0, 404);
    let token = host.wait_for_event("leading", 1).token();
    assert_metric(&host, &format!("leasehold_token{{task=\"task\"}} {token}"));

    host.signal(Signal::TERM);
    host.wait_for_event("stop-requested", 1);
    // Its last seconds are watched as well.
    assert_eq!(get(&host, "/livez").0, 200);
    assert_eq!(host.wait().code(), Some(0));
    cluster.wait_for_event_on_lease("StoppedLeading", "Normal", &["only_", "released", "shutdown"]);
}

#[test]
fn a_lost_lease_is_a_warning_on_the_lease() {
    let cluster = Cluster::start();
    cluster.put_guest("parked");
    let host = cluster.host_of_config_map("only", &[]);
    host.wait_for_event("guest-started", 1);
    cluster.patch(&serde_json::json!({"spec": {"holderIdentity": "somebody-else"}}));
    host.wait_for_event("lost", 1);
    cluster.wait_for_event_on_lease("StoppedLeading", "Warning", &["only_", "lost", "somebody-else"]);
    let module = std::fs::read(guest("parked")).expect("it was built");
    let digest = leasehold::guest::module::digest(&module);
    assert_metric(&host, &format!("leasehold_module_info{{task=\"task\",digest=\"{digest}\"}} 1"));
}

#[test]
fn check_says_the_same_of_a_module_in_a_config_map() {
    let cluster = Cluster::start();
    cluster.put_guest("parked");
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    let module = format!("configmap:default/nightly/{KEY}");
    let said = leasehold_tests::host_process::leasehold(&["check", &module], &[("KUBECONFIG", kubeconfig)]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains(&format!("{module}: this host can run it")), "{}", said.stdout);
}
