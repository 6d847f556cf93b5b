//! Hosts on one machine, with the Lease in a folder.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::HostProcess,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{AT_ONCE, LEASE, LEASE_DURATION, LONG_LEASE, assert_stopped_then_released, micros, only};

pub(super) fn lease(folder: &Path, name: &str) -> Value {
    let text = fs::read(folder.join(format!("default.{name}.json"))).expect("the lease is there");
    serde_json::from_slice(&text).expect("a lease is replaced in one step, never half")
}

pub(super) fn of_guest(text: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == "guest-output" && event.message().contains(text)
}

/// Beats so far apart that a leader can be suspended between two of them.
pub(super) const SELDOM_BEATS: [&str; 2] = ["--env", "BEAT_MS=2000"];

/// So that the one after it is some time off. A line that has come through the gate when its host is suspended is
/// written when that goes on.
pub(super) fn wait_for_another_beat(host: &HostProcess) {
    let seen = host.count("guest-output");
    host.wait_for_event("guest-output", seen + 1);
}

/// Suspends a host at a moment at which it does not have the Lease's file locked: nobody could take over from it.
pub(super) fn suspend(host: &HostProcess, folder: &Path, lease: &str) {
    let lock = File::options().write(true).open(folder.join(format!("default.{lease}.lock"))).expect("it is there");
    lock.lock().expect("others have it for a moment only");
    host.suspend();
}

/// Two in a row, so that the first is the leader.
pub(super) fn leader_and_standby(module: &str, folder: &Path, args: &[&str]) -> (HostProcess, HostProcess) {
    leader_and_standby_of(&LEASE, module, folder, args)
}

/// The same, with these durations.
pub(super) fn leader_and_standby_of(
    lease: &[&str; 6],
    module: &str,
    folder: &Path,
    args: &[&str],
) -> (HostProcess, HostProcess) {
    let args = [lease, args].concat();
    let leader = HostProcess::run_in_folder("first", &guest(module), folder, &args);
    leader.wait_for("line of the guest", |event| event.name() == "guest-output");
    let standby = HostProcess::run_in_folder("second", &guest(module), folder, &args);
    standby.wait_for_event("new-leader", 1);
    (leader, standby)
}

#[test]
fn an_interrupted_leader_hands_over_at_once_and_only_after_its_guest_has_stopped() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, standby) = leader_and_standby_of(&LONG_LEASE, "heartbeat", folder.path(), &[]);
    leader.signal(Signal::INT);
    assert_eq!(leader.wait().code(), Some(0));
    let successor = standby.wait_for_event("leading", 1);
    standby.wait_for("beat of the successor's guest", of_guest("beat 1,"));

    assert_stopped_then_released(&leader);
    leader.wait_for("the guest's own last words", of_guest("asked to stop: StopReason::Shutdown"));
    let stopped = only(leader.events_named("guest-stopped"));
    let released = only(leader.events_named("released"));
    assert!(stopped.at_micros <= successor.at_micros);
    assert!(successor.at_micros - released.at_micros < micros(AT_ONCE), "it waited for the record to run out");
    assert!(successor.token() > released.token());
}

#[test]
fn a_killed_leaders_lease_is_taken_when_it_has_run_out_and_never_before() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, standby) = leader_and_standby("heartbeat", folder.path(), &[]);
    leader.kill();
    let renewed = lease(folder.path(), "heartbeat")["renewTimeMicros"].as_i64().expect("it was renewed");
    let successor = standby.wait_for_event("leading", 1);
    let waited = successor.at_micros - renewed;
    assert!(waited >= micros(LEASE_DURATION), "taken {waited} us after the last renewal");
}

#[test]
fn a_leader_that_was_suspended_past_its_lease_lets_nothing_out_when_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let (leader, standby) = leader_and_standby("heartbeat", folder.path(), &SELDOM_BEATS);
    wait_for_another_beat(&leader);
    suspend(&leader, folder.path(), "heartbeat");
    standby.wait_for("beat of the successor's guest", of_guest("beat 2,"));
    let continued = jiff::Timestamp::now().as_microsecond();
    leader.signal(Signal::CONT);
    let stopped = leader.wait_for_event("guest-stopped", 1);
    assert_eq!(stopped.line["reason"], "leadership-lost");
    leader.wait_for_event("lost", 1);
    let late: Vec<_> =
        leader.events_named("guest-output").into_iter().filter(|line| line.at_micros >= continued).collect();
    assert!(late.is_empty(), "{late:?}");
    // It lives on, as the other's standby.
    leader.wait_for_event("new-leader", 1);
    standby.signal(Signal::TERM);
    leader.wait_for_event("leading", 2);
}

#[test]
fn a_replaced_module_takes_over_within_the_term_and_a_broken_one_changes_nothing() {
    let (folder, modules) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let module = modules.path().join("task.wasm");
    fs::copy(guest("heartbeat"), &module).expect("a copy");
    let host = HostProcess::run_in_folder("only", &module, folder.path(), &LONG_LEASE);
    let token = host.wait_for_event("leading", 1).token();
    host.wait_for("beat", of_guest("beat 1,"));

    fs::write(&module, b"\0asm, but not really").expect("written");
    let rejected = host.wait_for_event("module-rejected", 1);
    assert!(rejected.message().contains("stays"), "{}", rejected.line);
    let beats = host.events_named("guest-output").len();
    host.wait_until("beats after the broken module", |events| {
        let output = events.iter().filter(|event| event.name() == "guest-output").count();
        (output > beats).then_some(())
    });

    // As a deployment tool would: written beside, renamed over.
    let next = modules.path().join("next.wasm");
    fs::copy(guest("parked"), &next).expect("a copy");
    fs::rename(&next, &module).expect("renamed");
    host.wait_for("line of the new guest", of_guest("parked"));
    let stopped = host.wait_for_event("guest-stopped", 1);
    assert_eq!(stopped.line["reason"], "module-replaced");
    assert_eq!(host.wait_for_event("module-swapped", 1).token(), token, "a swap stays within the term");
    assert_eq!(host.events_named("leading").len(), 1);
}

#[test]
fn a_guest_that_steps_down_is_stopped_and_another_replica_leads() {
    let folder = TempDir::new().expect("a folder");
    let module = guest("steps-down");
    let first = HostProcess::run_in_folder("first", &module, folder.path(), &LEASE);
    let second = HostProcess::run_in_folder("second", &module, folder.path(), &LEASE);
    for host in [&first, &second] {
        let released = host.wait_for_event("released", 1);
        let stopped = host.wait_for_event("guest-stopped", 1);
        assert_eq!(stopped.line["reason"], "stepped-down");
        assert!(stopped.at_micros <= released.at_micros);
    }
}

#[test]
fn a_standby_ends_at_once_and_a_second_signal_ends_a_leader_that_waits_for_its_guest() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, mut standby) = leader_and_standby("slow-stop", folder.path(), &[]);
    standby.signal(Signal::TERM);
    assert_eq!(standby.wait().code(), Some(0));
    assert!(standby.events_named("released").is_empty(), "it had nothing to release");

    leader.signal(Signal::TERM);
    leader.wait_for("the guest's answer to being asked", of_guest("asked to stop"));
    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(1));
    assert!(leader.events_named("released").is_empty(), "its guest had not ended");
    assert!(!lease(folder.path(), "slow-stop")["holderIdentity"].is_null(), "the lease is left to run out");
}

#[test]
fn one_host_runs_many_tasks_under_a_lease_each_and_a_failing_one_leaves_the_others_alone() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("host.yaml");
    let text = format!(
        "leaseStore: file:{leases}\nidentity: only\ntasks:\n- {{name: beats, module: {beats}}}\n- {{name: fails, module: {fails}}}\n",
        leases = folder.path().join("leases").display(),
        beats = guest("heartbeat").display(),
        fails = guest("returns-error").display(),
    );
    fs::write(&config, text).expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let mut host = HostProcess::spawn("only", command);
    let failed = host.wait_for("end of the failing task's guest", |event| {
        event.name() == "guest-stopped" && event.line["task"] == "fails"
    });
    assert_eq!(failed.line["outcome"], "error");
    assert!(failed.message().contains("no luck in term"), "{}", failed.line);
    host.wait_for("second start of the failing task", |event| {
        event.name() == "guest-started" && event.line["task"] == "fails" && event.at_micros > failed.at_micros
    });
    host.wait_for("beat", of_guest("beat 2,"));
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(host.events_named("released").len(), 2);
}

#[test]
fn a_lease_that_is_another_tasks_is_not_competed_for_unless_adopted() {
    let folder = TempDir::new().expect("a folder");
    let module = guest("parked");
    let mut owner =
        HostProcess::run_in_folder("owner", &module, folder.path(), &["--lease", "shared", "--name", "one"]);
    owner.wait_for_event("guest-started", 1);
    owner.signal(Signal::TERM);
    owner.wait();
    let other = HostProcess::run_in_folder("other", &module, folder.path(), &["--lease", "shared", "--name", "two"]);
    assert_eq!(other.wait_for_event("other-task", 1).line["other"], "one");
    assert!(lease(folder.path(), "shared")["holderIdentity"].is_null(), "it is free, and stays so");
    let args = ["--lease", "shared", "--name", "two", "--adopt"];
    let adopter = HostProcess::run_in_folder("adopter", &module, folder.path(), &args);
    adopter.wait_for_event("guest-started", 1);
    assert_eq!(lease(folder.path(), "shared")["task"], "two");
    // What was the wrong lease is now the right one.
    other.wait_for_event("new-leader", 1);
    assert!(other.events_named("guest-started").is_empty());
}
