//! Giving the Lease up: for a while, and for ever.

use std::time::Duration;

use super::bench::{Bench, ME, boot, free, held_by};
use crate::{
    election::{Notice, Reply, StayOut, Term},
    lease::Version,
    ports::StoreFailure,
};

const A_WHILE: StayOut = StayOut::For(Duration::from_secs(30));

#[test]
fn a_leader_that_steps_down_leads_no_more_releases_stays_out_and_competes_again() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, A_WHILE);
    assert!(!bench.leads());
    assert_eq!((bench.sent_at(), bench.releases()), (1_000, Some(Some(10))));
    bench.written(1_010, 11);
    assert_eq!(bench.told(), [Notice::Released(Term { token: 10 })]);
    bench.run_until(30_999);
    assert!(bench.idle(), "others go first");
    bench.run_until(31_000);
    assert_eq!(bench.takes(), Some(Some(11)));
}

#[test]
fn a_release_waits_for_the_renewal_under_way() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).step_down(5_100, A_WHILE);
    assert_eq!(bench.takes(), Some(Some(10)), "the renewal is still under way");
    bench.written(5_200, 11);
    assert!(!bench.leads());
    assert_eq!(bench.releases(), Some(Some(11)));
}

#[test]
fn a_release_waits_for_the_end_of_a_renewal_that_is_never_answered() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).step_down(5_100, A_WHILE).run_until(7_499);
    assert_eq!(bench.takes(), Some(Some(10)));
    bench.run_until(7_500);
    assert_eq!(bench.releases(), Some(Some(10)));
    bench.fail(7_510, StoreFailure::Conflict).read(7_520, held_by(ME, 11));
    assert_eq!(bench.releases(), Some(Some(11)), "the renewal had arrived");
}

#[test]
fn a_failed_release_is_tried_again_until_the_term_is_over() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, A_WHILE).fail(1_010, StoreFailure::Denied).run_until(2_999);
    assert!(bench.idle());
    bench.run_until(3_400);
    assert_eq!(bench.releases(), Some(Some(10)));
    bench.fail(3_400, StoreFailure::Unavailable).run_until(6_000);
    assert_eq!(bench.releases(), Some(Some(10)));
    assert!(!bench.leads());
}

#[test]
fn a_release_whose_answer_was_lost_counts_as_one() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, A_WHILE).run_until(3_500);
    bench.told();
    bench.fail(3_510, StoreFailure::Conflict).read(3_520, free(11));
    assert_eq!(bench.told(), [Notice::Released(Term { token: 10 })]);
    bench.run_until(30_999);
    assert!(bench.idle());
}

#[test]
fn a_release_answered_after_the_next_leader_took_over_takes_nothing_back() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::For(Duration::from_millis(50)));
    bench.watch(1_100, held_by("other", 12)).written(1_200, 11);
    assert_eq!(bench.election.holder(), Some("other"));
    assert!(bench.idle());
}

#[test]
fn a_standby_that_steps_down_stays_out_too() {
    let mut bench = Bench::standing_by();
    bench.step_down(1_000, A_WHILE).watch(2_000, free(10)).run_until(30_999);
    assert!(bench.idle());
    bench.run_until(31_000);
    assert_eq!(bench.takes(), Some(Some(10)));
}

#[test]
fn an_acquisition_under_way_at_the_step_down_is_released_and_never_led() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).step_down(10, A_WHILE).written(20, 10);
    assert!(!bench.leads());
    assert_eq!(bench.releases(), Some(Some(10)));
}

#[test]
fn stepping_down_for_ever_withdraws_after_the_release() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::Forever);
    assert!(!bench.withdrawn && bench.releases() == Some(Some(10)));
    bench.written(1_010, 11);
    assert!(bench.withdrawn);
}

#[test]
fn who_has_withdrawn_wants_nothing_more() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::Forever).written(1_010, 11).watch(1_020, free(13)).run_until(100_000);
    assert!(bench.idle() && !bench.leads());
    assert_eq!(bench.election.next_deadline(boot(100_000)), None);
}

#[test]
fn a_standby_withdraws_at_once() {
    let mut bench = Bench::standing_by();
    bench.step_down(1_000, StayOut::Forever);
    assert!(bench.withdrawn);

    // Also where it is reading, and nothing of what it may read matters any more.
    let mut bench = Bench::new();
    bench.run_until(0).step_down(10, StayOut::Forever);
    assert!(bench.withdrawn);
}

#[test]
fn withdrawing_survives_the_loss_of_the_releases_answer() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::Forever).run_until(3_500);
    assert!(!bench.withdrawn);
    bench.fail(3_510, StoreFailure::Conflict).read(3_520, free(11));
    assert!(bench.withdrawn);
}

#[test]
fn withdrawing_with_an_acquisition_under_way_gives_back_what_it_wins() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).step_down(10, StayOut::Forever);
    assert!(!bench.withdrawn);
    bench.written(20, 10);
    assert!(!bench.leads() && bench.releases() == Some(Some(10)));
    bench.written(30, 11);
    assert!(bench.withdrawn);
}

#[test]
fn withdrawing_with_an_acquisition_under_way_that_loses_is_done_with_the_answer() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).step_down(10, StayOut::Forever);
    bench.fail(20, StoreFailure::Conflict).read(30, held_by("other", 10));
    assert!(bench.withdrawn);
}

#[test]
fn withdrawing_finds_an_acquisition_whose_answer_was_lost() {
    // Given up at 2.5 s, and read at once; or asked to withdraw before the read is answered, or sent.
    for step_down_at in [2_000, 2_600] {
        let mut bench = Bench::new();
        bench.watch(0, free(9)).step_down(step_down_at, StayOut::Forever).run_until(2_600);
        assert!(!bench.withdrawn && bench.reads(), "it may hold the lease without knowing");
        bench.read(2_700, held_by(ME, 10));
        assert_eq!(bench.releases(), Some(Some(10)));
        bench.written(2_710, 11);
        assert!(bench.withdrawn);
    }
    let mut bench = Bench::new();
    bench.watch(0, free(9)).fail(10, StoreFailure::Unavailable).step_down(20, StayOut::Forever);
    assert!(!bench.withdrawn);
    bench.run_until(2_400).read(2_410, held_by(ME, 10)).written(2_420, 11);
    assert!(bench.withdrawn);
}

#[test]
fn withdrawing_ends_in_time_though_the_store_never_answers() {
    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::Forever).run_until(14_844);
    assert!(!bench.withdrawn, "as long as the term lasts a release is worth a try");
    bench.run_until(14_845);
    assert!(bench.withdrawn);

    let mut bench = Bench::new();
    bench.watch(0, free(9)).step_down(10, StayOut::Forever).run_until(5_009);
    assert!(!bench.withdrawn);
    bench.run_until(5_010);
    assert!(bench.withdrawn, "two requests' time");
}

#[test]
fn the_answer_to_a_given_up_acquisition_does_not_bring_back_who_withdrew() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).step_down(10, StayOut::Forever).run_until(5_010);
    bench.answer_late(5_020, Reply::Written(Version(10)));
    assert!(!bench.leads());
    assert_eq!(bench.election.next_deadline(boot(5_020)), None);
}
