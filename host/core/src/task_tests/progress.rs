//! A guest that has to report progress, and does or does not.

use std::time::Duration;

use super::bench::{Bench, asked, config, leading, ms, standby, start};
use crate::{
    election::StayOut,
    task::{
        Command::{AskToStop, End, StepDown, TellRestart},
        Outcome, RunId,
        StopReason::{ModuleReplaced, Shutdown, SteppedDown, Unresponsive},
        TaskConfig,
    },
};

const NONE: [crate::task::Command; 0] = [];
const RUN: RunId = RunId(1);
const RELEASE: crate::task::Command = StepDown(StayOut::For(Duration::from_secs(30)));

/// It has to report every 30 s; three failures in a row release the Lease.
fn watched() -> Bench {
    Bench::running_with(TaskConfig { progress_deadline: Some(ms(30_000)), ..config() })
}

fn stopped() -> Outcome {
    Outcome::Ended(Unresponsive)
}

#[test]
fn a_guest_that_never_reports_is_asked_to_stop_then_ended_then_started_again() {
    let mut bench = watched();
    assert_eq!(bench.run_until(29_999), NONE);
    assert_eq!(bench.run_until(30_000), [AskToStop(RUN, Unresponsive)]);
    assert_eq!(bench.run_until(34_999), NONE);
    assert_eq!(bench.run_until(35_000), [End(RUN, Unresponsive)]);
    assert_eq!(bench.run_until(90_000), NONE, "it is ended once, and nothing starts before it is gone");
    assert_eq!(bench.ended(90_000, 1, stopped()), [TellRestart(ms(1_000))]);
    assert_eq!(bench.run_until(91_000), [start(2, "a", 1)]);
    assert_eq!(bench.run_until(121_000), [AskToStop(RunId(2), Unresponsive)], "counted from its own start");
}

#[test]
fn each_report_puts_the_deadline_off_from_when_it_was_made() {
    let mut bench = watched();
    assert_eq!(bench.reports(20_000, 1, 15_000), NONE);
    assert_eq!(bench.reports(44_000, 1, 43_000), NONE);
    assert_eq!(bench.run_until(72_999), NONE);
    assert_eq!(bench.run_until(73_000), [AskToStop(RUN, Unresponsive)]);
}

#[test]
fn a_report_made_just_before_the_deadline_counts_though_it_is_heard_of_after_it() {
    let mut bench = Bench::running_with(TaskConfig { progress_deadline: Some(ms(30_000)), ..config() });
    // Nobody runs the control loop until 31 s; the first that it hears of is the report.
    assert_eq!(bench.late_report(31_000, 1, 29_999), NONE);
    assert_eq!(bench.run_until(59_998), NONE);
    assert_eq!(bench.run_until(59_999), [AskToStop(RUN, Unresponsive)]);
}

#[test]
fn an_older_report_does_not_bring_the_deadline_forward() {
    let mut bench = watched();
    bench.reports(20_000, 1, 20_000);
    bench.reports(21_000, 1, 10_000);
    assert_eq!(bench.run_until(49_999), NONE);
    assert_eq!(bench.run_until(50_000), [AskToStop(RUN, Unresponsive)]);
}

#[test]
fn a_report_after_the_deadline_does_not_take_the_stop_back() {
    let mut bench = watched();
    bench.run_until(30_000);
    assert_eq!(bench.reports(31_000, 1, 31_000), NONE);
    assert_eq!(bench.run_until(35_000), [End(RUN, Unresponsive)]);
}

#[test]
fn a_guest_without_a_deadline_may_be_silent_for_ever() {
    let mut bench = Bench::running();
    assert_eq!(bench.run_until(100_000_000), NONE);
    assert_eq!(bench.task.next_deadline(), None);
}

#[test]
fn repeated_misses_release_the_lease_however_long_each_run_lived() {
    let mut bench = watched();
    let mut at = 0;
    for run in 1..=3 {
        // An hour of good work, then silence.
        at += 3_600_000;
        for since in (0..3_600_000).step_by(20_000) {
            bench.reports(at - 3_600_000 + since, run, at - 3_600_000 + since);
        }
        at += 30_000;
        bench.run_until(at);
        let told = bench.ended(at, run, Outcome::Returned);
        if run == 3 {
            assert_eq!(told, [RELEASE], "though it returns at once when it is asked");
        } else {
            let delay = 500 << run;
            assert_eq!(told, [TellRestart(ms(delay))]);
            at += delay;
            bench.run_until(at);
        }
    }
    assert_eq!(bench.leads(at + 1, standby()), NONE);
}

#[test]
fn a_miss_after_other_failures_goes_on_with_their_count() {
    let mut bench = watched();
    bench.ended(0, 1, Outcome::Error("no".into()));
    bench.run_until(31_000);
    assert_eq!(bench.ended(31_000, 2, stopped()), [TellRestart(ms(2_000))]);
}

#[test]
fn a_silent_guest_whose_module_is_replaced_meanwhile_is_no_failure_of_the_new_one() {
    let mut bench = watched();
    bench.run_until(30_000);
    assert_eq!(bench.module(31_000, "b"), NONE);
    assert_eq!(bench.ended(32_000, 1, stopped()), [start(2, "b", 1)]);
}

#[test]
fn a_new_module_at_the_very_deadline_is_a_swap() {
    let mut bench = watched();
    assert_eq!(bench.module(30_000, "b"), [AskToStop(RUN, ModuleReplaced)]);
}

#[test]
fn a_silent_guest_and_a_shutdown_or_a_step_down_end_as_those_do() {
    let mut bench = watched();
    bench.run_until(30_000);
    bench.shutdown(31_000);
    assert_eq!(bench.ended(32_000, 1, stopped()), [StepDown(StayOut::Forever)]);
    let mut bench = watched();
    bench.run_until(30_000);
    bench.leads(31_000, asked(leading(1, true)));
    assert_eq!(bench.ended(32_000, 1, stopped()), [RELEASE]);
    let mut bench = watched();
    assert_eq!(bench.shutdown(30_000), [AskToStop(RUN, Shutdown)]);
    let mut bench = watched();
    assert_eq!(bench.leads(30_000, asked(leading(1, true)))[0], AskToStop(RUN, Unresponsive), "the bench ticks first");
    assert_eq!(bench.ended(32_000, 1, Outcome::Ended(SteppedDown)), [RELEASE]);
}
