//! One module after another: when the next takes over, and what becomes of one that fails.

use std::time::Duration;

use super::bench::{Bench, config, digest, leading, ms, new_leader, standby, start};
use crate::{
    election::StayOut::For,
    task::{
        Command::{AskToStop, End, StepDown, TellRestart},
        OnReturn, Outcome, RunId,
        StopReason::{LeadershipLost, ModuleReplaced, Shutdown, Unresponsive},
        SwapNotice::{Refused, RolledBack, Waits, Worked},
        SwapPolicy, TaskConfig, Waits as For_,
    },
};

const NONE: [crate::task::Command; 0] = [];
const OUT: crate::election::StayOut = For(Duration::from_secs(30));

fn trap() -> Outcome {
    Outcome::Trap("unreachable".into())
}

fn policy(swap: SwapPolicy) -> TaskConfig {
    TaskConfig { swap, ..config() }
}

/// Module `a` has run for a minute as run 1, and `b` runs as run 2 since 60.2 s.
fn swapped() -> Bench {
    let mut bench = Bench::running();
    assert_eq!(bench.module(60_000, "b"), [AskToStop(RunId(1), ModuleReplaced)]);
    assert_eq!(bench.ended(60_200, 1, Outcome::Returned), [start(2, "b", 1)]);
    assert_eq!(bench.told(), [Worked(digest("a"))]);
    bench
}

fn rolled_back(refused: &str, to: &str) -> crate::task::SwapNotice {
    RolledBack { refused: digest(refused), to: digest(to) }
}

#[test]
fn a_module_that_fails_in_its_probation_makes_room_for_the_one_that_worked() {
    for outcome in
        [trap(), Outcome::Error("no".into()), Outcome::OutOfMemory("64Mi".into()), Outcome::NotStarted("no".into())]
    {
        let mut bench = swapped();
        assert_eq!(
            bench.ended(61_000, 2, outcome.clone()),
            [start(3, "a", 1)],
            "{outcome:?}: at once, in the same term"
        );
        assert_eq!(bench.told(), [rolled_back("b", "a")]);
        assert_eq!(bench.writes(), ["a", "a", "b"]);
        assert_eq!(bench.module(62_000, "b"), NONE, "it is not tried again");
        assert_eq!(bench.leads(70_000, leading(2, true)), [End(RunId(3), LeadershipLost)]);
        assert_eq!(bench.ended(70_001, 3, trap()), [start(4, "a", 2)], "not in another term either");
        assert_eq!(bench.told(), []);
    }
}

#[test]
fn a_module_that_is_silent_in_its_probation_is_rolled_back_too() {
    let mut bench = Bench::running_with(TaskConfig { progress_deadline: Some(ms(10_000)), ..config() });
    for at_ms in [9_000, 18_000, 27_000, 36_000] {
        bench.reports(at_ms, 1, at_ms);
    }
    bench.module(40_000, "b");
    assert_eq!(bench.ended(40_000, 1, Outcome::Returned), [start(2, "b", 1)]);
    assert_eq!(bench.run_until(50_000), [AskToStop(RunId(2), Unresponsive)]);
    assert_eq!(bench.ended(50_100, 2, Outcome::Returned), [start(3, "a", 1)]);
    assert_eq!(bench.told(), [Worked(digest("a")), rolled_back("b", "a")]);
}

#[test]
fn the_failure_of_a_new_module_is_not_counted_against_the_good_one() {
    let mut bench = swapped();
    bench.ended(61_000, 2, trap());
    // Three in a row would give the lease up.
    assert_eq!(bench.ended(62_000, 3, trap()), [TellRestart(ms(1_000))]);
    assert_eq!(bench.run_until(63_000), [start(4, "a", 1)]);
    assert_eq!(bench.ended(63_500, 4, trap()), [TellRestart(ms(2_000))]);
}

#[test]
fn a_module_that_comes_through_its_probation_is_good_and_later_failures_are_its_own() {
    let mut bench = swapped();
    assert_eq!(bench.run_until(90_199), NONE);
    assert_eq!(bench.told(), []);
    assert_eq!(bench.run_until(90_200), NONE);
    assert_eq!(bench.told(), [Worked(digest("b"))]);
    assert_eq!(bench.ended(91_000, 2, trap()), [TellRestart(ms(1_000))]);
    assert_eq!(bench.run_until(92_000), [start(3, "b", 1)]);
    assert!(!bench.task.needs(&digest("a")), "it is not kept any longer");
}

#[test]
fn what_is_heard_of_late_was_good_all_the_same() {
    let mut bench = swapped();
    assert_eq!(bench.ended(90_201, 2, trap()), [TellRestart(ms(1_000))], "its probation was over a moment before");
}

#[test]
fn returning_ok_is_coming_through_as_well() {
    let mut bench = Bench::running();
    bench.ended(1_000, 1, Outcome::Returned);
    assert_eq!(bench.module(2_000, "b"), [start(2, "b", 1)]);
    assert_eq!(bench.ended(2_100, 2, trap()), [start(3, "a", 1)]);
    assert_eq!(bench.told(), [Worked(digest("a")), rolled_back("b", "a")]);
}

#[test]
fn without_one_that_worked_a_failing_module_is_started_again() {
    let mut bench = Bench::running();
    bench.module(1_000, "b");
    assert_eq!(bench.ended(1_100, 1, Outcome::Ended(ModuleReplaced)), [start(2, "b", 1)]);
    assert_eq!(bench.ended(2_000, 2, trap()), [TellRestart(ms(1_000))], "a had not worked yet");
    assert_eq!(bench.writes(), ["b", "", ""]);
}

#[test]
fn a_probation_of_zero_rolls_nothing_back() {
    let mut bench = Bench::running_with(TaskConfig { probation: Duration::ZERO, ..config() });
    bench.module(60_000, "b");
    bench.ended(60_100, 1, Outcome::Returned);
    assert_eq!(bench.ended(60_200, 2, trap()), [TellRestart(ms(1_000))]);
}

#[test]
fn a_refused_module_is_tried_again_when_the_source_had_something_else_in_between() {
    let mut bench = swapped();
    bench.ended(61_000, 2, trap());
    assert_eq!(bench.module(62_000, "c"), [AskToStop(RunId(3), ModuleReplaced)]);
    assert_eq!(bench.ended(62_100, 3, Outcome::Returned), [start(4, "c", 1)]);
    assert_eq!(bench.writes(), ["c", "a", ""]);
    assert_eq!(bench.module(63_000, "b"), [AskToStop(RunId(4), ModuleReplaced)]);
    assert_eq!(bench.ended(63_100, 4, Outcome::Returned), [start(5, "b", 1)]);
    assert_eq!(
        bench.ended(63_200, 5, trap()),
        [start(6, "a", 1)],
        "c was not on for long enough to be the last that worked"
    );
}

#[test]
fn going_back_to_the_good_module_after_a_rollback_stops_nothing() {
    let mut bench = swapped();
    bench.ended(61_000, 2, trap());
    assert_eq!(bench.module(62_000, "a"), NONE);
    assert_eq!(bench.writes(), ["a", "a", ""]);
    assert_eq!(bench.run_until(99_000), NONE);
}

#[test]
fn several_changes_end_at_the_last_whatever_is_under_way() {
    let mut bench = Bench::running();
    bench.module(60_000, "b");
    bench.module(60_100, "c");
    assert_eq!(bench.ended(60_200, 1, Outcome::Returned), [start(2, "c", 1)], "while the old one stops");
    assert_eq!(bench.module(61_000, "d"), [AskToStop(RunId(2), ModuleReplaced)], "during the probation");
    assert_eq!(bench.ended(61_100, 2, trap()), [start(3, "d", 1)], "how it ended then is no verdict");
    assert_eq!(bench.ended(61_200, 3, trap()), [start(4, "a", 1)]);
    assert_eq!(bench.module(61_300, "e"), [AskToStop(RunId(4), ModuleReplaced)], "right after the rollback");
    assert_eq!(bench.ended(61_400, 4, Outcome::Returned), [start(5, "e", 1)]);
    assert_eq!(bench.run_until(99_000), NONE);
    assert_eq!(bench.writes(), ["e", "e", ""]);
}

#[test]
fn drain_waits_until_the_task_returns_by_itself() {
    for (on_return, outcome) in [
        (OnReturn::Hold, Outcome::Returned),
        (OnReturn::Restart, Outcome::Returned),
        (OnReturn::Hold, Outcome::Error("no".into())),
        (OnReturn::Hold, trap()),
    ] {
        let mut bench = Bench::running_with(TaskConfig { on_return, ..policy(SwapPolicy::Drain) });
        assert_eq!(bench.module(60_000, "b"), NONE);
        assert_eq!(bench.told(), [Worked(digest("a")), Waits { digest: digest("b"), why: For_::ForReturn }]);
        assert_eq!(bench.module(61_000, "c"), NONE);
        assert_eq!(
            bench.ended(99_000, 1, outcome.clone()),
            [start(2, "c", 1)],
            "{on_return:?}, {outcome:?}: without delay"
        );
    }
}

#[test]
fn the_lease_says_what_waits_for_as_long_as_it_does() {
    let mut bench = Bench::running_with(policy(SwapPolicy::Drain));
    let waiting = |bench: &Bench| bench.task.on_lease(&bench.leadership).waiting;
    assert_eq!(waiting(&bench), None);
    bench.module(60_000, "b");
    assert_eq!(waiting(&bench), Some(digest("b")));
    bench.module(61_000, "c");
    assert_eq!(waiting(&bench), Some(digest("c")));
    bench.ended(62_000, 1, Outcome::Returned);
    assert_eq!(waiting(&bench), None);
}

#[test]
fn drain_does_not_keep_a_task_that_releases_from_releasing() {
    let mut bench = Bench::running_with(TaskConfig { on_return: OnReturn::Release, ..policy(SwapPolicy::Drain) });
    bench.module(60_000, "b");
    assert_eq!(bench.ended(61_000, 1, Outcome::Returned), [StepDown(OUT)]);
    assert_eq!(bench.leads(99_000, leading(2, true)), [start(2, "b", 2)]);
}

#[test]
fn a_module_in_probation_that_fails_while_another_drains_it_makes_room_for_the_newest() {
    let mut bench = Bench::running_with(policy(SwapPolicy::Drain));
    bench.module(60_000, "b");
    bench.ended(60_100, 1, Outcome::Returned);
    assert_eq!(bench.module(61_000, "c"), NONE);
    assert_eq!(bench.ended(61_100, 2, trap()), [start(3, "c", 1)]);
    assert_eq!(bench.ended(61_200, 3, trap()), [start(4, "a", 1)]);
}

#[test]
fn next_term_keeps_the_module_of_this_one() {
    let mut bench = Bench::running_with(policy(SwapPolicy::NextTerm));
    assert_eq!(bench.module(60_000, "b"), NONE);
    assert_eq!(bench.told(), [Worked(digest("a")), Waits { digest: digest("b"), why: For_::ForTerm }]);
    assert_eq!(bench.ended(61_000, 1, trap()), [TellRestart(ms(1_000))]);
    assert_eq!(bench.run_until(62_000), [start(2, "a", 1)], "a restart is no new term");
    assert!(bench.task.needs(&digest("a")) && bench.task.needs(&digest("b")));
    assert_eq!(bench.leads(70_000, leading(2, true)), [End(RunId(2), LeadershipLost)]);
    assert_eq!(bench.ended(70_001, 2, Outcome::Ended(LeadershipLost)), [start(3, "b", 2)]);
    assert_eq!(bench.ended(70_100, 3, trap()), [start(4, "a", 2)], "a rollback does not wait");
}

#[test]
fn next_term_does_not_run_a_task_again_that_has_returned() {
    let mut bench = Bench::running_with(policy(SwapPolicy::NextTerm));
    bench.ended(1_000, 1, Outcome::Returned);
    assert_eq!(bench.module(2_000, "b"), NONE);
    assert_eq!(bench.leads(3_000, leading(2, true)), [start(2, "b", 2)]);
}

#[test]
fn a_shutdown_a_step_down_and_a_loss_win_over_every_policy() {
    for swap in [SwapPolicy::Now, SwapPolicy::Drain, SwapPolicy::NextTerm] {
        let waiting = || {
            let mut bench = Bench::running_with(policy(swap));
            bench.module(60_000, "b");
            bench
        };
        let mut bench = waiting();
        bench.shutdown(61_000);
        assert_eq!(bench.ended(61_100, 1, Outcome::Returned).len(), 1, "{swap:?}: given up for ever, nothing started");
        assert_eq!(bench.task.run(), None);
        let mut bench = waiting();
        bench.steps_down(61_000, 1);
        assert_eq!(bench.ended(61_100, 1, Outcome::Returned), [StepDown(OUT)], "{swap:?}");
        let mut bench = waiting();
        assert!(matches!(bench.leads(61_000, standby())[..], [End(RunId(1), _)]), "{swap:?}");
    }
    let mut draining = Bench::running_with(policy(SwapPolicy::Drain));
    draining.module(60_000, "b");
    assert_eq!(draining.shutdown(61_000), [AskToStop(RunId(1), Shutdown)]);
}

#[test]
fn a_standby_goes_by_what_the_lease_says_is_refused() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.module(1_000, "b");
    assert_eq!(bench.lease_says(2_000, "a", "a", "b"), NONE);
    assert_eq!(bench.told(), [Refused { refused: digest("b"), instead: Some(digest("a")) }]);
    assert_eq!(bench.leads(9_000, leading(2, true)), [start(1, "a", 2)]);
    assert_eq!(bench.writes(), ["a", "a", "b"]);
}

#[test]
fn a_standby_that_hears_of_a_refusal_before_of_the_module_keeps_what_it_has() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.lease_says(1_000, "a", "a", "b");
    bench.module(2_000, "b");
    assert_eq!(bench.leads(3_000, leading(2, true)), [start(1, "a", 2)]);
    assert_eq!(bench.module(4_000, "c"), [AskToStop(RunId(1), ModuleReplaced)]);
}

#[test]
fn a_new_leader_hears_what_is_refused_before_it_starts_anything() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.module(1_000, "b");
    bench.leadership = leading(2, true);
    assert_eq!(bench.lease_says(2_000, "a", "a", "b"), [start(1, "a", 2)]);
}

#[test]
fn a_leader_goes_by_what_it_knows_whatever_is_written_on_the_lease_by_hand() {
    let mut bench = swapped();
    bench.lease_says(60_300, "a", "a", "");
    bench.lease_says(61_000, "x", "y", "b");
    assert_eq!(bench.task.run(), Some(RunId(2)));
    assert_eq!(bench.writes(), ["b", "a", ""]);
}

#[test]
fn a_standby_whose_source_is_late_does_not_try_what_the_leader_has_left_behind() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.module(1_000, "b");
    bench.lease_says(2_000, "a", "a", "b");
    bench.lease_says(3_000, "c", "c", "");
    assert_eq!(bench.leads(4_000, leading(2, true)), [start(1, "a", 2)], "its own source still has b");
}

#[test]
fn what_has_worked_elsewhere_is_not_refused_any_longer() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.module(1_000, "b");
    bench.lease_says(2_000, "a", "a", "b");
    bench.lease_says(3_000, "b", "b", "");
    assert_eq!(bench.leads(4_000, leading(2, true)), [start(1, "b", 2)]);
}

#[test]
fn a_good_module_of_another_replica_is_one_to_go_back_to() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.lease_says(1_000, "a", "a", "");
    bench.leads(2_000, leading(2, true));
    bench.module(3_000, "b");
    assert_eq!(bench.ended(3_100, 1, Outcome::Returned), [start(2, "b", 2)]);
    assert_eq!(bench.ended(3_200, 2, trap()), [start(3, "a", 2)], "though it had run for a second only, here");
}

#[test]
fn a_replica_that_has_nothing_else_tries_the_refused_module_once_a_term() {
    let mut bench = Bench::with(config());
    bench.module(0, "b");
    bench.lease_says(1_000, "a", "a", "b");
    assert_eq!(bench.told(), [Refused { refused: digest("b"), instead: None }]);
    assert_eq!(bench.leads(2_000, leading(2, true)), [start(1, "b", 2)]);
    assert_eq!(bench.writes(), ["b", "a", "b"], "it stays refused");
    assert_eq!(bench.ended(2_500, 1, trap()), [StepDown(OUT)], "another may have a better one");
    assert_eq!(bench.leads(40_000, leading(3, true)), [start(2, "b", 3)]);
    assert_eq!(bench.run_until(70_000), NONE);
    assert_eq!(bench.writes(), ["b", "b", ""], "it works after all");
}

#[test]
fn a_replica_without_one_that_worked_gives_the_lease_up_when_all_that_it_has_has_failed() {
    let mut bench = Bench::with(config());
    bench.module(0, "k");
    bench.module(1_000, "b");
    bench.lease_says(2_000, "a", "a", "b");
    assert_eq!(bench.leads(3_000, leading(2, true)), [start(1, "k", 2)]);
    assert_eq!(bench.ended(3_100, 1, trap()), [start(2, "b", 2)], "it may have been the other machine's fault");
    assert_eq!(bench.ended(3_200, 2, trap()), [StepDown(OUT)]);
    assert_eq!(bench.leads(60_000, leading(3, true)), [start(3, "b", 3)], "what has failed here is not kept");
}

#[test]
fn who_leads_is_told_to_the_module_that_would_run() {
    let mut bench = Bench::with(config());
    bench.observer(0, "a");
    bench.observer(1_000, "b");
    bench.lease_says(2_000, "a", "a", "b");
    assert_eq!(bench.hears(3_000, "other"), [new_leader(1, "a", "other")]);
}

#[test]
fn a_guest_that_steps_down_in_its_probation_has_not_failed() {
    let mut bench = swapped();
    bench.steps_down(61_000, 2);
    assert_eq!(bench.ended(61_100, 2, trap()), [StepDown(OUT)]);
    assert_eq!(bench.writes(), ["b", "a", ""]);
}

#[test]
fn a_module_that_is_silent_until_its_probation_is_over_does_not_work() {
    let mut bench = Bench::running_with(TaskConfig { progress_deadline: Some(ms(30_000)), ..config() });
    bench.reports(29_000, 1, 29_000);
    bench.reports(58_000, 1, 58_000);
    bench.module(60_000, "b");
    bench.ended(60_000, 1, Outcome::Returned);
    assert_eq!(bench.run_until(90_000), [AskToStop(RunId(2), Unresponsive)]);
    assert_eq!(bench.ended(90_100, 2, Outcome::Returned), [start(3, "a", 1)]);
}

/// Found by the simulator.
#[test]
fn a_refusal_that_was_not_written_is_not_forgotten_for_an_older_one_that_was() {
    let mut bench = swapped();
    bench.lease_says(60_300, "a", "a", "");
    bench.ended(61_000, 2, trap());
    bench.module(62_000, "c");
    bench.ended(62_100, 3, Outcome::Returned);
    assert_eq!(bench.ended(62_200, 4, trap()), [start(5, "a", 1)]);
    bench.leads(70_000, standby());
    bench.ended(70_001, 5, Outcome::Ended(LeadershipLost));
    bench.lease_says(71_000, "a", "a", "b");
    bench.leadership = leading(2, true);
    assert_eq!(bench.lease_says(72_000, "a", "a", "b"), [start(6, "a", 2)], "the source has c, which has failed");
    assert_eq!(bench.writes(), ["a", "a", "c"]);
    assert_eq!(bench.module(73_000, "b"), NONE, "and b has failed as well, by what the lease said");
}

#[test]
fn a_standby_that_hears_late_what_has_worked_still_has_it() {
    let mut bench = Bench::with(config());
    bench.module(0, "a");
    bench.lease_says(1_000, "a", "a", "");
    bench.module(2_000, "b");
    bench.module(40_000, "c");
    bench.lease_says(50_000, "b", "b", "c");
    assert_eq!(bench.told(), [Refused { refused: digest("c"), instead: Some(digest("b")) }]);
    assert!(!bench.task.needs(&digest("a")));
    assert_eq!(bench.leads(60_000, leading(2, true)), [start(1, "b", 2)]);
}

#[test]
fn of_many_modules_few_are_kept() {
    let mut bench = Bench::with(config());
    let names: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for name in &names {
        bench.module(0, name);
        bench.lease_says(0, "0", "0", "");
        assert!(names.iter().filter(|name| bench.task.needs(&digest(name))).count() <= 3);
        assert!(bench.task.needs(&digest("0")), "it has worked");
    }
}
