//! Proof that the holder has ended, which is all that makes the wait for its record shorter.

use std::time::Duration;

use super::bench::{Bench, ME, config, deleted, held_by, present, record};
use crate::{
    election::{Input, Notice, StayOut},
    lease::LeaseRecord,
    timing::Timing,
};

fn ended(who: &str) -> Input {
    Input::HolderEnded(who.into())
}

#[test]
fn a_holder_that_is_proven_to_have_ended_is_not_waited_for() {
    let mut bench = Bench::standing_by();
    bench.run_until(3_000);
    assert!(bench.idle());
    bench.step(3_000, ended("other"));
    assert_eq!(bench.takes(), Some(Some(9)));
    assert_eq!(bench.told(), [Notice::HolderEnded("other".into())]);
    bench.written(3_010, 10);
    assert_eq!(bench.token(), Some(10));
}

#[test]
fn proof_about_another_says_nothing_about_the_holder() {
    let mut bench = Bench::standing_by();
    bench.step(3_000, ended("other-earlier"));
    bench.run_until(14_999);
    assert!(bench.idle());
    assert!(bench.told().is_empty());
    bench.run_until(15_000);
    assert_eq!(bench.takes(), Some(Some(9)));
}

#[test]
fn proof_may_come_before_the_record_that_it_is_about() {
    let mut bench = Bench::standing_by();
    bench.step(1_000, ended("next"));
    assert!(bench.idle());
    bench.watch(2_000, held_by("next", 10));
    assert_eq!(bench.takes(), Some(Some(10)));
}

#[test]
fn a_last_write_of_one_that_has_ended_does_not_make_it_live() {
    let mut bench = Bench::standing_by();
    bench.step(3_000, ended("other"));
    // It was on its way when its sender ended.
    bench.fail(3_010, crate::ports::StoreFailure::Conflict).watch(3_020, held_by("other", 10));
    assert_eq!(bench.takes(), Some(Some(10)));
}

#[test]
fn its_lease_deleted_afterwards_is_made_again_at_once() {
    let mut bench = Bench::standing_by();
    bench.step(3_000, ended("other"));
    bench.written(3_010, 10).step_down(3_020, StayOut::For(Duration::from_secs(1))).written(3_030, 11);
    bench.watch(3_040, held_by("third", 12)).step(3_050, ended("third"));
    bench.watch(3_060, deleted(13));
    bench.run_until(4_100);
    assert_eq!(bench.takes(), Some(None), "who held it has ended");
}

#[test]
fn proof_neither_ends_a_term_nor_the_time_that_this_one_stays_out_nor_makes_another_tasks_lease_ours() {
    let mut bench = Bench::leading();
    bench.step(1_000, ended("other"));
    bench.step(1_000, ended(ME));
    assert!(bench.leads() && bench.told().is_empty());

    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::For(Duration::from_secs(30))).written(1_010, 11);
    bench.watch(2_000, held_by("other", 12)).step(3_000, ended("other"));
    bench.run_until(30_999);
    assert!(bench.idle());
    bench.run_until(31_000);
    assert_eq!(bench.takes(), Some(Some(12)));

    let mut bench = Bench::with(config(Timing::default()));
    let theirs = LeaseRecord { task: Some("another".into()), ..record(Some("other"), 1) };
    bench.watch(0, present(9, theirs)).step(1_000, ended("other"));
    bench.run_until(60_000);
    assert!(bench.idle());
}
