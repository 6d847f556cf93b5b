//! The Lease is given up when the leader's label is off this Pod.

use std::time::Duration;

use super::bench::{Bench, asked, boot, config, leading, start, stop_leading};
use crate::{
    election::{RequestId, StayOut},
    label::{LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled, Mark, OwnPod},
    lease::Version,
    ports::StoreFailure,
    task::{
        Command::{self, AskToStop, End, SendLabel, StepDown, TellLabel},
        Outcome, Remaining, RunId,
        StopReason::{LeadershipLost, Shutdown, SteppedDown},
        TaskConfig,
    },
};

const NONE: [Command; 0] = [];
const MARK: Mark = Mark { token: 1, attempt: 1 };
const RUN: RunId = RunId(1);
const RELEASE: Command = StepDown(StayOut::For(Duration::from_secs(30)));

fn send(id: u64, request: LabelRequest) -> Command {
    SendLabel { id: RequestId(id), request }
}

fn take_off(based_on: u64) -> LabelRequest {
    LabelRequest::TakeOff { based_on: Version(based_on), mark: Some(MARK) }
}

fn answered(id: u64, result: Result<LabelReply, StoreFailure>) -> LabelInput {
    LabelInput::Answered(RequestId(id), result)
}

fn written(id: u64, version: u64) -> LabelInput {
    answered(id, Ok(LabelReply::Written(Version(version))))
}

/// Leads, with its guest running and the label on, from 0 ms on. Request 3 is the next.
fn labelled(observes: bool) -> Bench {
    let mut bench = Bench::with(TaskConfig { leader_label: true, ..config() });
    assert_eq!(bench.run_until(0), [send(1, LabelRequest::Look)]);
    let unlabelled = OwnPod { version: Version(10), labelled: false, mark: None };
    assert_eq!(bench.label(0, answered(1, Ok(LabelReply::Looked(unlabelled)))), NONE);
    bench.leadership = leading(1, true);
    let started = if observes { bench.observer(0, "a") } else { bench.module(0, "a") };
    assert_eq!(started, [start(1, "a", 1), send(2, LabelRequest::Look)], "the guest waits for no label");
    bench.label(0, answered(2, Ok(LabelReply::Looked(unlabelled))));
    let put_on = LabelRequest::PutOn { based_on: Version(10), mark: MARK };
    assert_eq!(bench.label(0, LabelInput::Seen(Labelled::default())), [send(3, put_on)]);
    assert_eq!(bench.label(0, written(3, 11)), [TellLabel(LabelNotice::On(1))]);
    bench
}

#[test]
fn it_is_taken_off_while_the_guest_stops_and_then_nobody_waits_for_it() {
    let mut bench = labelled(false);
    assert_eq!(bench.leads(1_000, asked(leading(1, true))), [AskToStop(RUN, SteppedDown), send(4, take_off(11))]);
    assert_eq!(bench.label(1_010, written(4, 12)), [TellLabel(LabelNotice::Off)]);
    assert_eq!(bench.ended(1_500, 1, Outcome::Returned), [RELEASE]);
}

#[test]
fn the_lease_is_kept_until_it_is_off() {
    let mut bench = labelled(false);
    bench.leads(1_000, asked(leading(1, true)));
    assert_eq!(bench.ended(1_001, 1, Outcome::Returned), NONE);
    assert_eq!(bench.task.giving_up(), Some(SteppedDown));
    assert_eq!(bench.label(1_300, written(4, 12)), [TellLabel(LabelNotice::Off), RELEASE]);
    assert_eq!(bench.task.giving_up(), None);
}

#[test]
fn on_stop_leading_and_the_label_are_waited_for_whichever_is_later() {
    let mut bench = labelled(true);
    assert_eq!(bench.shutdown(1_000), [AskToStop(RUN, Shutdown), send(4, take_off(11))]);
    assert_eq!(bench.ended(1_001, 1, Outcome::Returned), [stop_leading(2, "a", 1, Shutdown)]);
    assert_eq!(bench.task.remaining(), Some(Remaining::Callback));
    assert_eq!(bench.ended(1_100, 2, Outcome::Returned), NONE);
    assert_eq!(bench.task.remaining(), Some(Remaining::Label { until: boot(6_000) }));
    let off = TellLabel(LabelNotice::Off);
    assert_eq!(bench.label(1_300, written(4, 12)), [off, StepDown(StayOut::Forever)]);
    assert_eq!(bench.task.remaining(), None);
}

#[test]
fn it_holds_nothing_up_for_longer_than_five_seconds_after_it_was_to_come_off() {
    let mut bench = labelled(false);
    bench.shutdown(1_000);
    bench.ended(3_000, 1, Outcome::Returned);
    let commands = bench.run_until(5_999);
    assert!(!commands.contains(&StepDown(StayOut::Forever)), "{commands:?}");
    let commands = bench.run_until(6_000);
    let left = [TellLabel(LabelNotice::LeftOn), StepDown(StayOut::Forever)];
    assert!(commands.windows(2).any(|pair| pair == left), "{commands:?}");
}

#[test]
fn where_it_may_not_be_taken_off_the_lease_is_given_up_at_once() {
    let mut bench = labelled(false);
    bench.shutdown(1_000);
    bench.ended(1_001, 1, Outcome::Returned);
    let commands = bench.label(1_002, answered(4, Err(StoreFailure::Denied)));
    let failed = TellLabel(LabelNotice::Failed(take_off(11).name(), StoreFailure::Denied));
    assert_eq!(commands, [failed, TellLabel(LabelNotice::LeftOn), StepDown(StayOut::Forever)]);
}

#[test]
fn a_term_in_doubt_takes_it_off_and_one_that_is_certain_again_puts_it_on() {
    let mut bench = labelled(false);
    assert_eq!(bench.leads(1_000, leading(1, false)), [AskToStop(RUN, LeadershipLost), send(4, take_off(11))]);
    assert_eq!(bench.ended(1_001, 1, Outcome::Returned), NONE);
    bench.label(1_002, written(4, 12));
    let commands = bench.leads(1_500, leading(1, true));
    assert_eq!(commands, [start(2, "a", 1), send(5, LabelRequest::Look)]);
}

#[test]
fn one_that_was_lost_is_taken_off_and_nothing_waits_for_that() {
    let mut bench = labelled(false);
    let standby = super::bench::standby();
    assert_eq!(bench.leads(1_000, standby), [End(RUN, LeadershipLost), send(4, take_off(11))]);
    bench.ended(1_001, 1, Outcome::Ended(LeadershipLost));
    assert_eq!(bench.leads(1_500, leading(2, true))[..1], [start(2, "a", 2)]);
}

#[test]
fn a_shutdown_while_it_is_waited_for_is_for_ever() {
    let mut bench = labelled(false);
    bench.steps_down(1_000, 1);
    bench.ended(1_001, 1, Outcome::Returned);
    assert_eq!(bench.shutdown(1_100), NONE);
    let off = TellLabel(LabelNotice::Off);
    assert_eq!(bench.label(1_300, written(4, 12)), [off, StepDown(StayOut::Forever)]);
}
