//! A guest that counts, and whose count is its checkpoint: it goes on under the next leader.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use leasehold_tests::{
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{
    LEASE, STEADY_LEASE,
    cluster::Cluster,
    config_map::assert_metric,
    folder::{leader_and_standby, lease, of_guest},
};

const FAST: [&str; 2] = ["--env", "COUNT_MS=20"];

/// What a run of the counter has printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    GoingOnFrom(u64),
    Counted(u64),
}

fn said(event: &Event) -> Option<Said> {
    let number = |text: &str| text.split(',').next()?.parse().ok();
    let message = event.message();
    match message.strip_prefix("going on from ") {
        Some(from) => Some(Said::GoingOnFrom(number(from)?)),
        None => Some(Said::Counted(number(message.strip_prefix("counted ")?)?)),
    }
}

fn all_said(host: &HostProcess) -> Vec<Said> {
    host.events_named("guest-output").iter().filter_map(said).collect()
}

/// What it has counted, once that is so much.
fn counted(host: &HostProcess, at_least: u64) -> u64 {
    host.wait_until(&format!("count of {at_least}"), |events| {
        let count = events.iter().filter_map(said).filter_map(|said| match said {
            Said::Counted(count) => Some(count),
            Said::GoingOnFrom(_) => None,
        });
        count.max().filter(|count| *count >= at_least)
    })
}

/// What it went on from, when it did so for the first time.
fn went_on_from(host: &HostProcess) -> u64 {
    host.wait_until("beginning", |events| {
        events.iter().filter_map(said).find_map(|said| match said {
            Said::GoingOnFrom(from) => Some(from),
            Said::Counted(_) => None,
        })
    })
}

/// It has saved one more than it told, at most: the one it was ended in.
fn assert_goes_on(from: u64, told: u64) {
    assert!((told..=told + 1).contains(&from), "{told} was saved, and {from} is gone on from");
}

impl Cluster {
    /// What stands on the Lease, as text.
    fn checkpoint(&self) -> Option<String> {
        let annotations = self.lease().metadata.annotations.unwrap_or_default();
        annotations.get("leasehold.dev/checkpoint").cloned()
    }

    fn annotate(&self, name: &str, text: Option<&str>) {
        self.patch(&json!({"metadata": {"annotations": {name: text}}}));
    }
}

#[test]
fn a_count_goes_on_under_the_next_leader_whether_the_last_was_asked_to_end_or_was_killed() {
    let cluster = Cluster::start();
    let (mut first, mut second) = cluster.leader_and_standby("counter", &[&FAST[..], &STEADY_LEASE].concat());
    assert_eq!(went_on_from(&first), 0);
    counted(&first, 2);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    // It ends between two counts: what it has saved is what it has told.
    let told = counted(&first, 2);
    assert_eq!(went_on_from(&second), told);

    let third = cluster.host("third", "counter", &[&FAST[..], &STEADY_LEASE].concat());
    third.wait_for_event("new-leader", 1);
    counted(&second, told + 2);
    second.kill();
    let from = went_on_from(&third);
    second.all_events();
    assert_goes_on(from, counted(&second, told + 2));
    let count = counted(&third, from + 1);
    let stands = cluster.checkpoint().expect("it is there");
    let stands = String::from_utf8(BASE64_STANDARD.decode(stands).expect("base64")).expect("text");
    assert_goes_on(stands.parse().expect("a count"), count);
}

/// Its save, which may be on its way when it is stopped, does not get in when it goes on.
#[test]
fn a_leader_suspended_past_its_term_saves_nothing_over_its_successors_count() {
    let cluster = Cluster::start();
    let (leader, standby) = cluster.leader_and_standby("counter", &[&FAST[..], &STEADY_LEASE].concat());
    counted(&leader, 2);
    leader.signal(Signal::STOP);
    let from = went_on_from(&standby);
    let count = counted(&standby, from + 2);
    leader.signal(Signal::CONT);
    leader.wait_for_event("guest-stopped", 1);
    leader.wait_for_event("lost", 1);
    counted(&standby, count + 2);
    // Each number once, in its order.
    let told = all_said(&standby);
    let expected: Vec<_> = (from + 1..).take(told.len() - 1).map(Said::Counted).collect();
    assert_eq!(told[1..], expected);
    assert_goes_on(from, counted(&leader, 2));
    assert_eq!(all_said(&leader).last(), Some(&Said::Counted(counted(&leader, 2))));
}

#[test]
fn saves_and_edits_by_others_do_not_undo_each_other() {
    let cluster = Cluster::start();
    let leader = cluster.host("only", "counter", &[&FAST[..], &LEASE].concat());
    counted(&leader, 1);
    let (begun, mut edits) = (Instant::now(), 0u32);
    while counted(&leader, 1) < 5 {
        assert!(begun.elapsed() < PATIENCE, "it does not count on");
        edits += 1;
        cluster.annotate("example.com/edits", Some(&edits.to_string()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let annotations = cluster.lease().metadata.annotations.expect("some");
    assert_eq!(annotations["example.com/edits"], edits.to_string());
    assert!(leader.events_named("lost").is_empty());
    let told = all_said(&leader);
    assert_eq!(told[1..], (1..).take(told.len() - 1).map(Said::Counted).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_has_at_most_64_kib_and_what_the_cluster_does_not_take_is_told_in_its_words() {
    let cluster = Cluster::start();
    let sizes = ["--env", "SIZES=0,1,65536,65537", "--admin", "127.0.0.1:0"];
    let mut leader = cluster.host("first", "checkpoint-sizes", &[&sizes[..], &LEASE].concat());
    let lines = ["saved 0", "saved 1", "saved 65536", "65537 is too large, 65536 is not", "loaded Some(65536)"];
    for line in lines {
        leader.wait_for(line, of_guest(line));
    }
    let same = leader.events().iter().filter(|event| event.message() == "loaded the same").count();
    assert_eq!(same, 3, "but that which was too large");
    assert_metric(&leader, "leasehold_host_calls_total{task=\"task\",kind=\"checkpoint\",result=\"ok\"} 3");
    leader.signal(Signal::TERM);
    leader.wait();

    // An object may have 256 KiB of annotations.
    cluster.annotate("leasehold.dev/checkpoint", None);
    cluster.annotate("example.com/large", Some(&"x".repeat(200 * 1024)));
    let sizes = ["--env", "SIZES=65536,1000", "--admin", "127.0.0.1:0"];
    let leader = cluster.host("second", "checkpoint-sizes", &[&sizes[..], &LEASE].concat());
    let refused = leader.wait_for("refusal", of_guest("65536: SaveError::Refused"));
    assert!(refused.message().contains("annotations") && refused.message().contains("262144"), "{refused}");
    leader.wait_for("the state before", of_guest("loaded None"));
    leader.wait_for("a smaller one", of_guest("saved 1000"));
    assert_metric(&leader, "leasehold_host_calls_total{task=\"task\",kind=\"checkpoint\",result=\"failed\"} 1");
    assert!(leader.events_named("lost").is_empty() && leader.events_named("stop-requested").is_empty());
}

#[test]
fn an_edited_checkpoint_that_nobody_can_read_is_told_and_one_that_is_removed_begins_anew() {
    let cluster = Cluster::start();
    let args = [&FAST[..], &LEASE].concat();
    let run_until_counted = |name| {
        let mut host = cluster.host(name, "counter", &args);
        counted(&host, 1);
        host.signal(Signal::TERM);
        assert_eq!(host.wait().code(), Some(0));
        host
    };
    run_until_counted("first");
    cluster.annotate("leasehold.dev/checkpoint", Some("41"));
    let edited = run_until_counted("second");
    let told = edited.wait_for_event("checkpoint-unreadable", 1);
    assert!(told.message().contains("base64") && told.message().contains("65536"), "{told}");
    assert_eq!(went_on_from(&edited), 0);
    cluster.annotate("leasehold.dev/checkpoint", Some(&BASE64_STANDARD.encode("41")));
    assert_eq!(went_on_from(&run_until_counted("third")), 41);
    cluster.annotate("leasehold.dev/checkpoint", None);
    assert_eq!(went_on_from(&run_until_counted("fourth")), 0);
}

#[test]
fn in_a_folder_a_count_goes_on_as_well() {
    let folder = TempDir::new().expect("a folder");
    let (mut leader, standby) = leader_and_standby("counter", folder.path(), &FAST);
    counted(&leader, 2);
    leader.kill();
    let from = went_on_from(&standby);
    leader.all_events();
    assert_goes_on(from, counted(&leader, 2));
    counted(&standby, from + 1);
    assert!(lease(folder.path(), "counter")["checkpoint"].is_string());
}
