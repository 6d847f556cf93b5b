//! Hosts that stand as candidates, and an API server that picks one of them.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::{v1::Lease, v1beta1::LeaseCandidate};
use kube::api::{ListParams, PostParams};
use leasehold_tests::{
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use serde_json::json;

use super::{AT_ONCE, LEASE, LEASE_DURATION, LONG_LEASE, assert_stopped_then_released, cluster::Cluster, micros, only};

/// What makes an API server take part.
pub(super) const SWITCHED_ON: [&str; 2] =
    ["--feature-gates=CoordinatedLeaderElection=true", "--runtime-config=coordination.k8s.io/v1beta1=true"];

fn candidate(cluster: &Cluster, name: &str, emulated: &str) -> HostProcess {
    candidate_for(&LEASE, cluster, name, emulated)
}

fn candidate_for(lease: &[&str; 6], cluster: &Cluster, name: &str, emulated: &str) -> HostProcess {
    let versions = ["--coordinated", "--binary-version", "2.0.0", "--emulation-version", emulated];
    cluster.host(name, "heartbeat", &[&lease[..], &versions].concat())
}

fn candidates(cluster: &Cluster) -> Vec<LeaseCandidate> {
    let api = cluster.api::<LeaseCandidate>();
    cluster.runtime.block_on(api.list(&ListParams::default())).expect("listed").items
}

fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the first host whose guest starts; which one that is.
fn first_to_lead(hosts: &[&HostProcess]) -> (usize, Event) {
    let first = || {
        let mut started = hosts.iter().enumerate();
        started.find_map(|(index, host)| Some((index, host.events_named("guest-started").into_iter().next()?)))
    };
    until("somebody leads", || first().is_some());
    first().expect("somebody leads")
}

/// No guest ran while another's did, and tokens grew, by what the hosts have said.
fn assert_one_after_the_other(hosts: &[&HostProcess]) {
    let mut runs: Vec<(u64, i64, Option<i64>)> = Vec::new();
    for host in hosts {
        let stopped = host.events_named("guest-stopped");
        let ends = stopped.iter().map(|event| Some(event.at_micros)).chain(std::iter::repeat(None));
        let started = host.events_named("guest-started");
        runs.extend(started.iter().zip(ends).map(|(event, end)| (event.token(), event.at_micros, end)));
    }
    runs.sort_unstable_by_key(|(_, started, _)| *started);
    for pair in runs.windows(2) {
        let [(token, _, ended), (next_token, next_started, _)] = pair else { unreachable!("windows of two") };
        assert!(token < next_token, "{runs:?}");
        // Of a killed host nothing was told: the API server's word has to do.
        assert!(ended.is_none_or(|ended| ended <= *next_started), "{runs:?}");
    }
}

#[test]
fn of_three_candidates_one_is_picked_and_an_older_one_that_joins_takes_over_when_its_guest_is_gone() {
    let cluster = Cluster::start_with(&SWITCHED_ON);
    let hosts = ["one", "two", "three"].map(|name| candidate_for(&LONG_LEASE, &cluster, name, "2.0.0"));
    let (index, first) = first_to_lead(&hosts.each_ref());
    let leader = &hosts[index];
    let spec = cluster.lease().spec.expect("a spec");
    assert_eq!(spec.strategy.as_deref(), Some("OldestEmulationVersion"), "the API server has picked");
    only(leader.events_named("named"));

    // However close to each other they began, the API server does not change its mind about equals.
    until("all three stand", || {
        candidates(&cluster).iter().filter(|candidate| candidate.spec.renew_time.is_some()).count() == 3
    });
    cluster.wait_for_renewals(2);
    assert_eq!(hosts.iter().map(|host| host.events_named("leading").len()).sum::<usize>(), 1);

    let mut older = candidate_for(&LONG_LEASE, &cluster, "older", "1.0.0");
    let second = older.wait_for_event("guest-started", 1);
    only(leader.events_named("another-preferred"));
    assert_stopped_then_released(leader);
    let stopped = only(leader.events_named("guest-stopped"));
    assert_eq!(stopped.line["reason"], "stepped-down");
    assert!(stopped.at_micros <= second.at_micros && first.token() < second.token());
    // It released, and so its record was not waited out.
    let released = only(leader.events_named("released"));
    assert!(second.at_micros - released.at_micros < micros(AT_ONCE), "released and picked anew");
    assert_eq!(candidates(&cluster).len(), 4, "who made room is a candidate still");

    older.signal(Signal::TERM);
    assert_eq!(older.wait().code(), Some(0));
    let next = |hosts: &[HostProcess; 3]| {
        let mut started = hosts.iter().flat_map(|host| host.events_named("guest-started"));
        started.find(|event| event.token() > second.token())
    };
    until("one of the others leads", || next(&hosts).is_some());
    let names: Vec<_> = candidates(&cluster).into_iter().filter_map(|candidate| candidate.metadata.name).collect();
    assert!(names.len() == 3 && names.iter().all(|name| !name.starts_with("older_")), "it has left: {names:?}");
    assert_one_after_the_other(&[&hosts[0], &hosts[1], &hosts[2], &older]);
}

#[test]
fn a_killed_leader_is_followed_when_its_record_has_run_out_and_never_before() {
    let cluster = Cluster::start_with(&SWITCHED_ON);
    let mut hosts = ["one", "two"].map(|name| candidate(&cluster, name, "2.0.0"));
    let (index, first) = first_to_lead(&hosts.each_ref());
    let standby = 1 - index;
    hosts[standby].wait_for_event("new-leader", 1);
    hosts[index].kill();
    let renewed = cluster.renewed_micros();
    let second = hosts[standby].wait_for_event("guest-started", 1);
    assert!(second.at_micros - renewed >= micros(LEASE_DURATION));
    assert!(second.token() > first.token());
}

#[test]
fn a_lease_that_was_made_beforehand_does_not_bring_the_controller_down() {
    let cluster = Cluster::start_with(&SWITCHED_ON);
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "task"}, "spec": {}})).expect("a lease");
    cluster.runtime.block_on(cluster.api().create(&PostParams::default(), &lease)).expect("made");
    let host = candidate(&cluster, "only", "2.0.0");
    host.wait_for_event("guest-started", 1);
    host.wait_for("line of the guest", |event| event.name() == "guest-output");
}

/// Who steps down lets the others go first, and stands again afterwards.
#[test]
fn one_that_is_asked_to_step_down_hands_over_to_the_other_candidate() {
    let cluster = Cluster::start_with(&SWITCHED_ON);
    let hosts = ["one", "two"].map(|name| candidate(&cluster, name, "2.0.0"));
    let (index, first) = first_to_lead(&hosts.each_ref());
    let (leader, standby) = (&hosts[index], &hosts[1 - index]);
    standby.wait_for_event("new-leader", 1);
    let holder = cluster.lease().spec.and_then(|spec| spec.holder_identity).expect("held");
    cluster.patch(&json!({"metadata": {"annotations": {"leasehold.dev/step-down": holder}}}));
    let second = standby.wait_for_event("guest-started", 1);
    assert_stopped_then_released(leader);
    assert!(only(leader.events_named("guest-stopped")).at_micros <= second.at_micros);
    assert!(first.token() < second.token());
}
