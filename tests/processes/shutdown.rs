//! How a host ends: when it is asked to, when it is asked twice, and when it cannot.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::{HostProcess, PATIENCE, leasehold},
    network::{Network, Weather},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LEASE, LEASE_DURATION, LONG_LEASE, cluster::Cluster, folder};

/// A host whose last words are kept.
struct Ending {
    host: HostProcess,
    said: TempDir,
}

impl Ending {
    fn start(module: &str, args: &[&str], kubeconfig: Option<&Path>) -> Self {
        let said = TempDir::new().expect("a folder");
        let mut command = Command::new(build::leasehold());
        command.arg("run").arg(guest(module)).args(["--log-format", "json", "--identity", "host"]).args(args);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.stderr(Stdio::from(fs::File::create(said.path().join("stderr")).expect("a file")));
        Self { host: HostProcess::spawn("host", command), said }
    }

    /// Its exit code and its last words.
    fn wait(&mut self) -> (Option<i32>, String) {
        let code = self.host.wait().code();
        (code, fs::read_to_string(self.said.path().join("stderr")).expect("text"))
    }
}

fn waits_for(what: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == "shutdown-waits" && event.message().contains(what)
}

#[test]
fn a_second_signal_ends_the_host_at_once_and_its_lease_runs_out() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)] {
        let leases = TempDir::new().expect("a folder");
        let store = format!("file:{}", leases.path().display());
        // It computes on and hears nothing, and has all the time it wants.
        let args = [&LONG_LEASE[..], &["--lease-store", &store, "--stop-grace", "10m"]].concat();
        let mut leader = Ending::start("busy-loop", &args, None);
        leader.host.wait_for_event("guest-started", 1);
        leader.host.signal(first);
        leader.host.wait_for("word of what it waits for", waits_for("the component, which was asked to stop"));
        // It still leads meanwhile, however long that takes.
        assert!(leader.host.is_running() && leader.host.events_named("lost").is_empty());
        leader.host.signal(second);
        let (code, said) = leader.wait();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("a second time") && said.contains("the component"), "{said}");
        assert!(leader.host.all_events().iter().all(|event| event.name() != "released"));
        assert!(
            folder::lease(leases.path(), "busy-loop")["holderIdentity"].is_string(),
            "it is held until it runs out"
        );
    }
}

#[test]
fn a_leader_whose_cluster_is_gone_ends_with_its_term_and_says_that_it_waits_for_that() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let args = [&LEASE[..], &["--lease", "task", "--stop-grace", "100ms"]].concat();
    let mut leader = Ending::start("parked", &args, Some(&kubeconfig));
    leader.host.wait_for_event("guest-started", 1);
    network.set(Weather { silent: true, ..Weather::default() });
    leader.host.signal(Signal::TERM);
    let asked = leader.host.wait_for_event("shutdown", 1);
    leader
        .host
        .wait_for("word of what it waits for", waits_for("the lease to be released, or else its term to end in"));
    assert_eq!(leader.wait().0, Some(0));
    let events = leader.host.all_events();
    let lost = events.iter().find(|event| event.name() == "lost").expect("it could not be released");
    // A line may wait for its core before it is written.
    let at_most = LEASE_DURATION + Duration::from_secs(5);
    assert!(lost.at_micros - asked.at_micros <= super::micros(at_most), "longer than its term");
    assert!(events.iter().all(|event| event.name() != "released"));
}

#[test]
fn a_host_that_has_not_ended_in_time_ends_all_the_same_and_says_what_it_waited_for() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    // Its term lasts for longer than it has.
    let long = ["--lease", "task", "--lease-duration", "600s", "--renew-deadline", "500s", "--retry-period", "1s"];
    let args = [&long[..], &["--stop-grace", "1s", "--shutdown-timeout", "4s"]].concat();
    let mut leader = Ending::start("parked", &args, Some(&kubeconfig));
    leader.host.wait_for_event("guest-started", 1);
    network.set(Weather { silent: true, ..Weather::default() });
    let begun = Instant::now();
    leader.host.signal(Signal::TERM);
    let (code, said) = leader.wait();
    assert!(begun.elapsed() >= Duration::from_secs(4) && begun.elapsed() < PATIENCE);
    assert_eq!(code, Some(1));
    assert!(said.contains("has not ended within 4s") && said.contains("the lease to be released"), "{said}");
    assert_eq!(leader.host.events_named("guest-stopped").len(), 1, "its component was not let down");
}

#[test]
fn less_time_to_end_than_a_component_may_take_is_a_mistake() {
    let module = guest("parked");
    let module = module.to_str().expect("UTF-8");
    let flags = leasehold(&["run", module, "--lease-store", "file:/tmp", "--shutdown-timeout", "5s"], &[]);
    assert_eq!(flags.code, Some(2));
    assert!(flags.stderr.contains("--shutdown-timeout") && flags.stderr.contains("stopGrace"), "{}", flags.stderr);
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("host.yaml");
    fs::write(&config, format!("leaseStore: file:/tmp\nshutdownTimeout: 9s\ntasks:\n- {{name: a, module: {module}, limits: {{stopGrace: 10s}}}}\n"))
        .expect("written");
    let file = leasehold(&["run", "--config", config.to_str().expect("UTF-8")], &[]);
    assert_eq!(file.code, Some(2));
    assert!(file.stderr.contains("line 2") && file.stderr.contains("10s"), "{}", file.stderr);
}
