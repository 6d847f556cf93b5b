//! The judge on made-up races: what it has to see, and what it must not take for ours.

use std::time::Duration;

use leasehold_tests::event_log::Event;
use serde_json::json;

use crate::{
    history::Version,
    judge::{Verdict, judge},
    lives::{Life, Micros},
    peers::Kind,
};

const SECOND: Micros = 1_000_000;
const LEASE: Duration = Duration::from_secs(3);

fn life(kind: Kind, name: &str, events: &[(&str, Micros)]) -> Life {
    life_with_token(kind, name, events, 0)
}

fn life_with_token(kind: Kind, name: &str, events: &[(&str, Micros)], token: u64) -> Life {
    let event = |&(event, at): &(&str, Micros)| {
        let line = json!({"event": event, "token": (kind == Kind::Leasehold).then_some(token)});
        Event { line, at_micros: at }
    };
    let events: Vec<_> = events.iter().map(event).collect();
    Life { kind, name: name.to_owned(), events, ended: 100 * SECOND, pauses: Vec::new() }
}

/// Stamped with the time at which it was sent.
fn version(number: u64, holder: &str, at: Micros) -> Version {
    Version {
        number,
        holder: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
        duration: Some(LEASE),
        transitions: Some(0),
        acquired: Some(at),
        renewed: Some(at),
    }
}

fn ours_after(other: Life, history: &[Version], began: Micros) -> Verdict {
    let token = history.iter().find(|v| v.holder.as_deref() == Some("ours_1")).expect("we take it").number;
    let ours = life_with_token(Kind::Leasehold, "ours", &[("leading", began), ("guest-stopped", 90 * SECOND)], token);
    judge(&[other, ours], history, LEASE)
}

fn assert_ours(verdict: &Verdict, words: &str) {
    assert!(verdict.violations.iter().any(|violation| violation.contains(words)), "{verdict}");
}

fn assert_theirs(verdict: &Verdict, words: &str) {
    assert!(
        verdict.violations.is_empty() && verdict.theirs.len() == 1 && verdict.theirs[0].contains(words),
        "{verdict}"
    );
}

#[test]
fn a_released_lease_may_be_taken_at_once() {
    let other = life(Kind::Java, "theirs", &[("guest-output", SECOND), ("guest-stopped", 5 * SECOND)]);
    let history = [version(1, "theirs", SECOND), version(2, "", 5 * SECOND), version(3, "ours_1", 5 * SECOND + 2_000)];
    let verdict = ours_after(other, &history, 5 * SECOND + 3_000);
    assert!(verdict.violations.is_empty() && verdict.theirs.is_empty(), "{verdict}");
    assert_eq!(verdict.handovers[&(Kind::Java, Kind::Leasehold)], 1);
}

#[test]
fn a_lease_taken_before_it_has_run_out_is_a_violation_and_so_is_the_overlap() {
    let other = life(Kind::Java, "theirs", &[("guest-output", SECOND)]);
    let history = [version(1, "theirs", SECOND), version(2, "ours_1", 4 * SECOND - 1)];
    let verdict = ours_after(other, &history, 4 * SECOND);
    assert_eq!(verdict.violations.len(), 2, "{verdict}");
    assert_ours(&verdict, "1 us before it had run out");
}

#[test]
fn a_naive_record_counts_from_when_its_writer_began() {
    let events = [("acquiring", 9 * SECOND), ("guest-output", 10 * SECOND), ("guest-stopped", 11 * SECOND)];
    let bare = Version { duration: None, acquired: None, renewed: None, ..version(1, "theirs", 0) };
    let stale = version(1, "theirs", SECOND);
    for record in [bare, stale] {
        for (taken, early) in [(12 * SECOND - 1, true), (12 * SECOND, false)] {
            let history = [record.clone(), version(2, "ours_1", taken)];
            let verdict = ours_after(life(Kind::Naive, "theirs", &events), &history, taken);
            assert_eq!(!verdict.violations.is_empty(), early, "{verdict}");
        }
    }
}

#[test]
fn who_says_it_has_stopped_after_it_released_is_told_of() {
    let other = life(Kind::ClientGo, "theirs", &[("guest-output", SECOND), ("guest-stopped", 6 * SECOND)]);
    let history = [version(1, "theirs", SECOND), version(2, "", 5 * SECOND), version(3, "ours_1", 5 * SECOND + 2_000)];
    assert_theirs(&ours_after(other, &history, 5 * SECOND + 3_000), "given the Lease up in version 2");
}

#[test]
fn who_does_not_renew_and_leads_on_is_told_of() {
    let other = life(Kind::Python, "theirs", &[("guest-output", SECOND)]);
    let history = [version(1, "theirs", SECOND), version(2, "ours_1", 4 * SECOND)];
    assert_theirs(&ours_after(other, &history, 4 * SECOND), "not renewed");
}

#[test]
fn who_was_robbed_by_a_third_one_is_told_of() {
    let robbed = life(Kind::Naive, "robbed", &[("acquiring", 0), ("guest-output", SECOND)]);
    let robber = life(Kind::Java, "robber", &[("guest-output", 2 * SECOND), ("guest-stopped", 3 * SECOND)]);
    let ours = life_with_token(Kind::Leasehold, "ours", &[("leading", 4 * SECOND), ("guest-stopped", 5 * SECOND)], 4);
    let history = [
        version(1, "robbed", SECOND),
        version(2, "robber", 2 * SECOND),
        version(3, "", 3 * SECOND),
        version(4, "ours_1", 4 * SECOND),
    ];
    let verdict = judge(&[robbed, robber, ours], &history, LEASE);
    assert_theirs(&verdict, "lost it to robber in version 2");
    assert_eq!(verdict.among_others[&(Kind::Java, Kind::Naive)], 1);
}

#[test]
fn a_guest_that_runs_on_beside_its_successor_is_a_violation() {
    let history = [version(1, "ours_1", SECOND), version(2, "theirs", 4 * SECOND)];
    let other = life(Kind::ClientGo, "theirs", &[("guest-output", 4 * SECOND)]);
    let ours = life_with_token(Kind::Leasehold, "ours", &[("leading", SECOND), ("guest-stopped", 4 * SECOND + 1)], 1);
    assert_ours(&judge(&[other.clone(), ours.clone()], &history, LEASE), "led on");

    // It was robbed: that is theirs.
    let history = [version(1, "ours_1", SECOND), version(2, "theirs", 4 * SECOND - 1)];
    assert_theirs(&judge(&[other.clone(), ours.clone()], &history, LEASE), "did not wait");

    let second = Life { name: "second".to_owned(), ..ours.clone() };
    let history = [version(1, "ours_1", SECOND), version(2, "second_1", 4 * SECOND)];
    assert_ours(&judge(&[second, ours], &history, LEASE), "overlap");
}

#[test]
fn of_a_guest_that_was_stopped_with_its_process_only_what_left_it_counts() {
    let history = [version(1, "ours_1", SECOND), version(2, "theirs", 4 * SECOND)];
    let other = life(Kind::ClientGo, "theirs", &[("guest-output", 4 * SECOND)]);
    let after = |events: &[(&str, Micros)]| {
        let ours = life_with_token(Kind::Leasehold, "ours", events, 1);
        judge(&[other.clone(), Life { pauses: vec![(2 * SECOND, 8 * SECOND)], ..ours }], &history, LEASE)
    };
    let verdict = after(&[("leading", SECOND), ("guest-stopped", 8 * SECOND + 7_000)]);
    assert!(verdict.violations.is_empty() && verdict.theirs.is_empty(), "{verdict}");
    let leaks =
        after(&[("leading", SECOND), ("guest-output", 8 * SECOND + 5_000), ("guest-stopped", 8 * SECOND + 7_000)]);
    assert_ours(&leaks, "led on");
}

#[test]
fn a_holder_that_nobody_knows_is_a_violation() {
    assert_ours(&judge(&[], &[version(1, "somebody", SECOND)], LEASE), "nobody knows");
}
