//! How a guest comes to run, and how it is stopped.

use std::time::Duration;

use super::bench::{Bench, config, leading, ms, standby, start};
use crate::election::StayOut::{For, Forever};
use crate::task::{
    Command::{AskToStop, End, StepDown, TellRestart},
    Outcome, RunId,
    StopReason::{LeadershipLost, ModuleReplaced, Shutdown, SteppedDown},
    TaskConfig,
};

const NONE: [crate::task::Command; 0] = [];
const RUN: RunId = RunId(1);
const OUT: crate::election::StayOut = For(Duration::from_secs(30));

fn stopped() -> Outcome {
    Outcome::Ended(LeadershipLost)
}

#[test]
fn a_guest_starts_only_with_a_term_that_is_certain_and_a_module() {
    let mut bench = Bench::with(config());
    assert_eq!(bench.leads(0, leading(1, true)), NONE);
    assert_eq!(bench.leads(1, standby()), NONE);
    assert_eq!(bench.module(2, "a"), NONE);
    assert_eq!(bench.leads(3, leading(2, false)), NONE);
    assert_eq!(bench.leads(4, leading(2, true)), [start(1, "a", 2)]);
}

#[test]
fn a_term_in_doubt_is_asked_to_stop_and_ended_after_the_grace_time() {
    let mut bench = Bench::running();
    assert_eq!(bench.leads(10_000, leading(1, false)), [AskToStop(RUN, LeadershipLost)]);
    assert_eq!(bench.run_until(14_999), NONE);
    assert_eq!(bench.run_until(15_000), [End(RUN, LeadershipLost)]);
    assert_eq!(bench.run_until(60_000), NONE, "it is ended once, and nothing starts before it is gone");
}

#[test]
fn a_guest_that_stops_when_asked_is_not_ended() {
    let mut bench = Bench::running();
    bench.leads(10_000, leading(1, false));
    assert_eq!(bench.ended(12_000, 1, Outcome::Returned), NONE);
    assert_eq!(bench.run_until(60_000), NONE);
}

#[test]
fn a_stop_once_asked_for_stands_and_the_guest_is_started_again_in_the_same_term() {
    let mut bench = Bench::running();
    bench.leads(10_000, leading(1, false));
    assert_eq!(bench.leads(11_000, leading(1, true)), NONE, "the guest was told, and may be half way out");
    assert_eq!(bench.ended(12_000, 1, Outcome::Returned), [start(2, "a", 1)]);
}

#[test]
fn a_lost_term_ends_its_guest_without_grace() {
    let mut bench = Bench::running();
    assert_eq!(bench.leads(3_000, standby()), [End(RUN, LeadershipLost)]);
}

#[test]
fn a_term_lost_during_the_grace_time_ends_the_guest_there_and_then() {
    let mut bench = Bench::running();
    bench.leads(10_000, leading(1, false));
    assert_eq!(bench.leads(12_000, standby()), [End(RUN, LeadershipLost)]);
}

#[test]
fn a_new_term_starts_its_guest_only_when_the_old_terms_guest_is_gone() {
    let mut bench = Bench::running();
    assert_eq!(bench.leads(3_000, leading(2, true)), [End(RUN, LeadershipLost)]);
    assert_eq!(bench.run_until(9_000), NONE);
    assert_eq!(bench.ended(9_000, 1, stopped()), [start(2, "a", 2)]);
}

#[test]
fn no_grace_time_asks_and_ends_in_one_step() {
    let mut bench = Bench::running_with(TaskConfig { stop_grace: Duration::ZERO, ..config() });
    assert_eq!(bench.leads(10_000, leading(1, false)), [AskToStop(RUN, LeadershipLost), End(RUN, LeadershipLost)]);
}

#[test]
fn shutdown_gives_the_lease_up_only_when_the_guest_is_gone() {
    let mut bench = Bench::running();
    assert_eq!(bench.shutdown(1_000), [AskToStop(RUN, Shutdown)]);
    assert_eq!(bench.run_until(6_000), [End(RUN, Shutdown)]);
    assert_eq!(bench.run_until(60_000), NONE);
    assert_eq!(bench.ended(60_000, 1, stopped()), [StepDown(Forever)]);
    assert_eq!(bench.module(61_000, "b"), NONE);
    assert_eq!(bench.leads(62_000, leading(2, true)), NONE, "what is finished stays so");
}

#[test]
fn shutdown_without_a_guest_gives_the_lease_up_at_once() {
    assert_eq!(Bench::with(config()).shutdown(0), [StepDown(Forever)]);
    let mut waiting = Bench::running();
    waiting.ended(1_000, 1, Outcome::Error("no".into()));
    assert_eq!(waiting.shutdown(1_100), [StepDown(Forever)]);
    let mut done = Bench::running();
    done.ended(1_000, 1, Outcome::Returned);
    assert_eq!(done.shutdown(1_100), [StepDown(Forever)]);
}

#[test]
fn shutdown_during_another_stop_waits_for_that_one() {
    let mut bench = Bench::running();
    assert_eq!(bench.module(1_000, "b"), [AskToStop(RUN, ModuleReplaced)]);
    assert_eq!(bench.shutdown(2_000), NONE);
    assert_eq!(bench.ended(3_000, 1, Outcome::Returned), [StepDown(Forever)]);
}

#[test]
fn a_new_module_replaces_the_running_one_in_the_same_term() {
    let mut bench = Bench::running();
    assert_eq!(bench.module(1_000, "b"), [AskToStop(RUN, ModuleReplaced)]);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [start(2, "b", 1)]);
}

#[test]
fn a_swap_starts_the_newest_module_though_it_came_during_the_stop() {
    let mut bench = Bench::running();
    bench.module(1_000, "b");
    assert_eq!(bench.module(2_000, "c"), NONE);
    assert_eq!(bench.run_until(6_000), [End(RUN, ModuleReplaced)]);
    assert_eq!(bench.ended(6_001, 1, Outcome::Ended(ModuleReplaced)), [start(2, "c", 1)]);
}

#[test]
fn the_same_module_again_changes_nothing() {
    let mut bench = Bench::running();
    assert_eq!(bench.module(1_000, "a"), NONE);
    bench.ended(2_000, 1, Outcome::Error("no".into()));
    assert_eq!(bench.module(2_100, "a"), NONE, "it does not shorten the wait for a restart");
}

#[test]
fn a_guest_that_steps_down_is_stopped_before_the_lease_is_given_up() {
    let mut bench = Bench::running();
    assert_eq!(bench.steps_down(1_000, 1), [AskToStop(RUN, SteppedDown)]);
    assert_eq!(bench.run_until(6_000), [End(RUN, SteppedDown)]);
    assert_eq!(bench.ended(6_010, 1, Outcome::Ended(SteppedDown)), [StepDown(OUT)]);
}

#[test]
fn a_guest_that_steps_down_and_returns_at_once_gives_the_lease_up() {
    let mut bench = Bench::running();
    bench.steps_down(1_000, 1);
    assert_eq!(bench.ended(1_001, 1, Outcome::Returned), [StepDown(OUT)], "and is not started again in between");
}

#[test]
fn a_guest_that_steps_down_while_it_is_being_replaced_gives_the_lease_up_too() {
    let mut bench = Bench::running();
    bench.module(1_000, "b");
    assert_eq!(bench.steps_down(1_100, 1), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [StepDown(OUT)]);
}

#[test]
fn a_guest_that_steps_down_during_the_shutdown_does_not_bring_the_host_back() {
    let mut bench = Bench::running();
    bench.shutdown(1_000);
    assert_eq!(bench.steps_down(1_100, 1), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [StepDown(Forever)]);
}

#[test]
fn what_guests_of_earlier_runs_say_is_ignored() {
    let mut bench = Bench::running();
    bench.module(1_000, "b");
    bench.ended(1_200, 1, Outcome::Returned);
    assert_eq!(bench.steps_down(1_300, 1), NONE);
    assert_eq!(bench.ended(1_400, 1, Outcome::Trap("late".into())), NONE);
    assert_eq!(bench.ended(1_500, 7, Outcome::Returned), NONE);
    assert_eq!(bench.task.run(), Some(RunId(2)));
}

#[test]
fn a_gate_that_closed_first_is_no_failure_of_the_guests() {
    let mut bench = Bench::running();
    bench.leadership = standby();
    assert_eq!(bench.ended(14_850, 1, stopped()), NONE);
    assert_eq!(bench.leads(20_000, leading(2, true)), [start(2, "a", 2)]);
}

#[test]
fn a_guest_ended_for_no_reason_of_the_terms_is_not_restarted_without_pause() {
    let mut bench = Bench::running();
    assert_eq!(bench.ended(1_000, 1, stopped()), [TellRestart(ms(1_000))]);
    assert_eq!(bench.run_until(2_000), [start(2, "a", 1)]);
}

#[test]
fn a_lease_is_about_to_be_given_up_from_the_first_request_and_not_for_a_swap() {
    let mut bench = Bench::running();
    assert_eq!(bench.task.giving_up(), None);
    bench.module(10, "b");
    assert_eq!(bench.task.giving_up(), None, "the next module runs in the same term");
    bench.steps_down(20, 1);
    assert_eq!(bench.task.giving_up(), Some(SteppedDown));
    bench.shutdown(30);
    assert_eq!(bench.task.giving_up(), Some(Shutdown));

    let mut bench = Bench::running();
    bench.leads(10_000, leading(1, false));
    assert_eq!(bench.task.giving_up(), Some(LeadershipLost));
    // In time again: the guest that was asked is gone, and another runs.
    bench.leads(10_100, leading(1, true));
    assert_eq!(bench.ended(10_200, 1, Outcome::Returned), [start(2, "a", 1)]);
    assert_eq!(bench.task.giving_up(), None);
}
