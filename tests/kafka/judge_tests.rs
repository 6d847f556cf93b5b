//! The judge on made-up histories: what it has to see, and what is fine.

use std::time::Duration;

use crate::{
    history::{Entry, Sent, What},
    judge::{Verdict, judge},
};

/// `process` sends `offset` of partition 0, whose number is ten times that, with `token`.
fn sent(process: &str, token: u64, offset: u64) -> Sent {
    Sent { process: process.to_owned(), token, partition: 0, offset, number: offset * 10, taken: true }
}

fn granted(process: &str, token: u64, at: u64, until: u64) -> What {
    let (at, until) = (Duration::from_millis(at), Duration::from_millis(until));
    What::Granted { process: process.to_owned(), token, at, until }
}

fn whole(process: &str, token: u64, offset: u64) -> [What; 2] {
    let sent = sent(process, token, offset);
    [What::Begun(sent.clone()), What::Done(sent)]
}

fn refused(process: &str, token: u64, offset: u64) -> What {
    What::Begun(Sent { taken: false, ..sent(process, token, offset) })
}

fn acked(offset: u64) -> What {
    What::Acked { number: offset * 10, partition: 0, offset }
}

fn committed(process: &str, next: u64) -> What {
    What::Committed { process: process.to_owned(), partition: 0, next }
}

/// One every 100 ms. Whoever sends something was permitted to: for no time, where the history does not say for how long.
fn of(history: impl IntoIterator<Item = What>) -> Verdict {
    let history: Vec<_> = history.into_iter().collect();
    let permitted = history.iter().filter_map(|what| match what {
        What::Begun(sent) => Some(granted(&sent.process, sent.token, 0, 0)),
        _ => None,
    });
    as_it_is(permitted.collect::<Vec<_>>().into_iter().chain(history))
}

fn as_it_is(history: impl IntoIterator<Item = What>) -> Verdict {
    let at = (0..).map(|count| Duration::from_millis(100 * count));
    judge(&history.into_iter().zip(at).map(|(what, at)| Entry { at, what }).collect::<Vec<_>>())
}

fn assert_found(history: impl IntoIterator<Item = What>, words: &str) {
    let verdict = of(history);
    assert!(verdict.violations.iter().any(|violation| violation.contains(words)), "no {words:?} in {verdict:#?}");
}

#[test]
fn a_handover_with_a_missing_commit_is_fine_and_is_counted() {
    let fault = What::Fault { name: "killed".into(), process: "a-1".into() };
    let history = [acked(0), acked(1), acked(2)]
        .into_iter()
        .chain(whole("a-1", 5, 0))
        .chain([committed("a-1", 1)])
        .chain(whole("a-1", 5, 1))
        .chain([fault])
        .chain(whole("b-1", 8, 1))
        .chain(whole("b-1", 8, 2))
        .chain([What::Over]);
    let verdict = of(history);
    assert_eq!(verdict.violations, [""; 0]);
    let found = &verdict.found;
    assert_eq!((found.acked, found.sent, found.sent_again, found.terms, found.handovers), (3, 4, 1, 2, 1));
    // From the last record of a to the first of b, and 100 ms are one step.
    assert_eq!((verdict.faults[0].gap, verdict.faults[0].sent_again), (Duration::from_millis(300), 1));
}

#[test]
fn what_is_sent_again_is_counted_with_the_fault_in_which_it_was_sent_first() {
    let fault = |name: &str| What::Fault { name: name.into(), process: "a-1".into() };
    let history = [fault("first")]
        .into_iter()
        .chain(whole("a-1", 5, 0))
        .chain([What::Over])
        .chain(whole("a-1", 5, 1))
        .chain([fault("second")])
        .chain(whole("b-1", 8, 0))
        .chain(whole("b-1", 8, 1))
        .chain([What::Over]);
    let verdict = of(history);
    assert_eq!(verdict.violations, [""; 0]);
    assert_eq!(verdict.faults.iter().map(|fault| fault.sent_again).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_record_that_never_comes_is_lost() {
    assert_found([acked(0), acked(1)].into_iter().chain(whole("a-1", 5, 0)), "10, at 1 of partition 0, is lost");
}

#[test]
fn a_record_that_is_left_out_is_found_even_where_it_comes_later() {
    let history = whole("a-1", 5, 0).into_iter().chain(whole("a-1", 5, 2)).chain(whole("a-1", 5, 1));
    assert_found(history, "comes before 1: lost, or out of order");
}

#[test]
fn numbers_that_change_their_order_within_a_partition_are_found() {
    let swapped = Sent { number: 7, ..sent("a-1", 5, 1) };
    let first = Sent { number: 9, ..sent("a-1", 5, 0) };
    assert_found([What::Begun(first), What::Begun(swapped)], "comes after the number Some(9)");
}

#[test]
fn what_was_committed_may_not_be_sent_again() {
    let history = whole("a-1", 5, 0).into_iter().chain([committed("a-1", 1)]).chain(whole("b-1", 8, 0));
    assert_found(history, "is sent again, though 1 was committed");
}

#[test]
fn a_commit_that_goes_back_is_found() {
    assert_found([committed("b-1", 5), committed("a-1", 3)], "committed 3 after 5");
}

#[test]
fn two_at_work_at_once_are_found_whichever_token_is_higher() {
    assert_found([What::Begun(sent("a-1", 5, 0)), What::Begun(sent("b-1", 8, 0))], "two are active");
}

#[test]
fn a_lower_token_after_a_higher_one_is_found_and_so_is_one_that_was_taken() {
    let history = || whole("a-1", 5, 0).into_iter().chain(whole("b-1", 8, 1));
    assert_found(history().chain([refused("a-1", 5, 1)]), "two are active");
    assert_found(history().chain(whole("a-1", 5, 1)), "two are active");
    assert_found(history().chain([refused("b-1", 8, 2)]), "after Some");
}

#[test]
fn one_call_of_a_process_that_was_stopped_right_before_it_is_excused_and_not_a_second_one() {
    let (stopped, goes_on) = (What::Stopped { process: "a-1".into() }, What::GoesOn { process: "a-1".into() });
    let history = || {
        let stopped = whole("a-1", 5, 0).into_iter().chain([stopped.clone()]).chain(whole("b-1", 8, 1));
        stopped.chain([goes_on.clone(), refused("a-1", 5, 1)])
    };
    let verdict = of(history());
    assert_eq!((verdict.violations.len(), verdict.found.late, verdict.found.stops), (0, 1, 1), "{verdict:#?}");
    assert_found(history().chain([refused("a-1", 5, 2)]), "two are active");
}

#[test]
fn a_token_is_one_replicas_through_all_of_its_processes() {
    assert!(of(whole("a-1", 5, 0).into_iter().chain(whole("a-2", 5, 1))).violations.is_empty());
    assert_found(whole("a-1", 5, 0).into_iter().chain(whole("b-1", 5, 1)), "has the token of a");
}

#[test]
fn what_a_network_has_held_back_is_excused_where_it_is_refused_and_not_without_end() {
    let history = |held: usize| {
        let begun = whole("a-1", 5, 0).into_iter().chain(whole("b-1", 8, 1));
        let begun = begun.chain([What::Reconnected { process: "a-1".into() }]);
        begun.chain(std::iter::repeat_n(refused("a-1", 5, 1), held)).collect::<Vec<_>>()
    };
    let verdict = of(history(6));
    assert_eq!((verdict.violations.len(), verdict.found.held), (0, 6), "{verdict:#?}");
    assert_found(history(7), "two are active");
    assert_found(history(1).into_iter().chain(whole("a-1", 5, 1)), "after Some");
}

#[test]
fn a_permission_that_is_valid_after_a_higher_token_is_found_whatever_was_told_first() {
    let (lower, higher) = (granted("a-1", 5, 100, 2_100), granted("b-1", 8, 2_099, 4_000));
    assert_found([lower.clone(), higher.clone()], "two are permitted");
    assert_found([higher.clone(), lower], "two are permitted");
    // Given anew, when it should have been over.
    assert_found([granted("a-1", 5, 100, 2_000), higher.clone(), granted("a-1", 5, 3_000, 5_000)], "two are permitted");
    assert_found(
        [granted("b-1", 8, 0, 9_000), granted("c-1", 9, 9_000, 9_100), granted("a-1", 5, 20_000, 20_001)],
        "a-1",
    );
    for over in [granted("a-1", 5, 100, 2_099), granted("a-1", 5, 2_500, 2_500), granted("a-1", 5, 3_000, 2_500)] {
        let verdict = of([over, higher.clone()]);
        assert_eq!((verdict.violations.as_slice(), verdict.found.granted), ([].as_slice(), 2), "{verdict:#?}");
    }
}

#[test]
fn a_permission_ends_with_the_word_of_its_process_its_death_or_a_higher_token_of_its_own() {
    let (lower, higher) = (|| granted("a-1", 5, 0, 2_000), || granted("b-1", 8, 500, 4_000));
    let withdrawn = |process: &str, at| What::Withdrawn { process: process.into(), at: Duration::from_millis(at) };
    let killed = |process: &str| What::Killed { process: process.into() };
    assert!(of([lower(), withdrawn("a-1", 500), higher()]).violations.is_empty());
    assert_found([lower(), withdrawn("a-1", 501), higher()], "two are permitted");
    assert_found([lower(), withdrawn("c-1", 400), higher()], "two are permitted");
    assert_found([lower(), withdrawn("a-1", 100), granted("a-1", 5, 200, 2_100), higher()], "two are permitted");
    // It is the second of two, and so at 100 ms.
    assert!(of([lower(), killed("a-1"), higher()]).violations.is_empty());
    assert_found([lower(), killed("c-1"), higher()], "two are permitted");
    assert!(of([lower(), granted("a-1", 8, 500, 4_000)]).violations.is_empty());
}

#[test]
fn one_that_works_with_a_token_it_has_told_of_no_permission_for_is_found() {
    assert_eq!(as_it_is([granted("a-1", 5, 0, 50)].into_iter().chain(whole("a-1", 5, 0))).violations, [""; 0]);
    let found = as_it_is([granted("b-1", 5, 0, 50)].into_iter().chain(whole("a-1", 5, 0))).violations;
    assert_eq!(found, ["a-1 works with token 5, which it was not given"]);
}
