//! Invariants 1 and 2: no guest outlives its term, and nobody's help is needed for that. There is
//! no election here, nothing ends these guests but their own gates.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use leasehold::{
    clock,
    guest::{
        gate::{Closed, Gate},
        imports::checkpoint::Asked,
    },
};
use leasehold_core::{
    task::{Outcome, StopReason},
    time::BootTime,
};
use leasehold_tests::{
    captured_log::captured_log,
    guest_bench::{GuestBench, Started},
};

const STUBBORN: [&str; 4] = ["busy-loop", "bulk-memory", "parked", "slow-stop"];
/// So long that a guest begins within it also where other tests run, and threads wait for a core.
const TERM: Duration = Duration::from_secs(5);

/// A guest counts as executing while its thread has lost its core within a poll, and may wait that long for it. That it
/// is not polled at the bound or after it is shown in `gate.rs`, to the tick; that the bound ends it, here.
const SLACK: Duration = Duration::from_secs(3);

/// When, as far as sampling tells, the guest was last seen executing; samples until `done`.
fn last_seen_executing(gate: &Gate, done: &AtomicBool) -> BootTime {
    let mut last = BootTime::ZERO;
    while !done.load(Ordering::Acquire) {
        if gate.is_executing() {
            last = clock::boot();
        }
        thread::sleep(Duration::from_micros(200));
    }
    last
}

fn assert_ends_by_its_bound(name: &str, mut started: Started) {
    let gate = started.guest.gate().clone();
    let done = AtomicBool::new(false);
    let (outcome, last_seen) = thread::scope(|scope| {
        let sampler = scope.spawn(|| last_seen_executing(&gate, &done));
        let outcome = started.outcome();
        done.store(true, Ordering::Release);
        (outcome, sampler.join().expect("the sampler does not panic"))
    });
    assert_eq!(outcome, Outcome::Ended(StopReason::LeadershipLost), "{name}");
    assert!(last_seen < gate.valid_until() + SLACK, "{name} executed until {last_seen:?}");
}

#[test]
fn a_guest_that_waits_for_its_checkpoint_does_not_outlive_its_term() {
    let bench = GuestBench::default();
    let mut started = bench.start(&bench.module("counter"), TERM);
    let Asked::Load(answer) = started.call().asked else { panic!("it loads first") };
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::LeadershipLost));
    assert!(answer.is_closed() && clock::boot() >= started.guest.gate().valid_until());
}

#[test]
fn a_guest_that_nobody_ends_is_gone_by_its_bound() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for name in STUBBORN {
        let started = bench.start(&bench.module(name), TERM);
        log.wait_for_guest_line(started.token, "");
        assert_ends_by_its_bound(name, started);
    }
}

#[test]
fn a_guest_does_not_run_after_its_bound_though_every_worker_was_blocked() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for name in STUBBORN {
        let started = bench.start(&bench.module(name), TERM);
        log.wait_for_guest_line(started.token, "");
        let gate = started.guest.gate().clone();
        let blocked = bench.block_workers();
        while clock::boot() < gate.valid_until() || (gate.is_executing() && clock::boot() < gate.valid_until() + SLACK)
        {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!gate.is_executing(), "{name}");
        assert_eq!(gate.check(), Err(Closed::Stopped(StopReason::LeadershipLost)));
        drop(blocked);
        assert_ends_by_its_bound(name, started);
    }
}

#[test]
fn a_spinning_guest_is_ended_by_its_own_bound_while_another_spins_on() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module("busy-loop");
    let started = bench.start(&module, TERM);
    let other = bench.start(&module, TERM * 100);
    log.wait_for_guest_line(started.token, "spinning");
    log.wait_for_guest_line(other.token, "spinning");
    assert_ends_by_its_bound("busy-loop beside another", started);
    assert!(other.guest.gate().check().is_ok() && other.is_quiet(), "the other's term has not ended");
}

#[test]
fn nothing_of_a_guest_leaves_the_host_after_its_bound() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let chatty = bench.module("heartbeat");
    let mut started = bench.start_with(&chatty, TERM, |config| {
        config.env.insert("BEAT_MS".into(), "1".into());
    });
    log.wait_for_guest_line(started.token, "beat 3,");
    let ends_in = started.guest.gate().valid_until().since(clock::boot());
    let bound_micros = jiff::Timestamp::now().as_microsecond() + i64::try_from(ends_in.as_micros()).expect("small");
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::LeadershipLost));
    let lines = log.guest_lines(started.token);
    let late: Vec<_> = lines.iter().filter(|line| line.at_micros > bound_micros).collect();
    // The thread may have lost its core between the gate's look at the clock and the line's time: with one line, and
    // nothing but the gate ends the others.
    assert!(late.len() <= 1, "{late:?}");
}

#[test]
fn a_renewed_term_goes_on() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start_with(&bench.module("heartbeat"), TERM, |config| {
        config.env.insert("BEAT_MS".into(), "100".into());
    });
    let first_bound = started.guest.gate().valid_until();
    started.guest.gate().extend(first_bound + TERM * 100);
    // One that is printed after the first bound.
    log.wait_for_guest_line(started.token, "beat 60,");
    assert!(clock::boot() > first_bound && started.is_quiet());
    started.guest.ask_to_stop(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Returned);
}
