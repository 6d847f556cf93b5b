//! Callbacks run in instances of their own, for a limited time, whoever leads.

use std::time::Duration;

use bytesize::ByteSize;
use leasehold::guest::world::Call;
use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{
    captured_log::captured_log,
    guest_bench::{GuestBench, Started},
};

const LONG: Duration = Duration::from_secs(3600);
/// There is no term (any more).
const NONE: Duration = Duration::ZERO;

fn stop_leading(bench: &GuestBench, how: &str, limit: Duration) -> Started {
    let module = bench.module("callbacks-fail");
    bench.call_with(&module, Call::StopLeading(StopReason::LeadershipLost), NONE, |config| {
        config.env.insert("HOW".into(), how.into());
        config.callback_time = limit;
        config.memory = ByteSize::mib(8);
    })
}

#[test]
fn a_callback_runs_though_its_term_is_over() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("announces-leader");
    let lost = Call::StopLeading(StopReason::LeadershipLost);
    let mut after = bench.call_with(&module, lost, NONE, |_| {});
    assert_eq!(after.outcome(), Outcome::Returned);
    let line = log.wait_for_guest_line(after.token, "stopped leading");
    assert!(line.message().contains("LeadershipLost, 0 ms left"), "{}", line.line);
    assert_eq!(line.line["export"], "on-stop-leading");
    let mut before = bench.call_with(&module, Call::StopLeading(StopReason::Shutdown), LONG, |_| {});
    assert_eq!(before.outcome(), Outcome::Returned);
    let line = log.wait_for_guest_line(before.token, "stopped leading");
    assert!(line.message().contains("Shutdown, 3"), "the term has most of an hour left: {}", line.line);
}

#[test]
fn who_leads_is_told_and_a_replica_knows_itself() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("announces-leader");
    for (identity, says) in [("tester", "this replica leads default/test"), ("other", "other leads default/test")] {
        let mut called = bench.call_with(&module, Call::NewLeader(identity.into()), NONE, |_| {});
        assert_eq!(called.outcome(), Outcome::Returned);
        log.wait_for_guest_line(called.token, says);
    }
}

#[test]
fn a_callback_that_does_not_end_is_ended_when_its_time_is_over() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for how in ["spin", "park"] {
        let mut called = stop_leading(&bench, how, Duration::from_secs(5));
        log.wait_for_guest_line(called.token, "stopped leading");
        assert_eq!(called.outcome(), Outcome::TimedOut, "{how}");
    }
}

#[test]
fn a_callback_that_fails_says_how() {
    let bench = GuestBench::default();
    let outcome = stop_leading(&bench, "trap", LONG).outcome();
    assert!(matches!(&outcome, Outcome::Trap(message) if message.contains("unreachable")), "{outcome:?}");
    let outcome = stop_leading(&bench, "fill", LONG).outcome();
    assert!(matches!(&outcome, Outcome::OutOfMemory(message) if message.contains("8.0 MiB")), "{outcome:?}");
    let plain = bench.module("heartbeat");
    let outcome = bench.call_with(&plain, Call::NewLeader("other".into()), NONE, |_| {}).outcome();
    assert!(matches!(&outcome, Outcome::NotStarted(message) if message.contains("on-new-leader")), "{outcome:?}");
}

#[test]
fn a_component_of_the_observing_world_is_a_leader_task_like_any_other() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("announces-leader");
    assert!(module.observes() && !bench.module("heartbeat").observes());
    let mut started = bench.start(&module, LONG);
    log.wait_for_guest_line(started.token, "working");
    started.guest.ask_to_stop(StopReason::SteppedDown);
    assert_eq!(started.outcome(), Outcome::Returned);
}
