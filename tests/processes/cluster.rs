//! Hosts against a real API server: one leads, whatever is done to it.

use std::{path::Path, sync::Mutex, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use leasehold_tests::{
    build::{self, guest},
    control_plane::ControlPlane,
    host_process::{HostProcess, PATIENCE},
    network::{Network, Weather},
};
use rustix::process::Signal;
use serde_json::json;

use super::{
    AT_ONCE, LEASE, LEASE_DURATION, LONG_LEASE, STEADY_LEASE, assert_stopped_then_released,
    folder::{SELDOM_BEATS, wait_for_another_beat},
    micros, only,
};

/// Of `program`: so that it prints for longer than any test lasts. It does not hear that it is asked to stop.
const PRINTS_ON: [&str; 2] = ["--arg", "100000"];

/// Control planes that start at the same time get in each other's way on two cores.
static STARTING: Mutex<()> = Mutex::new(());

pub(super) struct Cluster {
    pub(super) plane: ControlPlane,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments for the API server.
    pub(super) fn start_with(arguments: &[&str]) -> Self {
        let one_at_a_time = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime
            .block_on(ControlPlane::start_with(build::control_plane_binaries(), arguments))
            .expect("a control plane");
        drop(one_at_a_time);
        Self { plane, runtime }
    }

    pub(super) fn host(&self, name: &str, module: &str, args: &[&str]) -> HostProcess {
        self.host_via(name, module, self.plane.kubeconfig(), args)
    }

    fn host_via(&self, name: &str, module: &str, kubeconfig: &Path, args: &[&str]) -> HostProcess {
        HostProcess::run_in_cluster(name, &guest(module), kubeconfig, &[&["--lease", "task"], args].concat())
    }

    /// A leader whose guest runs, and a standby that knows it.
    pub(super) fn leader_and_standby(&self, module: &str, args: &[&str]) -> (HostProcess, HostProcess) {
        let leader = self.host("first", module, args);
        leader.wait_for("line of the guest", |event| event.name() == "guest-output");
        let standby = self.host("second", module, args);
        standby.wait_for_event("new-leader", 1);
        (leader, standby)
    }

    /// The objects of a kind.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let _inside = self.runtime.enter();
        Api::default_namespaced(self.plane.client())
    }

    fn leases(&self) -> Api<Lease> {
        self.api()
    }

    pub(super) fn lease(&self) -> Lease {
        let leases = self.leases();
        self.runtime.block_on(leases.get("task")).expect("the lease is there")
    }

    pub(super) fn renewed_micros(&self) -> i64 {
        let spec = self.lease().spec.expect("a spec");
        spec.renew_time.expect("it was renewed").0.as_microsecond()
    }

    pub(super) fn patch(&self, patch: &serde_json::Value) {
        let leases = self.leases();
        let patch = Patch::Merge(patch);
        self.runtime.block_on(leases.patch("task", &PatchParams::default(), &patch)).expect("patched");
    }

    /// Waits until the Lease was renewed `count` times more.
    pub(super) fn wait_for_renewals(&self, count: usize) {
        let begun = std::time::Instant::now();
        let (mut seen, mut last) = (0, self.renewed_micros());
        while seen < count {
            assert!(begun.elapsed() < PATIENCE, "the lease is not renewed");
            std::thread::sleep(Duration::from_millis(50));
            let renewed = self.renewed_micros();
            seen += usize::from(renewed != last);
            last = renewed;
        }
    }
}

fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// By what the guest has printed, a line every 100 ms: the line that says that it is gone has a time of its own, which
/// is that of a busy machine. For the same reason one line is let pass, which had come through the gate before.
#[track_caller]
fn assert_prints_nothing_from(host: &HostProcess, at_micros: i64, what: &str) {
    let lines = host.events_named("guest-output");
    assert!(!lines.is_empty(), "it has printed nothing at all");
    let late: Vec<_> = lines.into_iter().filter(|line| line.at_micros >= at_micros).collect();
    assert!(late.len() <= 1, "{what}: {late:?}");
}

#[test]
fn of_three_replicas_one_leads_and_a_terminated_leader_hands_over_after_its_guest_has_stopped() {
    let cluster = Cluster::start();
    let (mut leader, second) = cluster.leader_and_standby("heartbeat", &LONG_LEASE);
    let third = cluster.host("third", "heartbeat", &LONG_LEASE);
    third.wait_for_event("new-leader", 1);
    cluster.wait_for_renewals(1);
    let spec = cluster.lease().spec.expect("a spec");
    assert!(spec.holder_identity.expect("held").starts_with("first_"));
    assert_eq!(spec.lease_duration_seconds, Some(30));
    for standby in [&second, &third] {
        assert!(standby.events_named("leading").is_empty() && standby.events_named("guest-started").is_empty());
    }

    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    let begun = std::time::Instant::now();
    let taken = loop {
        let taken = [&second, &third].map(|standby| standby.events_named("guest-started")).concat();
        if !taken.is_empty() {
            break only(taken);
        }
        assert!(begun.elapsed() < PATIENCE, "nobody has taken over");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_stopped_then_released(&leader);
    let stopped = only(leader.events_named("guest-stopped"));
    let released = only(leader.events_named("released"));
    assert!(stopped.at_micros <= taken.at_micros);
    assert!(taken.at_micros - released.at_micros < micros(AT_ONCE), "it waited for the record to run out");
    assert!(taken.token() > stopped.token());
    assert_eq!(cluster.lease().spec.expect("a spec").lease_transitions, Some(1), "a new holder, and not the first");
}

#[test]
fn a_killed_leaders_lease_is_taken_when_it_has_run_out_and_never_before() {
    let cluster = Cluster::start();
    let (mut leader, standby) = cluster.leader_and_standby("busy-loop", &LEASE);
    leader.kill();
    let renewed = cluster.renewed_micros();
    let taken = standby.wait_for_event("guest-started", 1);
    let waited = taken.at_micros - renewed;
    assert!(waited >= micros(LEASE_DURATION), "taken {waited} us after the last renewal");
    assert!(taken.token() > leader.wait_for_event("leading", 1).token());
}

#[test]
fn without_the_api_server_the_guest_stops_in_time_and_afterwards_somebody_leads_again() {
    let mut cluster = Cluster::start();
    let (mut leader, mut standby) = cluster.leader_and_standby("program", &[&LEASE[..], &PRINTS_ON].concat());
    let token = leader.wait_for_event("leading", 1).token();
    cluster.plane.stop_api_server().expect("stopped");
    let stopped_at = now_micros();
    let stopped = leader.wait_for_event("guest-stopped", 1);
    // The last renewal was before the server stopped, so the bound is before this.
    let bound = stopped_at + micros(LEASE_DURATION);
    assert_prints_nothing_from(&leader, bound, "the guest stopped too late");
    assert_eq!((&stopped.line["outcome"], &stopped.line["reason"]), (&"stopped".into(), &"leadership-lost".into()));
    let asked = leader.wait_for_event("stop-requested", 1);
    assert!(asked.at_micros <= stopped.at_micros, "asked first, at the renew deadline");
    leader.wait_for_event("lost", 1);
    assert!(leader.is_running() && standby.is_running());

    let Cluster { plane, runtime } = &mut cluster;
    runtime.block_on(plane.start_api_server()).expect("started again");
    let begun = std::time::Instant::now();
    let next = loop {
        let first_again = leader.events_named("guest-started").into_iter().skip(1);
        if let Some(next) = first_again.chain(standby.events_named("guest-started")).next() {
            break next;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody leads");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(next.token() > token);
}

#[test]
fn a_guest_stops_at_once_when_its_lease_is_deleted_or_overwritten() {
    let cluster = Cluster::start();
    // With these, nothing but the sight of it could stop the guest this soon.
    let long = ["--lease-duration", "120s", "--renew-deadline", "110s", "--retry-period", "2s"];
    let host = cluster.host("only", "busy-loop", &long);
    let first = host.wait_for_event("guest-started", 1);

    let deleted_at = now_micros();
    cluster.runtime.block_on(cluster.leases().delete("task", &DeleteParams::default())).expect("deleted");
    let stopped = host.wait_for_event("guest-stopped", 1);
    assert!(stopped.at_micros - deleted_at < micros(Duration::from_secs(20)), "it did not stop at once");
    assert!(host.wait_for_event("lost", 1).message().contains("deleted"));
    // It competes on, and makes the lease again: with a greater token, though the count of
    // transitions begins anew (anchors.md, defect 5).
    let second = host.wait_for_event("guest-started", 2);
    assert!(second.token() > first.token());

    let taken_at = now_micros();
    cluster.patch(&json!({"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 2}}));
    let stopped = host.wait_for_event("guest-stopped", 2);
    assert!(stopped.at_micros - taken_at < micros(Duration::from_secs(20)), "it did not stop at once");
    assert!(host.wait_for_event("lost", 2).message().contains("somebody-else"));
    // That one never renews: its two seconds run out.
    let third = host.wait_for_event("guest-started", 3);
    assert!(third.token() > second.token());
    assert!(third.at_micros - taken_at >= micros(Duration::from_secs(2)));
}

/// client-go counts from when the answer arrives: two leaders, for 3.5 to 5.5 seconds
/// (anchors.md, defect 1).
#[test]
fn a_renewal_answered_nine_seconds_late_and_then_silence_do_not_stretch_the_term() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    // Timeouts of 19 s, so that the late answer does count.
    let slow = ["--lease-duration", "60s", "--renew-deadline", "58s", "--retry-period", "2s", "--stop-grace", "1s"];
    let slow = [&slow[..], &PRINTS_ON].concat();
    let leader = cluster.host_via("far", "program", &kubeconfig, &slow);
    leader.wait_for("line of the guest", |event| event.name() == "guest-output");
    let standby = cluster.host("near", "program", &slow);
    standby.wait_for_event("new-leader", 1);

    network.set(Weather { answers_late: Duration::from_secs(9), ..Weather::default() });
    let acquired = cluster.renewed_micros();
    cluster.wait_for_renewals(1);
    let renewed = cluster.renewed_micros();
    assert!(renewed > acquired);
    // The answer to that renewal arrives, and before the next one is sent, twenty seconds after it, silence.
    std::thread::sleep(Duration::from_secs(14));
    network.set(Weather { silent: true, ..Weather::default() });
    let stopped = leader.wait_for_event("guest-stopped", 1);
    let bound = renewed + micros(Duration::from_secs(60));
    assert_prints_nothing_from(&leader, bound, "the guest went on after its lease");
    // The answer was taken: without it, the term would have ended twenty seconds earlier.
    assert!(stopped.at_micros > acquired + micros(Duration::from_secs(60)), "the late answer has not counted at all");
    let taken = standby.wait_for_event("guest-started", 1);
    assert_prints_nothing_from(&leader, taken.at_micros, "two at once");
    assert!(taken.at_micros >= bound);
}

#[test]
fn a_leader_suspended_past_its_lease_lets_nothing_out_when_it_goes_on() {
    let cluster = Cluster::start();
    let args = [&LEASE[..], &SELDOM_BEATS].concat();
    let (leader, standby) = cluster.leader_and_standby("heartbeat", &args);
    wait_for_another_beat(&leader);
    leader.suspend();
    standby.wait_for("beat of the successor", |event| event.message().starts_with("beat 2,"));
    let continued = now_micros();
    leader.signal(Signal::CONT);
    let stopped = leader.wait_for_event("guest-stopped", 1);
    assert_eq!(stopped.line["reason"], "leadership-lost");
    let late: Vec<_> =
        leader.events_named("guest-output").into_iter().filter(|line| line.at_micros >= continued).collect();
    assert!(late.is_empty(), "{late:?}");
    leader.wait_for_event("new-leader", 1);
}

#[test]
fn a_standby_sends_nothing_while_the_leader_renews() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let leader = cluster.host("near", "parked", &STEADY_LEASE);
    leader.wait_for_event("guest-started", 1);
    let standby = cluster.host_via("counted", "parked", &kubeconfig, &STEADY_LEASE);
    standby.wait_for_event("new-leader", 1);
    // Its first read, its list and the opening of its watch are over when it has seen a renewal.
    cluster.wait_for_renewals(2);
    let before = network.bytes_up();
    cluster.wait_for_renewals(4);
    let sent = network.bytes_up() - before;
    assert_eq!(sent, 0, "a standby with a watch has sent {sent} bytes in four renewals");
    assert!(standby.events_named("leading").is_empty());
}

/// A connection that is dead, but not closed: nothing says so.
#[test]
fn a_standby_whose_watch_has_gone_silent_finds_out_and_polls() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let mut leader = cluster.host("near", "heartbeat", &LONG_LEASE);
    leader.wait_for_event("guest-started", 1);
    let standby = cluster.host_via("far", "heartbeat", &kubeconfig, &LONG_LEASE);
    standby.wait_for_event("new-leader", 1);
    cluster.wait_for_renewals(1);
    network.set(Weather { dead_connections: network.connections(), ..Weather::default() });
    // The record that it has seen last runs out, by its own observation, and once more where the first request is lost
    // with the connection. It has found out when it has sent something in each of some seconds.
    let (begun, mut sent, mut in_a_row) = (std::time::Instant::now(), network.bytes_up(), 0);
    while in_a_row < 4 {
        assert!(begun.elapsed() < PATIENCE, "it does not poll");
        std::thread::sleep(Duration::from_secs(2));
        let before = std::mem::replace(&mut sent, network.bytes_up());
        in_a_row = if sent > before { in_a_row + 1 } else { 0 };
    }
    assert!(standby.events_named("leading").is_empty() && leader.events_named("lost").is_empty());

    leader.signal(Signal::TERM);
    let taken = standby.wait_for_event("guest-started", 1);
    assert_eq!(leader.wait().code(), Some(0));
    let released = only(leader.events_named("released"));
    assert!(taken.at_micros - released.at_micros < micros(AT_ONCE), "it waited for the record to run out");
}

#[test]
fn a_leader_cut_off_by_a_silent_network_is_replaced_after_its_guest_has_stopped() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let args = [&LEASE[..], &PRINTS_ON].concat();
    let leader = cluster.host_via("far", "program", &kubeconfig, &args);
    leader.wait_for("line of the guest", |event| event.name() == "guest-output");
    let standby = cluster.host("near", "program", &args);
    standby.wait_for_event("new-leader", 1);
    network.set(Weather { silent: true, ..Weather::default() });
    let taken = standby.wait_for_event("guest-started", 1);
    let stopped = leader.wait_for_event("guest-stopped", 1);
    assert_prints_nothing_from(&leader, taken.at_micros, "two at once");
    // It was asked, had what was left of the term, which is less than the usual grace, and was stopped by its end.
    let asked = leader.wait_for_event("stop-requested", 1);
    assert!(asked.at_micros <= stopped.at_micros);
    assert_eq!(stopped.line["outcome"], "stopped");
    // The network is back: it stands by.
    network.set(Weather::default());
    leader.wait_for_event("new-leader", 1);
}
