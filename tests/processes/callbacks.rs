//! Modules that hear of the end of their terms, and of who leads.

use leasehold_tests::{
    build::guest,
    event_log::Event,
    host_process::{HostProcess, leasehold},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    LEASE, LONG_LEASE, STEADY_LEASE,
    folder::{of_guest, suspend},
};

/// What the callback of this name printed.
fn of_callback(export: &'static str, text: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == "guest-output" && event.line["export"] == export && event.message().contains(text)
}

/// Where in the log the first line stands that `is` takes.
#[track_caller]
fn at(events: &[Event], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is).unwrap_or_else(|| panic!("it is not in {events:#?}"))
}

fn named(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == name
}

#[test]
fn the_end_of_a_term_is_told_before_the_lease_is_released_and_new_leaders_on_every_replica() {
    let folder = TempDir::new().expect("a folder");
    let module = guest("announces-leader");
    let mut first = HostProcess::run_in_folder("first", &module, folder.path(), &LONG_LEASE);
    first.wait_for("its own lead", of_callback("on-new-leader", "this replica leads default/announces-leader"));
    first.wait_for("line of the guest", of_guest("working"));
    let second = HostProcess::run_in_folder("second", &module, folder.path(), &LONG_LEASE);
    second.wait_for("the first one's lead", of_callback("on-new-leader", "first_"));

    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    second.wait_for("its own lead", of_callback("on-new-leader", "this replica leads"));
    let events = first.all_events();
    let told = at(&events, of_callback("on-stop-leading", "Shutdown"));
    assert!(at(&events, named("guest-stopped")) < told && told < at(&events, named("released")), "{events:#?}");
    assert!(!events[told].message().contains(" 0 ms left"), "the lease is held: {}", events[told].line);
    assert_eq!(events[told].token(), events[at(&events, named("leading"))].token());
    assert!(second.events_named("new-leader").len() == 1 && second.events_named("callback-failed").is_empty());
}

#[test]
fn a_lost_term_is_told_without_the_lease_when_its_guest_is_gone() {
    let folder = TempDir::new().expect("a folder");
    let module = guest("announces-leader");
    let first = HostProcess::run_in_folder("first", &module, folder.path(), &LEASE);
    first.wait_for("line of the guest", of_guest("working"));
    let second = HostProcess::run_in_folder("second", &module, folder.path(), &LEASE);
    second.wait_for_event("new-leader", 1);
    suspend(&first, folder.path(), "announces-leader");
    second.wait_for("line of the successor's guest", of_guest("working"));
    first.signal(Signal::CONT);
    let told = first.wait_for("the end of its term", of_callback("on-stop-leading", "LeadershipLost"));
    assert!(told.message().contains(" 0 ms left"), "{}", told.line);
    first.wait_for("the second one's lead", of_callback("on-new-leader", "second_"));
    let events = first.events();
    assert!(at(&events, named("guest-stopped")) < at(&events, of_callback("on-stop-leading", "LeadershipLost")));
}

#[test]
fn callbacks_that_fail_are_told_and_hold_nothing_up() {
    // Those that fail by themselves have time to, on a busy machine as well.
    for (how, outcome, time) in [
        ("trap", "trap", "30s"),
        ("spin", "timed-out", "3s"),
        ("park", "timed-out", "3s"),
        ("fill", "out-of-memory", "30s"),
    ] {
        let folder = TempDir::new().expect("a folder");
        let how_arg = format!("HOW={how}");
        let args = [&STEADY_LEASE[..], &["--env", &how_arg, "--callback-time", time, "--memory", "8Mi"]].concat();
        let module = guest("callbacks-fail");
        let mut first = HostProcess::run_in_folder("first", &module, folder.path(), &args);
        let failed = first.wait_for_event("callback-failed", 1);
        assert_eq!((&failed.line["export"], &failed.line["outcome"]), (&"on-new-leader".into(), &outcome.into()));
        first.wait_for("line of the guest", of_guest("working"));
        let second = HostProcess::run_in_folder("second", &module, folder.path(), &args);
        second.wait_for_event("new-leader", 1);
        first.signal(Signal::TERM);
        assert_eq!(first.wait().code(), Some(0));
        let failed = first.wait_for("on-stop-leading's failure", |event| {
            event.name() == "callback-failed" && event.line["export"] == "on-stop-leading"
        });
        assert_eq!(failed.line["outcome"], outcome, "{}", failed.line);
        let released = first.wait_for_event("released", 1);
        assert!(failed.at_micros <= released.at_micros);
        let successor = second.wait_for("line of the successor's guest", of_guest("working"));
        // Its line of having released the Lease may be written when that is taken already; this one was written before.
        assert!(successor.at_micros > failed.at_micros);
    }
}

#[test]
fn check_says_which_callbacks_a_component_has() {
    let exports = |name| {
        let said = leasehold(&["check", guest(name).to_str().expect("a path in UTF-8")], &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.stdout.lines().find(|line| line.contains("exports")).expect("a line").trim().to_owned()
    };
    assert_eq!(exports("heartbeat"), "exports   on-start-leading");
    assert_eq!(exports("announces-leader"), "exports   on-start-leading, on-stop-leading, on-new-leader");
}
