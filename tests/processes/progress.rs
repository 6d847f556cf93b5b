//! Tasks that report progress, or do not.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    AT_ONCE, LONG_LEASE,
    folder::{lease, of_guest},
    micros,
};

/// Of a task in a file: as hard to lose as [`super::STEADY_LEASE`], and renewed every four seconds.
const STEADY_LEASE: &str = "lease: {duration: 12s, renewDeadline: 10s, retryPeriod: 1s}";

/// A host with these tasks, whose Leases are in `folder`.
fn host(folder: &Path, tasks: &str) -> HostProcess {
    let config = folder.join("host.yaml");
    fs::write(&config, format!("leaseStore: file:{}\nidentity: only\ntasks:\n{tasks}", folder.display()))
        .expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    HostProcess::spawn("only", command)
}

fn of_task(task: &'static str, name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == name && event.line["task"] == task
}

/// Waits until the Lease of each of these tasks was renewed four times, by when it would have been lost without.
fn outlast_a_lease(host: &mut HostProcess, folder: &Path, tasks: &[&str]) {
    let mut seen = vec![BTreeSet::new(); tasks.len()];
    let begun = Instant::now();
    // With the one that is there at first.
    while seen.iter().any(|times| times.len() < 5) {
        for (task, times) in tasks.iter().zip(&mut seen) {
            times.insert(lease(folder, task)["renewTimeMicros"].as_i64().expect("it was renewed"));
        }
        assert!(begun.elapsed() < PATIENCE, "not all of {tasks:?} are renewed: {seen:?}");
        assert!(host.is_running());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_task_that_falls_silent_is_started_again_and_after_repeated_misses_another_replica_leads() {
    let folder = TempDir::new().expect("a folder");
    let args = [
        &LONG_LEASE[..],
        &["--progress-deadline", "5s", "--stop-grace", "100ms", "--env", "PAUSE_MS=50", "--env", "STALL_AT=5"],
    ]
    .concat();
    let module = guest("reports-progress");
    let first = HostProcess::run_in_folder("first", &module, folder.path(), &args);
    first.wait_for("report", |event| event.name() == "guest-progress" && event.message() == "item 1 is done");
    let second = HostProcess::run_in_folder("second", &module, folder.path(), &args);
    second.wait_for_event("new-leader", 1);

    let stopped = first.wait_for_event("guest-stopped", 1);
    assert_eq!((&stopped.line["outcome"], &stopped.line["reason"]), (&"unresponsive".into(), &"unresponsive".into()));
    assert_eq!(stopped.line["level"], "WARN");
    let asked = first.wait_for_event("stop-requested", 1);
    assert!(asked.message().contains("no progress"), "{}", asked.line);
    let stalled = first.wait_for("stall", of_guest("stalling at item 5"));
    assert!(asked.at_micros > stalled.at_micros);
    first.wait_for("second run in the same term", |event| {
        event.name() == "guest-started" && event.at_micros > stopped.at_micros && event.token() == stopped.token()
    });

    let released = first.wait_for_event("released", 1);
    assert_eq!(first.events_named("guest-stopped").len(), 5, "as many as are let pass in a row");
    let successor = second.wait_for_event("leading", 1);
    assert!(successor.at_micros - released.at_micros < micros(AT_ONCE), "it did not have to wait");
    second.wait_for("report of the successor's", |event| event.name() == "guest-progress");
}

#[test]
fn spinning_tasks_slow_neither_anothers_progress_nor_any_renewal() {
    let folder = TempDir::new().expect("a folder");
    let tasks = format!(
        "- {{name: spins, module: {spins}, {STEADY_LEASE}}}\n- {{name: spins-too, module: {spins}, {STEADY_LEASE}}}\n\
         - {{name: works, module: {works}, {STEADY_LEASE}, env: {{PAUSE_MS: '50'}}, limits: {{progressDeadline: 30s}}}}\n",
        spins = guest("busy-loop").display(),
        works = guest("reports-progress").display(),
    );
    let mut only = host(folder.path(), &tasks);
    for task in ["spins", "spins-too"] {
        only.wait_for("line of a guest that spins", |event| {
            event.line["task"] == task && event.message().contains("spinning")
        });
    }
    only.wait_for("report beside them", |event| {
        event.name() == "guest-progress" && event.message() == "item 1 is done"
    });
    outlast_a_lease(&mut only, folder.path(), &["spins", "spins-too", "works"]);
    let number = |event: &Event| event.message().split(' ').nth(1).and_then(|number| number.parse::<u64>().ok());
    only.wait_for("progress beside those that spin", |event| {
        event.name() == "guest-progress" && number(event).is_some_and(|number| number > 100)
    });
    for never in ["lost", "stop-requested", "guest-stopped"] {
        assert!(only.events_named(never).is_empty(), "{:?}", only.events_named(never));
    }
    only.signal(Signal::TERM);
    assert_eq!(only.wait().code(), Some(0));
}

#[test]
fn a_task_that_reports_in_a_tight_loop_floods_nobody() {
    let folder = TempDir::new().expect("a folder");
    let tasks = format!(
        "- {{name: floods, module: {module}, {STEADY_LEASE}, env: {{PAUSE_MS: '0'}}, limits: {{progressDeadline: 7s}}}}\n\
         - {{name: beats, module: {beats}, {STEADY_LEASE}}}\n",
        module = guest("reports-progress").display(),
        beats = guest("heartbeat").display(),
    );
    let begun = Instant::now();
    let mut only = host(folder.path(), &tasks);
    only.wait_until("four lines of progress", |events| {
        (events.iter().filter(|event| of_task("floods", "guest-progress")(event)).count() >= 4).then_some(())
    });
    outlast_a_lease(&mut only, folder.path(), &["floods", "beats"]);
    // The deadline's eighth would be less than a second, which is the least. Between two lines' times it may seem less,
    // where the first one waited to be written: so many cannot have come since, and the tenth part of a second is enough
    // for thousands that are not held back.
    let (told, within) = (only.count("guest-progress"), begun.elapsed());
    assert!(told as u64 <= within.as_secs() + 1, "{told} lines in {within:?}");
    for never in ["lost", "stop-requested", "guest-stopped"] {
        assert!(only.events_named(never).is_empty(), "{:?}", only.events_named(never));
    }
    only.signal(Signal::TERM);
    assert_eq!(only.wait().code(), Some(0));
    let stopped = only.wait_for("its end", of_task("floods", "guest-stopped"));
    assert_eq!(stopped.line["reason"], "shutdown");
}
