//! A term: how it is renewed, and how it ends.

use super::bench::{Bench, ME, boot, deleted, free, held_by, missing, present, record};
use crate::{
    election::{Leadership, LossReason, Notice, Reply, Term},
    lease::{LeaseRecord, Version},
    ports::StoreFailure,
    time::WallTime,
    timing::Timing,
};

#[test]
fn the_term_ends_at_a_bound_counted_from_when_the_write_was_sent() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).written(2_400, 10);
    let bound = Timing::default().valid_until(boot(0));
    assert_eq!(bench.valid_until(), bound);
    let last_ns = bound.as_nanos() - 1;
    let at = |nanos| bench.election.leadership(crate::time::BootTime::from_nanos(nanos));
    assert!(matches!(at(last_ns), Leadership::Leading { certain: false, .. }));
    assert!(matches!(at(last_ns + 1), Leadership::Standby { .. }));
}

#[test]
fn late_renewal_answer_does_not_stretch_the_term() {
    // client-go counts from the answer: a renewal answered 9 s late, then a partition, made two leaders.
    let mut bench = Bench::with_timing(60, 45, 2).made_leading();
    bench.run_until(20_000);
    assert_eq!(bench.takes(), Some(Some(10)));
    bench.written(29_000, 11);
    assert_eq!(bench.valid_until().since(boot(0)).as_millis(), 20_000 + 60_000 - 600 - 5);
}

#[test]
fn an_answer_after_its_deadline_is_ignored() {
    let mut bench = Bench::leading();
    bench.run_until(7_500);
    assert_eq!(bench.told(), [Notice::RequestFailed("renew the lease", StoreFailure::Unavailable)]);
    bench.answer_late(7_600, Reply::Written(Version(11)));
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(0)));
}

#[test]
fn an_acquisition_answered_when_its_term_would_be_over_begins_none() {
    let mut bench = Bench::new();
    bench.watch(0, free(9));
    let (_, id, _) = bench.under_way.clone().expect("it acquires");
    // The process did not run in between, so nobody gave the request up.
    bench.step(14_845, crate::election::Input::Answered(id, Ok(Reply::Written(Version(10)))));
    assert!(!bench.leads());
    assert_eq!(bench.takes(), Some(Some(10)), "it is the holder, and says so again");
}

#[test]
fn the_lease_is_renewed_at_a_third_with_the_version_last_written() {
    let mut bench = Bench::leading();
    bench.run_until(4_999);
    assert!(bench.idle());
    bench.run_until(5_000);
    let (based_on, written) = bench.writes().expect("it renews");
    assert_eq!((based_on, written.holder.as_deref(), written.token), (Some(10), Some(ME), Some(10)));
    assert_eq!(written.transitions, 4, "a renewal is no transition");
    assert_eq!(written.renewed, Some(WallTime::from_micros(55_000_000)));
    assert_eq!(written.acquired, Some(WallTime::from_micros(50_000_000)));
    bench.written(5_100, 11).run_until(9_999);
    assert!(bench.idle());
    bench.run_until(10_000);
    assert_eq!(bench.takes(), Some(Some(11)));
}

#[test]
fn of_terms_that_begin_together_each_is_renewed_at_another_time_and_then_every_third() {
    let mut renewed = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut bench = Bench::with_spread(seed);
        bench.watch(0, free(9));
        let began = bench.run_until_sent();
        bench.written(began, 10);
        let first = bench.run_until_sent();
        assert!((1_000..=5_001).contains(&(first - began)), "{first}");
        renewed.insert((first - began) / 100);
        bench.written(first, 11);
        let second = bench.run_until_sent();
        assert!((5_000..=5_001).contains(&(second - first)), "{first} {second}");
        // A store that comes back is not to have all of them at once for ever, either.
        bench.fail(second, StoreFailure::Unavailable);
        let third = bench.run_until_sent();
        bench.written(third, 12);
        let fourth = bench.run_until_sent();
        assert!((1_000..=5_001).contains(&(fourth - third)), "{third} {fourth}");
        renewed.insert(100 + (fourth - third) / 100);
    }
    assert!(renewed.len() > 40, "{renewed:?}");
}

#[test]
fn a_failed_renewal_is_tried_again_after_the_retry_period_with_jitter() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).fail(5_010, StoreFailure::Unavailable).run_until(6_999);
    assert!(bench.idle());
    bench.run_until(7_400);
    assert_eq!(bench.takes(), Some(Some(10)));
    assert_ne!(bench.sent_at(), 7_000, "replicas must not keep step");
    bench.written(7_400, 11);
    assert!(bench.certain());
}

#[test]
fn two_unanswered_renewals_fit_before_the_renew_deadline() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    assert_eq!((bench.sent_at(), bench.takes()), (5_000, Some(Some(10))));
    bench.run_until(7_500);
    assert_eq!((bench.sent_at(), bench.takes()), (7_500, Some(Some(10))));
    bench.written(9_999, 11);
    assert!(bench.certain());
}

#[test]
fn a_leader_is_not_certain_from_the_renew_deadline_until_a_renewal_succeeds() {
    let mut bench = Bench::leading();
    bench.run_until(9_999);
    assert!(bench.certain());
    bench.run_until(10_000);
    assert!(bench.leads() && !bench.certain());
    assert_eq!(bench.takes(), Some(Some(10)), "it goes on trying");
    bench.written(11_000, 11);
    assert!(bench.certain());
    assert_eq!(bench.token(), Some(10), "in the same term");
}

#[test]
fn a_term_that_cannot_be_renewed_is_lost_at_its_bound() {
    let mut bench = Bench::leading();
    bench.run_until(14_844);
    assert!(bench.leads());
    bench.told();
    bench.run_until(14_845);
    assert!(!bench.leads());
    assert_eq!(bench.told(), [Notice::Lost(Term { token: 10 }, LossReason::Expired)]);
}

#[test]
fn a_suspended_process_loses_before_it_hears_of_anything_else() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    let (_, id, _) = bench.under_way.clone().expect("it renews");
    // An hour later the answer to the renewal is the first thing it gets.
    bench.step(3_600_000, crate::election::Input::Answered(id, Ok(Reply::Written(Version(11)))));
    assert_eq!(bench.told(), [Notice::Lost(Term { token: 10 }, LossReason::Expired)]);
    assert!(!bench.leads());
}

#[test]
fn a_resumed_leader_that_nobody_replaced_begins_another_term() {
    let mut bench = Bench::leading();
    bench.wake_at(3_600_000);
    assert_eq!(bench.takes(), Some(Some(10)));
    assert_eq!(bench.writes().and_then(|(_, written)| written.token), None);
    bench.written(3_600_010, 11);
    assert_eq!(bench.token(), Some(11));
}

#[test]
fn another_holder_seen_ends_the_term_at_once() {
    let mut bench = Bench::leading();
    bench.watch(3_000, held_by("other", 12));
    assert!(!bench.leads());
    let lost = Notice::Lost(Term { token: 10 }, LossReason::TakenBy("other".into()));
    assert_eq!(bench.told(), [Notice::NewLeader("other".into()), lost]);
    bench.run_until(17_999);
    assert!(bench.idle(), "the new holder is waited out like any other");
}

#[test]
fn a_cleared_holder_ends_the_term_at_once_and_the_next_has_another_token() {
    let mut bench = Bench::leading();
    bench.watch(3_000, free(12));
    assert!(!bench.leads());
    assert_eq!(bench.told(), [Notice::Lost(Term { token: 10 }, LossReason::Cleared)]);
    assert_eq!(bench.takes(), Some(Some(12)));
    bench.written(3_010, 13);
    assert_eq!(bench.token(), Some(13));
}

#[test]
fn a_deleted_lease_ends_the_term_at_once_and_is_made_again() {
    let mut bench = Bench::leading();
    bench.watch(3_000, deleted(12));
    assert_eq!(bench.told(), [Notice::Lost(Term { token: 10 }, LossReason::Deleted)]);
    assert_eq!(bench.takes(), Some(None), "what it held itself it need not wait out");
    bench.written(3_010, 13);
    assert_eq!(bench.token(), Some(13));
}

#[test]
fn a_renewal_of_a_lease_that_is_gone_ends_the_term() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).fail(5_010, StoreFailure::Missing);
    assert_eq!(bench.told(), [Notice::Lost(Term { token: 10 }, LossReason::Deleted)]);
    assert_eq!(bench.takes(), Some(None));
}

#[test]
fn a_stale_watch_event_does_not_end_a_term() {
    let mut bench = Bench::leading();
    for stale in [free(9), held_by("other", 8), deleted(3), held_by(ME, 10)] {
        bench.watch(3_000, stale);
        assert!(bench.leads());
    }
    bench.run_until(5_000);
    assert_eq!(bench.takes(), Some(Some(10)));
    assert_eq!(bench.told(), []);
}

#[test]
fn a_change_beside_the_holder_costs_neither_the_term_nor_a_conflict() {
    let mut bench = Bench::leading();
    bench.watch(3_000, present(12, record(Some(ME), 12))).run_until(5_000);
    assert_eq!(bench.takes(), Some(Some(12)));
}

#[test]
fn a_conflicting_renewal_is_decided_by_a_read() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).fail(5_010, StoreFailure::Conflict);
    assert!(bench.reads() && bench.leads());
    bench.read(5_020, held_by(ME, 12));
    assert_eq!((bench.sent_at(), bench.takes()), (5_020, Some(Some(12))));

    let mut bench = Bench::leading();
    bench.run_until(5_000).fail(5_010, StoreFailure::Conflict).read(5_020, held_by("other", 12));
    assert!(!bench.leads());
}

#[test]
fn a_renewal_whose_answer_was_lost_does_not_extend_the_term() {
    let mut bench = Bench::leading();
    bench.run_until(7_500); // The first renewal arrived and made 11; its answer was lost.
    bench.fail(7_510, StoreFailure::Conflict).read(7_520, held_by(ME, 11));
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(0)));
    assert_eq!(bench.takes(), Some(Some(11)));
    bench.written(7_530, 12);
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(7_520)));
}

#[test]
fn a_renewal_answered_after_the_lease_was_taken_begins_no_term() {
    for taken in [held_by("other", 12), free(12), deleted(12)] {
        let mut bench = Bench::leading();
        bench.run_until(5_000).watch(5_100, taken.clone());
        assert!(!bench.leads());
        // It did arrive first, and its answer last.
        bench.written(5_200, 11);
        assert!(!bench.leads(), "{taken:?}");
        assert_eq!(bench.election.holder(), taken.holder());
    }
}

#[test]
fn a_renewal_answered_after_its_lease_was_found_missing_begins_no_term() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).watch(5_100, missing());
    // Whether it is gone since before or after version 11 was made, only a read can tell.
    bench.written(5_200, 11);
    assert!(!bench.leads() && bench.reads());
}

#[test]
fn a_renewal_answered_after_a_change_beside_the_holder_extends_the_term() {
    let mut bench = Bench::leading();
    bench.run_until(5_000).watch(5_100, held_by(ME, 12)).written(5_200, 11);
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(5_000)));
    bench.run_until(10_000);
    assert_eq!(bench.takes(), Some(Some(12)), "and the newest version is the one to write over");
}

#[test]
fn a_renewal_answered_after_the_old_bound_begins_a_term_of_its_own() {
    let mut bench = Bench::leading();
    bench.run_until(14_845);
    assert!(!bench.leads());
    assert_eq!(bench.sent_at(), 12_500);
    bench.written(14_900, 11);
    assert_eq!((bench.token(), bench.valid_until()), (Some(11), Timing::default().valid_until(boot(12_500))));
}

#[test]
fn every_term_has_a_higher_token_than_the_one_before() {
    let mut bench = Bench::leading();
    let mut tokens = vec![bench.token()];
    for (at, version) in [(1_000, 20), (2_000, 30), (3_000, 40)] {
        bench.watch(at, if version == 30 { deleted(version) } else { free(version) }).written(at + 10, version + 1);
        tokens.push(bench.token());
    }
    assert_eq!(tokens, [Some(10), Some(21), Some(31), Some(41)]);
}

#[test]
fn every_renewal_reads_differently_though_the_wall_clock_stands_still() {
    let mut bench = Bench::leading();
    bench.wall_stands_at = Some(WallTime::from_micros(50_000_000));
    let mut seen = vec![Some(WallTime::from_micros(50_000_000))];
    for renewal in 1..20 {
        bench.run_until(renewal * 5_000);
        let renewed = bench.writes().and_then(|(_, written)| written.renewed);
        // A standby's watch may skip versions: it is not enough to differ from the last one.
        assert!(!seen.contains(&renewed), "{seen:?}");
        seen.push(renewed);
        bench.written(renewal * 5_000, 10 + renewal);
    }
}

#[test]
fn a_lease_made_again_reads_differently_though_the_wall_clock_stands_still() {
    // Or else a standby whose watch was broken in between takes it for the record it saw long ago,
    // and takes over at once (found by the simulator).
    let mut bench = Bench::new();
    bench.wall_stands_at = Some(WallTime::from_micros(50_000_000));
    bench.run_until(0).read(0, missing());
    let first = bench.writes().map(|(_, written)| written.clone());
    bench.written(0, 10).watch(3_000, deleted(12));
    let second = bench.writes().map(|(_, written)| written.clone());
    assert!(first.is_some() && second.is_some());
    assert_ne!(first, second);
}

#[test]
fn a_wall_clock_that_was_ahead_is_not_carried_on() {
    // Other electors may compare `renewTime` with their own clock: it must not stay in the future.
    let mut bench = Bench::leading();
    bench.wall_offset_us -= 3_600_000_000;
    bench.run_until(5_000);
    let renewed = bench.writes().and_then(|(_, written)| written.renewed);
    assert_eq!(renewed, Some(WallTime::from_micros(55_000_000 - 3_600_000_000)));
}

#[test]
fn what_others_wrote_into_the_record_is_kept_by_a_renewal() {
    let mut bench = Bench::leading();
    let edited = LeaseRecord { transitions: 77, acquired: None, ..record(Some(ME), 1) };
    bench.watch(3_000, present(12, edited)).run_until(5_000);
    let (_, written) = bench.writes().expect("it renews");
    assert_eq!((written.transitions, written.acquired), (77, None));
}
