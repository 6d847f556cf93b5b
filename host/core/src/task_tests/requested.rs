//! A person asks, through the Lease, that this replica give it up.

use std::time::Duration;

use super::bench::{Bench, asked, config, leading, standby, start};
use crate::{
    election::StayOut,
    task::{
        Command::{AskToStop, End, StepDown, TellRestart},
        OnReturn, Outcome, RunId,
        StopReason::{LeadershipLost, ModuleReplaced, Shutdown, SteppedDown},
        TaskConfig,
    },
};

const NONE: [crate::task::Command; 0] = [];
const RUN: RunId = RunId(1);
const RELEASE: crate::task::Command = StepDown(StayOut::For(Duration::from_secs(30)));

fn failed() -> Outcome {
    Outcome::Error("no".into())
}

#[test]
fn the_guest_is_stopped_before_the_lease_is_given_up() {
    let mut bench = Bench::running();
    assert_eq!(bench.leads(1_000, asked(leading(1, true))), [AskToStop(RUN, SteppedDown)]);
    assert_eq!(bench.run_until(5_999), NONE, "asked once");
    assert_eq!(bench.run_until(6_000), [End(RUN, SteppedDown)]);
    assert_eq!(bench.run_until(60_000), NONE, "the lease is kept until it is gone");
    assert_eq!(bench.ended(60_000, 1, Outcome::Ended(SteppedDown)), [RELEASE]);
    assert_eq!(bench.leads(61_000, leading(2, true)), [start(2, "a", 2)], "a later term is as any other");
}

#[test]
fn a_guest_that_returns_at_once_gives_the_lease_up_at_once() {
    let mut bench = Bench::returning(OnReturn::Hold);
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.ended(1_001, 1, Outcome::Returned), [RELEASE]);
}

#[test]
fn without_a_guest_the_lease_is_given_up_at_once() {
    // No module yet.
    let mut bench = Bench::with(config());
    bench.leads(0, leading(1, true));
    assert_eq!(bench.leads(1_000, asked(leading(1, true))), [RELEASE]);
    assert_eq!(bench.module(2_000, "a"), NONE);
    // The term's work is done.
    let mut bench = Bench::running();
    bench.ended(1_000, 1, Outcome::Returned);
    assert_eq!(bench.leads(2_000, asked(leading(1, true))), [RELEASE]);
    assert_eq!(bench.leads(40_000, leading(2, true)), [start(2, "a", 2)]);
    // It waits to be started again.
    let mut bench = Bench::running();
    assert_eq!(bench.ended(1_000, 1, failed()), [TellRestart(Duration::from_secs(1))]);
    assert_eq!(bench.leads(1_500, asked(leading(1, true))), [RELEASE]);
    assert_eq!(bench.run_until(20_000), NONE, "and is not");
}

#[test]
fn a_term_that_begins_with_the_request_starts_nothing() {
    let mut bench = Bench::running();
    assert_eq!(bench.leads(1_000, standby()), [End(RUN, LeadershipLost)]);
    bench.ended(1_001, 1, Outcome::Ended(LeadershipLost));
    assert_eq!(bench.leads(2_000, asked(leading(2, true))), [RELEASE]);
    // Also where the guest of the term before is not gone yet.
    let mut bench = Bench::running();
    bench.leads(1_000, standby());
    assert_eq!(bench.leads(2_000, asked(leading(2, true))), NONE);
    assert_eq!(bench.ended(2_001, 1, Outcome::Ended(LeadershipLost)), [RELEASE]);
}

#[test]
fn a_guest_that_is_on_its_way_out_for_a_swap_or_in_doubt_gives_the_lease_up_too() {
    let mut bench = Bench::running();
    assert_eq!(bench.module(1_000, "b"), [AskToStop(RUN, ModuleReplaced)]);
    assert_eq!(bench.leads(1_100, asked(leading(1, true))), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [RELEASE]);

    let mut bench = Bench::running();
    assert_eq!(bench.leads(1_000, leading(1, false)), [AskToStop(RUN, LeadershipLost)]);
    assert_eq!(bench.leads(1_100, asked(leading(1, true))), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [RELEASE]);
}

#[test]
fn a_new_module_during_the_step_down_waits_for_the_next_term() {
    let mut bench = Bench::running();
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.module(1_100, "b"), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [RELEASE]);
    assert_eq!(bench.leads(40_000, leading(2, true)), [start(2, "b", 2)]);
}

#[test]
fn a_request_during_the_shutdown_does_not_bring_the_host_back() {
    let mut bench = Bench::running();
    assert_eq!(bench.shutdown(1_000), [AskToStop(RUN, Shutdown)]);
    assert_eq!(bench.leads(1_100, asked(leading(1, true))), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [StepDown(StayOut::Forever)]);
}

#[test]
fn a_shutdown_during_the_step_down_ends_the_host() {
    let mut bench = Bench::running();
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.shutdown(1_100), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [StepDown(StayOut::Forever)]);
}

#[test]
fn a_guest_and_a_person_that_both_want_it_get_it_once() {
    let mut bench = Bench::running();
    assert_eq!(bench.steps_down(1_000, 1), [AskToStop(RUN, SteppedDown)]);
    assert_eq!(bench.leads(1_100, asked(leading(1, true))), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [RELEASE]);
    let mut bench = Bench::running();
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.steps_down(1_100, 1), NONE);
    assert_eq!(bench.ended(1_200, 1, Outcome::Returned), [RELEASE]);
}

#[test]
fn failures_and_a_request_at_once_release_the_lease_once() {
    let mut bench = Bench::running_with(TaskConfig { failures_max: 1, ..config() });
    bench.leadership = asked(leading(1, true));
    assert_eq!(bench.ended(1_000, 1, failed()), [RELEASE]);
}

#[test]
fn a_term_that_ends_during_the_step_down_ends_the_guest_there_and_then() {
    let mut bench = Bench::running();
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.leads(2_000, standby()), [End(RUN, SteppedDown)]);
    assert_eq!(bench.ended(2_001, 1, Outcome::Ended(LeadershipLost)), [RELEASE], "others go first all the same");
    // Also where it was on its way out for another reason first.
    let mut bench = Bench::running();
    bench.module(1_000, "b");
    bench.leads(1_100, asked(leading(1, true)));
    bench.leads(2_000, standby());
    assert_eq!(bench.ended(2_001, 1, Outcome::Ended(LeadershipLost)), [RELEASE]);
}
