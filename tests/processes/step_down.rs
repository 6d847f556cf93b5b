//! `leasehold step-down`: a person asks the leader to give the Lease up.

use std::{path::Path, time::Duration};

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, Said, leasehold},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    AT_ONCE, LEASE_DURATION, LONG_LEASE, assert_stopped_then_released,
    cluster::Cluster,
    folder::{leader_and_standby, leader_and_standby_of, lease, of_guest},
    micros, only,
};

/// For how long who has stepped down lets others go first.
const STAY_OUT: Duration = Duration::from_secs(30);

/// Runs the command, which succeeds, and returns what it said.
pub(super) fn succeeds(args: &[&str], env: &[(&str, &str)]) -> String {
    let Said { code, stdout, stderr } = leasehold(&[&["step-down"], args].concat(), env);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    stdout
}

fn in_folder(lease: &str, folder: &Path, more: &[&str]) -> String {
    succeeds(&[&[lease, "--lease-store", &format!("file:{}", folder.display())], more].concat(), &[])
}

/// What the one that was asked has told.
fn assert_stepped_down(host: &HostProcess) {
    assert_stopped_then_released(host);
    let requested = only(host.events_named("step-down-requested"));
    let asked = only(host.events_named("stop-requested"));
    assert_eq!(asked.line["reason"], "stepped-down");
    assert!(requested.at_micros <= asked.at_micros && requested.token() == asked.token());
    assert_eq!(only(host.events_named("guest-stopped")).line["reason"], "stepped-down");
}

#[test]
fn the_other_replica_leads_at_once_and_the_first_stays_out_and_comes_back() {
    let cluster = Cluster::start();
    let (mut first, mut second) = cluster.leader_and_standby("heartbeat", &LONG_LEASE);
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    let said = succeeds(&["task"], &[("KUBECONFIG", kubeconfig)]);
    for wanted in ["asked first_", "lease default/task", "holds it no more", "second_"] {
        assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
    assert_stepped_down(&first);
    first.wait_for("the guest's own last words", of_guest("asked to stop: StopReason::SteppedDown"));
    let (stopped, released) = (only(first.events_named("guest-stopped")), only(first.events_named("released")));
    let taken = second.wait_for_event("guest-started", 1);
    assert!(stopped.at_micros <= taken.at_micros);
    assert!(taken.at_micros - released.at_micros < micros(AT_ONCE), "it waited for the record to run out");
    assert!(taken.token() > stopped.token());
    let request_of = |lease: k8s_openapi::api::coordination::v1::Lease| {
        lease.metadata.annotations.and_then(|mut annotations| annotations.remove("leasehold.dev/step-down"))
    };
    assert_eq!(request_of(cluster.lease()), None, "it is over with the term that it was meant for");

    // Nobody else is there any more: it comes back, and not before its time.
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
    let back = first.wait_for_event("guest-started", 2);
    let out = back.at_micros - stopped.at_micros;
    assert!(out >= micros(STAY_OUT), "it was out for {out} us only");
    assert!(back.token() > taken.token());
    assert!(first.is_running());
}

#[test]
fn without_another_replica_it_says_that_nobody_has_taken_the_lease() {
    let folder = TempDir::new().expect("a folder");
    let only_one = HostProcess::run_in_folder("only", &guest("parked"), folder.path(), &LONG_LEASE);
    only_one.wait_for("line of the guest", |event| event.name() == "guest-output");
    let said = in_folder("parked", folder.path(), &[]);
    assert!(said.contains("asked only_") && said.contains("nobody has taken it yet"), "{said}");
    assert_stepped_down(&only_one);
    assert!(lease(folder.path(), "parked")["holderIdentity"].is_null());
    assert!(lease(folder.path(), "parked")["stepDown"].is_null());
}

#[test]
fn a_component_that_does_not_stop_is_waited_for_and_asked_once_however_often_the_command_is_run() {
    let folder = TempDir::new().expect("a folder");
    // Long enough for all that is done in between, on a busy machine.
    let (leader, standby) = leader_and_standby_of(&LONG_LEASE, "busy-loop", folder.path(), &["--stop-grace", "15s"]);
    let said = in_folder("busy-loop", folder.path(), &["--timeout", "0s"]);
    assert!(said.contains("asked first_") && !said.contains("given"), "it does not wait: {said}");
    leader.wait_for_event("stop-requested", 1);

    let store = format!("file:{}", folder.path().display());
    let impatient = leasehold(&["step-down", "busy-loop", "--lease-store", &store, "--timeout", "500ms"], &[]);
    assert_eq!(impatient.code, Some(1), "{impatient:?}");
    let Said { stderr, .. } = impatient;
    assert!(stderr.starts_with("error: first_") && stderr.contains("within 500ms. The request stands"), "{stderr}");
    assert!(leader.events_named("released").is_empty());

    let said = in_folder("busy-loop", folder.path(), &[]);
    assert!(said.contains("second_"), "{said}");
    assert_stepped_down(&leader);
    assert_eq!(only(leader.events_named("guest-stopped")).line["outcome"], "stopped");
    assert!(standby.wait_for_event("guest-started", 1).token() > leader.wait_for_event("released", 1).token());
}

#[test]
fn a_leader_that_has_died_is_asked_in_vain_and_followed_when_its_lease_has_run_out() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, standby) = leader_and_standby("parked", folder.path(), &[]);
    leader.kill();
    let renewed = lease(folder.path(), "parked")["renewTimeMicros"].as_i64().expect("it was renewed");
    let said = in_folder("parked", folder.path(), &[]);
    assert!(said.contains("asked first_") && said.contains("second_"), "{said}");
    // Neither sooner nor, by somebody's writing onto it, later.
    let waited = standby.wait_for_event("leading", 1).at_micros - renewed;
    assert!(waited >= micros(LEASE_DURATION), "taken {waited} us after the last renewal");
}
