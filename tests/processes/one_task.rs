//! Two different tasks configured onto the same Lease by mistake, at the same time.

use std::{thread, time::Instant};

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LEASE, cluster::Cluster};

/// One of the two leads, whichever was first; the other says whose Lease it is and never competes,
/// not even when the first one has released it.
fn only_one_of_the_two_ever_leads(start: impl Fn(&str) -> HostProcess) {
    let mut hosts = [("one", start("one")), ("two", start("two"))];
    let begun = Instant::now();
    let leads = |host: &HostProcess| !host.events_named("guest-started").is_empty();
    while !hosts.iter().any(|(_, host)| leads(host)) {
        assert!(begun.elapsed() < PATIENCE, "neither leads");
        thread::sleep(std::time::Duration::from_millis(5));
    }
    if leads(&hosts[1].1) {
        hosts.reverse();
    }
    let [(owner, first), (_, other)] = &mut hosts;
    let told = other.wait_for_event("other-task", 1);
    assert_eq!(told.line["other"], *owner);
    assert_eq!(told.line["level"], "ERROR");
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    first.wait_for_event("released", 1);
    // The rightful task's next host takes it at once, and the other has not been in between.
    let next = start(owner);
    next.wait_for_event("guest-started", 1);
    assert!(other.is_running(), "to wait for the mistake to be put right");
    assert!(other.events_named("leading").is_empty());
}

#[test]
fn of_two_tasks_on_one_lease_in_a_folder_one_never_competes() {
    let folder = TempDir::new().expect("a folder");
    only_one_of_the_two_ever_leads(|task| {
        let args = [&LEASE[..], &["--lease", "shared", "--name", task]].concat();
        HostProcess::run_in_folder(task, &guest("parked"), folder.path(), &args)
    });
}

#[test]
fn of_two_tasks_on_one_lease_in_kubernetes_one_never_competes() {
    let cluster = Cluster::start();
    only_one_of_the_two_ever_leads(|task| cluster.host(task, "parked", &[&LEASE[..], &["--name", task]].concat()));
    let annotations = cluster.lease().metadata.annotations.expect("the task stands on it");
    assert!(["one", "two"].contains(&&*annotations["leasehold.dev/task"]));
}
