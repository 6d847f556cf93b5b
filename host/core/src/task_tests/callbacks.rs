//! A module with callbacks hears of the end of its term, and of who leads.

use super::bench::{Bench, asked, boot, leading, leading_until, ms, new_leader, standby, start, stop_leading};
use crate::{
    election::StayOut,
    task::{
        Command::{AskToStop, End, StepDown, TellKept, TellRestart, TellSkipped},
        Outcome, Remaining, RunId,
        StopReason::{LeadershipLost, ModuleReplaced, Shutdown, SteppedDown},
    },
};

const NONE: [crate::task::Command; 0] = [];
const RUN: RunId = RunId(1);
const RELEASE: crate::task::Command = StepDown(StayOut::For(std::time::Duration::from_secs(30)));

fn failed() -> Outcome {
    Outcome::Error("no".into())
}

#[test]
fn a_shutdown_tells_the_end_when_the_guest_is_gone_and_before_the_lease_is_given_up() {
    let mut bench = Bench::observed();
    assert_eq!(bench.shutdown(1_000), [AskToStop(RUN, Shutdown)]);
    assert_eq!(bench.ended(2_000, 1, Outcome::Returned), [stop_leading(2, "a", 1, Shutdown)]);
    assert_eq!(bench.run_until(5_000), NONE, "the lease is kept meanwhile");
    assert_eq!(bench.ended(5_000, 2, Outcome::Returned), [StepDown(StayOut::Forever)]);
}

/// What it was to bring to an end may last as long as the guest was told that the term would.
#[test]
fn where_the_end_is_told_without_success_the_lease_is_kept_until_all_that_the_term_has_permitted_is_over() {
    for outcome in [Outcome::Trap("unreachable".into()), Outcome::TimedOut, Outcome::NotStarted("no".into())] {
        let mut bench = Bench::observed();
        bench.shutdown(1_000);
        bench.leads(2_000, leading_until(1, 9_000));
        bench.ended(2_000, 1, Outcome::Returned);
        assert_eq!(bench.ended(5_000, 2, outcome), [TellKept { until: boot(9_000) }]);
        assert_eq!(bench.task.remaining(), Some(Remaining::Permitted { until: boot(9_000) }));
        // Nobody is permitted anything any more: renewals do not make it longer.
        assert_eq!(bench.leads(6_000, leading_until(1, 16_000)), NONE);
        assert_eq!(bench.run_until(8_999), NONE);
        assert_eq!(bench.run_until(9_000), [StepDown(StayOut::Forever)]);
    }
}

#[test]
fn a_lease_that_is_kept_and_lost_all_the_same_is_not_waited_for() {
    let mut bench = Bench::observed();
    bench.steps_down(1_000, 1);
    bench.leads(1_100, leading_until(1, 9_000));
    bench.ended(1_100, 1, Outcome::Returned);
    assert_eq!(bench.ended(2_000, 2, Outcome::TimedOut), [TellKept { until: boot(9_000) }]);
    assert_eq!(bench.shutdown(2_500), NONE, "nor is it hurried");
    assert_eq!(bench.leads(3_000, standby()), [StepDown(StayOut::Forever)]);
}

#[test]
fn a_step_down_is_told_whoever_wants_it() {
    let mut of_guest = Bench::observed();
    of_guest.steps_down(1_000, 1);
    assert_eq!(of_guest.ended(1_100, 1, Outcome::Returned), [stop_leading(2, "a", 1, SteppedDown)]);
    assert_eq!(of_guest.ended(1_200, 2, Outcome::Returned), [RELEASE]);
    let mut of_person = Bench::observed();
    of_person.leads(1_000, asked(leading(1, true)));
    assert_eq!(of_person.ended(1_100, 1, Outcome::Returned), [stop_leading(2, "a", 1, SteppedDown)]);
    assert_eq!(of_person.run_until(1_200), NONE, "it is asked to step down, and is about to");
    assert_eq!(of_person.ended(1_200, 2, Outcome::Returned), [RELEASE]);
}

#[test]
fn a_lost_term_is_told_when_its_guest_is_gone() {
    let mut bench = Bench::observed();
    assert_eq!(bench.leads(1_000, standby()), [End(RUN, LeadershipLost)]);
    assert_eq!(bench.ended(1_001, 1, Outcome::Ended(LeadershipLost)), [stop_leading(2, "a", 1, LeadershipLost)]);
    assert_eq!(bench.ended(1_100, 2, Outcome::Returned), NONE);
    assert_eq!(bench.leads(9_000, leading(2, true)), [start(3, "a", 2)]);
}

#[test]
fn the_next_terms_guest_starts_only_when_the_end_of_the_last_has_been_told() {
    let mut bench = Bench::observed();
    bench.leads(1_000, standby());
    bench.ended(1_001, 1, Outcome::Ended(LeadershipLost));
    assert_eq!(bench.leads(2_000, leading(2, true)), NONE);
    assert_eq!(bench.ended(6_000, 2, Outcome::TimedOut), [start(3, "a", 2)]);
}

#[test]
fn a_term_lost_while_its_end_is_being_told_is_not_told_again() {
    let mut bench = Bench::observed();
    bench.steps_down(1_000, 1);
    bench.ended(1_100, 1, Outcome::Returned);
    assert_eq!(bench.leads(1_200, standby()), NONE);
    assert_eq!(bench.ended(1_300, 2, Outcome::Returned), [RELEASE], "to stay out of the race");
}

#[test]
fn a_step_down_whose_term_is_lost_meanwhile_is_told_as_a_loss() {
    let mut bench = Bench::observed();
    bench.steps_down(1_000, 1);
    assert_eq!(bench.leads(1_100, standby()), [End(RUN, SteppedDown)]);
    assert_eq!(bench.ended(1_200, 1, Outcome::Ended(SteppedDown)), [stop_leading(2, "a", 1, LeadershipLost)]);
    assert_eq!(bench.ended(1_300, 2, Outcome::Returned), [RELEASE]);
}

#[test]
fn what_goes_on_in_the_same_term_is_not_its_end() {
    let mut bench = Bench::observed();
    assert_eq!(bench.observer(1_000, "b"), [AskToStop(RUN, ModuleReplaced)]);
    assert_eq!(bench.ended(1_100, 1, Outcome::Returned), [start(2, "b", 1)], "a swap");
    assert_eq!(bench.ended(2_000, 2, failed()), [TellRestart(ms(1_000))], "a failure");
    assert_eq!(bench.run_until(3_000), [start(3, "b", 1)]);
    assert_eq!(bench.leads(10_000, leading(1, false)), [AskToStop(RunId(3), LeadershipLost)]);
    assert_eq!(bench.ended(10_100, 3, Outcome::Returned), NONE, "a term in doubt");
    assert_eq!(bench.leads(10_200, leading(1, true)), [start(4, "b", 1)]);
    assert_eq!(bench.ended(11_000, 4, Outcome::Returned), NONE, "and work that is done");
    assert_eq!(bench.leads(12_000, standby()), [stop_leading(5, "b", 1, LeadershipLost)], "until it is");
}

#[test]
fn failures_in_a_row_are_told_before_the_lease_is_given_up() {
    let mut bench = Bench::observed();
    bench.ended(0, 1, failed());
    bench.run_until(1_000);
    bench.ended(1_000, 2, failed());
    bench.run_until(3_000);
    assert_eq!(bench.ended(3_000, 3, failed()), [stop_leading(4, "a", 1, SteppedDown)]);
    assert_eq!(bench.ended(3_100, 4, Outcome::Returned), [RELEASE]);
}

#[test]
fn a_wait_for_a_restart_outlasts_the_telling_of_a_loss() {
    let mut bench = Bench::observed();
    bench.ended(0, 1, failed());
    assert_eq!(bench.leads(100, standby()), [stop_leading(2, "a", 1, LeadershipLost)]);
    bench.ended(200, 2, Outcome::Returned);
    assert_eq!(bench.leads(300, leading(2, true)), NONE);
    assert_eq!(bench.run_until(1_000), [start(3, "a", 2)]);
}

#[test]
fn the_module_that_ran_is_told_though_a_newer_one_is_there() {
    let mut bench = Bench::observed();
    bench.shutdown(1_000);
    bench.module(1_100, "plain");
    assert_eq!(bench.ended(2_000, 1, Outcome::Returned), [stop_leading(2, "a", 1, Shutdown)]);
}

#[test]
fn a_shutdown_waits_for_what_is_being_told() {
    let mut bench = Bench::observed();
    bench.leads(1_000, standby());
    bench.ended(1_001, 1, Outcome::Ended(LeadershipLost));
    assert_eq!(bench.shutdown(2_000), NONE);
    assert_eq!(bench.ended(3_000, 2, Outcome::Returned), [StepDown(StayOut::Forever)]);
    let mut bench = Bench::observed();
    bench.steps_down(1_000, 1);
    bench.ended(1_100, 1, Outcome::Returned);
    assert_eq!(bench.shutdown(1_200), NONE);
    assert_eq!(bench.ended(1_300, 2, Outcome::Returned), [StepDown(StayOut::Forever)], "and once");
}

#[test]
fn a_module_without_callbacks_is_called_nothing_else() {
    let mut bench = Bench::running();
    assert_eq!(bench.hears(500, "other"), NONE);
    bench.shutdown(1_000);
    assert_eq!(bench.ended(2_000, 1, Outcome::Returned), [StepDown(StayOut::Forever)]);
}

#[test]
fn new_leaders_are_told_one_after_the_other_in_order_beside_the_guest() {
    let mut bench = Bench::observed();
    assert_eq!(bench.hears(100, "me"), [new_leader(2, "a", "me")]);
    assert_eq!(bench.hears(200, "one"), NONE);
    assert_eq!(bench.hears(300, "two"), NONE);
    assert_eq!(bench.hears(400, "two"), NONE, "no change");
    assert_eq!(bench.ended(500, 2, Outcome::Trap("no".into())), [new_leader(3, "a", "one")]);
    assert_eq!(bench.ended(600, 3, Outcome::Returned), [new_leader(4, "a", "two")]);
    assert_eq!(bench.ended(700, 4, Outcome::Returned), NONE);
    assert_eq!(bench.hears(800, "two"), NONE, "nor now");
    assert_eq!(bench.task.run(), Some(RUN), "the guest runs on");
}

#[test]
fn of_too_many_new_leaders_the_oldest_is_left_out_and_that_is_told() {
    let mut bench = Bench::observed();
    bench.hears(0, "0");
    for leader in 1..=8 {
        assert_eq!(bench.hears(leader, &leader.to_string()), NONE);
    }
    assert_eq!(bench.hears(9, "9"), [TellSkipped("1".into())]);
    for (run, leader) in (2..).zip(2..=9) {
        assert_eq!(bench.ended(10 + run, run, Outcome::TimedOut), [new_leader(run + 1, "a", &leader.to_string())]);
    }
    assert_eq!(bench.ended(100, 10, Outcome::TimedOut), NONE);
}

#[test]
fn a_leader_that_is_known_before_the_module_is_told_when_it_is_there() {
    let mut bench = Bench::with(super::bench::config());
    assert_eq!(bench.hears(0, "other"), NONE);
    assert_eq!(bench.observer(1, "a"), [new_leader(1, "a", "other")]);
    assert_eq!(bench.shutdown(2), [StepDown(StayOut::Forever)], "nobody waits for that call");
}
