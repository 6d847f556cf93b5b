//! A person asks, through the Lease, that its holder step down.

use std::time::Duration;

use super::bench::{Bench, ME, asking, free, held_by, present, record};
use crate::{
    election::{LossReason, Notice, StayOut, Term},
    lease::LeaseRecord,
    ports::StoreFailure,
};

const A_WHILE: StayOut = StayOut::For(Duration::from_secs(30));
const ASKED: Notice = Notice::StepDownRequested(Term { token: 10 });

#[test]
fn a_leader_that_is_asked_to_step_down_is_told_once_and_leads_on_until_its_guest_is_gone() {
    let mut bench = Bench::leading();
    assert!(!bench.asked());
    bench.watch(1_000, asking(ME, held_by(ME, 11)));
    assert!(bench.asked() && bench.leads() && bench.idle());
    assert_eq!(bench.told(), [ASKED]);
    bench.run_until(5_000);
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(11)), Some(ME)), "renewed, as ever");
    bench.written(5_010, 12).watch(5_020, asking(ME, held_by(ME, 13)));
    assert!(bench.asked());
    assert_eq!(bench.told(), []);
}

#[test]
fn a_release_clears_the_request() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking(ME, held_by(ME, 11))).step_down(1_100, A_WHILE);
    assert_eq!((bench.releases(), bench.keeps_request_to()), (Some(Some(11)), None));
    bench.written(1_110, 12).run_until(31_100);
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(12)), None));
    bench.written(31_110, 13);
    assert!(bench.leads() && !bench.asked());
}

#[test]
fn a_leader_that_missed_it_on_the_watch_reads_it_after_its_renewal_conflicts() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).fail(5_010, StoreFailure::Conflict);
    assert!(bench.reads() && !bench.asked());
    bench.read(5_020, asking(ME, held_by(ME, 11)));
    assert!(bench.asked());
    assert_eq!(bench.told(), [ASKED]);
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(11)), Some(ME)));
}

#[test]
fn a_request_that_comes_with_the_watch_before_the_answer_to_the_acquisition_counts() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).watch(20, asking(ME, held_by(ME, 11))).written(30, 10);
    assert!(bench.leads() && bench.asked());
}

#[test]
fn a_request_that_comes_during_the_release_changes_nothing_and_is_cleared() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, A_WHILE).fail(1_010, StoreFailure::Conflict).read(1_020, asking(ME, held_by(ME, 11)));
    assert_eq!((bench.releases(), bench.keeps_request_to()), (Some(Some(11)), None));
    assert_eq!(bench.told(), []);
}

#[test]
fn a_request_to_another_is_none_of_our_business_but_is_kept() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking("other", held_by(ME, 11))).run_until(5_000);
    assert!(!bench.asked());
    assert_eq!(bench.keeps_request_to(), Some("other"));
}

#[test]
fn whoever_takes_the_lease_over_clears_what_was_asked_of_another() {
    // The one that was asked has released, or has died, or was emptied by hand.
    let mut bench = Bench::standing_by();
    bench.watch(1_000, asking("other", free(10)));
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(10)), None));

    let mut bench = Bench::standing_by();
    bench.watch(1_000, asking("other", held_by("other", 10))).run_until(16_000);
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(10)), None));
}

#[test]
fn a_request_to_who_does_not_hold_the_lease_any_more_does_not_hit_its_next_term() {
    let mut bench = Bench::leading();
    bench.watch(1_000, held_by("other", 11)).watch(2_000, asking(ME, free(12)));
    assert_eq!((bench.takes(), bench.keeps_request_to()), (Some(Some(12)), None));
    bench.written(2_010, 13);
    assert!(bench.leads() && !bench.asked());
}

#[test]
fn a_request_to_a_dead_holder_is_no_renewal() {
    let mut bench = Bench::standing_by();
    let dead = record(Some("other"), 9);
    bench.watch(10_000, asking("other", present(10, dead.clone()))).run_until(14_999);
    assert!(bench.idle());
    bench.run_until(15_000);
    assert_eq!(bench.takes(), Some(Some(10)));

    // Nor is it one that it is taken back.
    let mut bench = Bench::standing_by();
    bench.watch(0, asking("other", present(10, dead.clone()))).watch(10_000, present(11, dead)).run_until(15_000);
    assert_eq!(bench.takes(), Some(Some(11)));
}

#[test]
fn a_request_that_is_taken_back_has_begun_all_the_same() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking(ME, held_by(ME, 11))).watch(1_100, held_by(ME, 12));
    assert!(bench.asked(), "the guest may be half way out");
}

/// Who is asked to step down by the first write after the term.
fn next_acquisition_after_the_term_was_not_renewed(bench: &mut Bench) -> Option<String> {
    while bench.leads() {
        let at = bench.run_until_sent();
        bench.fail(at, StoreFailure::Rejected);
    }
    bench.run_until_sent();
    bench.keeps_request_to().map(str::to_owned)
}

#[test]
fn a_request_outlasts_a_term_that_could_not_be_renewed_if_nobody_else_has_had_the_lease() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking(ME, held_by(ME, 11)));
    let kept = next_acquisition_after_the_term_was_not_renewed(&mut bench);
    assert_eq!((bench.takes(), kept.as_deref()), (Some(Some(11)), Some(ME)));
    assert!(bench.told().contains(&Notice::Lost(Term { token: 10 }, LossReason::Expired)));
    let at = bench.sent_at();
    bench.written(at, 12);
    assert!(bench.leads() && bench.asked(), "and is told in time to start nothing");
    bench.step_down(at, A_WHILE);
    assert_eq!((bench.releases(), bench.keeps_request_to()), (Some(Some(12)), None));
}

#[test]
fn a_request_that_was_followed_is_not_followed_again_though_the_release_failed() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking(ME, held_by(ME, 11))).step_down(1_100, A_WHILE);
    loop {
        let at = bench.run_until_sent();
        if bench.takes().is_some() {
            break;
        }
        bench.fail(at, StoreFailure::Rejected);
    }
    assert_eq!((bench.sent_at(), bench.takes(), bench.keeps_request_to()), (31_100, Some(Some(11)), None));
}

#[test]
fn a_request_in_a_later_term_counts_again() {
    let mut bench = Bench::leading();
    bench.watch(1_000, asking(ME, held_by(ME, 11))).step_down(1_100, A_WHILE).written(1_110, 12);
    bench.run_until(31_100).written(31_110, 13).told();
    let asked = LeaseRecord { step_down: Some(ME.into()), ..record(Some(ME), 14) };
    bench.watch(32_000, present(14, asked));
    assert!(bench.asked());
    assert_eq!(bench.told(), [Notice::StepDownRequested(Term { token: 13 })]);
    // And outlasts that one as well, as if nobody had ever stepped down.
    let kept = next_acquisition_after_the_term_was_not_renewed(&mut bench);
    assert_eq!(kept.as_deref(), Some(ME));
}
