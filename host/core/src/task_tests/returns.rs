//! What follows when a guest ends by itself.

use std::time::Duration;

use super::bench::{Bench, config, leading, ms, standby, start};
use crate::{
    election::StayOut,
    task::{
        Command::{StepDown, TellRestart},
        OnReturn, Outcome, TaskConfig,
    },
};

const NONE: [crate::task::Command; 0] = [];
const RELEASE: crate::task::Command = StepDown(StayOut::For(Duration::from_secs(30)));

fn failed() -> Outcome {
    Outcome::Error("no".into())
}

#[test]
fn work_that_is_done_keeps_the_lease_and_is_not_done_again_in_the_same_term() {
    let mut bench = Bench::returning(OnReturn::Hold);
    assert_eq!(bench.ended(1_000, 1, Outcome::Returned), NONE);
    assert_eq!(bench.leads(10_000, leading(1, false)), NONE);
    assert_eq!(bench.leads(11_000, leading(1, true)), NONE);
    assert_eq!(bench.leads(20_000, standby()), NONE);
    assert_eq!(bench.leads(30_000, leading(2, true)), [start(2, "a", 2)]);
}

#[test]
fn work_that_is_done_is_done_again_by_a_new_module() {
    let mut bench = Bench::returning(OnReturn::Hold);
    bench.ended(1_000, 1, Outcome::Returned);
    assert_eq!(bench.module(2_000, "b"), [start(2, "b", 1)]);
}

#[test]
fn a_return_releases_on_request() {
    let mut bench = Bench::returning(OnReturn::Release);
    assert_eq!(bench.ended(1_000, 1, Outcome::Returned), [RELEASE]);
}

#[test]
fn a_return_restarts_on_request_and_is_no_failure() {
    let mut bench = Bench::returning(OnReturn::Restart);
    for run in 1..20 {
        let at = run * 10_000;
        assert_eq!(bench.ended(at, run, Outcome::Returned), [TellRestart(ms(1_000))]);
        assert_eq!(bench.run_until(at + 999), NONE);
        assert_eq!(bench.run_until(at + 1_000), [start(run + 1, "a", 1)]);
    }
}

#[test]
fn failures_are_restarted_after_a_delay_that_doubles_up_to_its_limit() {
    let mut bench = Bench::running_with(TaskConfig { failures_max: 100, ..TaskConfig::default() });
    let mut at = 0;
    for (run, delay) in (1..).zip([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
        assert_eq!(bench.ended(at, run, Outcome::Trap("unreachable".into())), [TellRestart(ms(delay))]);
        assert_eq!(bench.run_until(at + delay - 1), NONE);
        at += delay;
        assert_eq!(bench.run_until(at), [start(run + 1, "a", 1)]);
    }
}

#[test]
fn the_longest_delays_do_not_overflow() {
    let config = TaskConfig { restart_delay: Duration::MAX, restart_delay_max: ms(10), ..config() };
    let mut bench = Bench::running_with(config);
    assert_eq!(bench.ended(0, 1, failed()), [TellRestart(ms(10))]);
    assert_eq!(bench.run_until(10), [start(2, "a", 1)]);
    assert_eq!(bench.ended(10, 2, failed()), [TellRestart(ms(10))]);
}

#[test]
fn failures_in_a_row_release_the_lease() {
    for outcome in [
        failed(),
        Outcome::Trap("unreachable".into()),
        Outcome::OutOfMemory("64Mi".into()),
        Outcome::NotStarted("no such import".into()),
    ] {
        let mut bench = Bench::running();
        bench.ended(0, 1, outcome.clone());
        bench.run_until(1_000);
        bench.ended(1_000, 2, outcome.clone());
        bench.run_until(3_000);
        assert_eq!(bench.ended(3_000, 3, outcome.clone()), [RELEASE], "{outcome:?}");
        assert_eq!(bench.leads(3_001, standby()), NONE);
        assert_eq!(bench.leads(40_000, leading(2, true)), [start(4, "a", 2)]);
        assert_eq!(bench.ended(40_000, 4, outcome), [TellRestart(ms(1_000))], "the count begins anew");
    }
}

#[test]
fn a_long_run_begins_the_count_of_failures_anew() {
    let mut bench = Bench::running();
    let mut at = 0;
    for run in 1..10 {
        at += 60_000;
        assert_eq!(bench.ended(at, run, failed()), [TellRestart(ms(1_000))]);
        at += 1_000;
        bench.run_until(at);
    }
}

#[test]
fn a_new_module_is_tried_at_once_and_counted_anew() {
    let mut bench = Bench::running();
    bench.ended(0, 1, failed());
    bench.run_until(1_000);
    assert_eq!(bench.ended(1_000, 2, failed()), [TellRestart(ms(2_000))]);
    assert_eq!(bench.module(1_500, "b"), [start(3, "b", 1)]);
    assert_eq!(bench.ended(1_500, 3, failed()), [TellRestart(ms(1_000))]);
}

#[test]
fn a_restart_that_comes_due_without_a_term_waits_for_one_without_a_deadline() {
    let mut bench = Bench::running();
    bench.ended(0, 1, failed());
    bench.leads(500, standby());
    assert_eq!(bench.run_until(5_000), NONE);
    assert_eq!(bench.task.next_deadline(), None, "the caller would spin on a deadline that is past");
    assert_eq!(bench.leads(9_000, leading(2, true)), [start(2, "a", 2)]);
}
