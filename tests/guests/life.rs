//! What a guest's run can come to, other than by its term's end.

use std::time::Duration;

use bytesize::ByteSize;
use leasehold::guest::imports::checkpoint::{Asked, NotSaved};
use leasehold_core::{
    checkpoint::SavedState,
    task::{Outcome, StopReason},
};
use leasehold_tests::{captured_log::captured_log, guest_bench::GuestBench};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_guest_that_is_asked_to_stop_returns_by_itself() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start(&bench.module("heartbeat"), LONG);
    log.wait_for_guest_line(started.token, "beat 1");
    started.guest.ask_to_stop(StopReason::ModuleReplaced);
    assert_eq!(started.outcome(), Outcome::Returned);
    log.wait_for_guest_line(started.token, "asked to stop: StopReason::ModuleReplaced");
}

#[test]
fn a_guest_may_finish_its_work_after_it_was_asked_to_stop() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start(&bench.module("slow-stop"), LONG);
    log.wait_for_guest_line(started.token, "working");
    started.guest.ask_to_stop(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Returned);
    log.wait_for_guest_line(started.token, "finished");
}

#[test]
fn every_guest_is_ended_where_it_stands() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for name in ["busy-loop", "bulk-memory", "parked", "slow-stop", "heartbeat"] {
        let mut started = bench.start(&bench.module(name), LONG);
        log.wait_for_guest_line(started.token, "");
        started.guest.end(StopReason::SteppedDown);
        assert_eq!(started.outcome(), Outcome::Ended(StopReason::SteppedDown), "{name}");
        assert!(!started.guest.gate().is_executing(), "{name}");
    }
}

#[test]
fn a_guest_that_waits_for_its_checkpoint_is_ended_where_it_stands() {
    let bench = GuestBench::default();
    let module = bench.module("counter");
    // Nobody answers, as if the API server were slow.
    let mut loading = bench.start(&module, LONG);
    let Asked::Load(answer) = loading.call().asked else { panic!("it loads first") };
    loading.guest.end(StopReason::ModuleReplaced);
    assert_eq!(loading.outcome(), Outcome::Ended(StopReason::ModuleReplaced));
    assert!(answer.is_closed(), "its call has gone with it");

    let mut saving = bench.start(&module, LONG);
    let Asked::Load(answer) = saving.call().asked else { panic!("it loads first") };
    answer.send(Some(SavedState::new(*b"41").expect("it is short"))).expect("it waits");
    let Asked::Save(state, answer) = saving.call().asked else { panic!("then it saves") };
    assert_eq!(state.bytes(), b"42");
    saving.guest.end(StopReason::Shutdown);
    assert_eq!(saving.outcome(), Outcome::Ended(StopReason::Shutdown));
    assert!(answer.is_closed());
}

#[test]
fn a_guest_reads_why_its_state_was_not_saved() {
    let bench = GuestBench::default();
    let reasons = [
        (NotSaved::NotLeading, "another one counts now"),
        (NotSaved::Refused("no room".into()), "the count cannot be saved: no room"),
    ];
    for (why, told) in reasons {
        let mut started = bench.start(&bench.module("counter"), LONG);
        let Asked::Load(answer) = started.call().asked else { panic!("it loads first") };
        answer.send(None).expect("it waits");
        let Asked::Save(_, answer) = started.call().asked else { panic!("then it saves") };
        answer.send(Err(why)).expect("it waits");
        assert_eq!(started.outcome(), Outcome::Error(told.into()));
    }
}

#[test]
fn a_run_asks_for_what_it_does_not_know_and_for_nothing_else() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let sizes = |config: &mut leasehold::guest::runtime::GuestConfig| {
        config.env.insert("SIZES".into(), "3,70000,5".into());
    };
    let mut started = bench.start_with(&bench.module("checkpoint-sizes"), LONG, sizes);
    let Asked::Save(state, answer) = started.call().asked else { panic!("it saves first") };
    assert_eq!(state.bytes(), [0, 1, 2]);
    answer.send(Ok(())).expect("it waits");
    // What it has saved it knows, and what is too large is not even asked for.
    let Asked::Save(state, answer) = started.call().asked else { panic!("the third") };
    assert_eq!(state.bytes(), [0, 1, 2, 3, 4]);
    log.wait_for_guest_line(started.token, "loaded the same");
    log.wait_for_guest_line(started.token, "70000 is too large, 65536 is not");
    log.wait_for_guest_line(started.token, "loaded Some(3)");
    // After a failure, it does not know.
    answer.send(Err(NotSaved::NotLeading)).expect("it waits");
    let Asked::Load(answer) = started.call().asked else { panic!("what stands there") };
    answer.send(None).expect("it waits");
    log.wait_for_guest_line(started.token, "loaded None");
}

#[test]
fn ending_one_guest_leaves_the_others_alone() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("busy-loop");
    let mut first = bench.start(&module, LONG);
    let mut second = bench.start(&module, LONG);
    log.wait_for_guest_line(first.token, "spinning");
    log.wait_for_guest_line(second.token, "spinning");
    first.guest.end(StopReason::Shutdown);
    assert_eq!(first.outcome(), Outcome::Ended(StopReason::Shutdown));
    assert!(second.guest.gate().check().is_ok() && second.is_quiet());
    second.guest.end(StopReason::ModuleReplaced);
    assert_eq!(second.outcome(), Outcome::Ended(StopReason::ModuleReplaced));
}

#[test]
fn more_spinning_guests_than_workers_do_not_keep_another_from_running() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let spinning = bench.module("busy-loop");
    let spinners: Vec<_> = (0..4).map(|_| bench.start(&spinning, LONG)).collect();
    for spinner in &spinners {
        log.wait_for_guest_line(spinner.token, "spinning");
    }
    let heartbeat = bench.start_with(&bench.module("heartbeat"), LONG, |config| {
        config.env.insert("BEAT_MS".into(), "10".into());
    });
    log.wait_for_guest_line(heartbeat.token, "beat 5,");
}

#[test]
fn a_trap_is_told_with_where_it_happened() {
    let bench = GuestBench::default();
    let outcome = bench.start(&bench.module("traps"), LONG).outcome();
    let Outcome::Trap(message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("unreachable") && message.contains("on-start-leading"), "{message}");
}

#[test]
fn an_error_is_told_in_the_guests_words() {
    let bench = GuestBench::default();
    let mut started = bench.start(&bench.module("returns-error"), LONG);
    let token = started.token;
    assert_eq!(started.outcome(), Outcome::Error(format!("no luck in term {token}")));
}

#[test]
fn a_guest_over_its_memory_limit_fails_by_that_name() {
    let bench = GuestBench::default();
    let small = |config: &mut leasehold::guest::runtime::GuestConfig| config.memory = ByteSize::mib(8);
    let outcome = bench.start_with(&bench.module("bulk-memory"), LONG, small).outcome();
    let Outcome::OutOfMemory(message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("8.0 MiB"), "{message}");
}

#[test]
fn a_guest_gets_the_environment_of_its_config_and_nothing_else() {
    let bench = GuestBench::default();
    let wrong = |config: &mut leasehold::guest::runtime::GuestConfig| {
        config.env.insert("BEAT_MS".into(), "often".into());
    };
    let outcome = bench.start_with(&bench.module("heartbeat"), LONG, wrong).outcome();
    let Outcome::Error(message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("BEAT_MS=often"), "{message}");
}
