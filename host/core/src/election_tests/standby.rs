//! How a replica that does not lead comes to lead, or does not.

use std::time::Duration;

use super::bench::{Bench, ME, TASK, boot, config, deleted, free, held_by, missing, present, record};
use crate::{
    election::{Input, Leadership, Notice},
    lease::LeaseRecord,
    ports::StoreFailure,
    time::WallTime,
    timing::Timing,
};

#[test]
fn first_start_reads_then_creates_the_lease() {
    let mut bench = Bench::new();
    bench.run_until(0);
    assert!(bench.reads());
    bench.read(20, missing());
    let (based_on, written) = bench.writes().expect("it creates at once");
    assert_eq!(based_on, None);
    let now = WallTime::from_micros(50_020_000);
    let expected = LeaseRecord {
        holder: Some(ME.into()),
        duration: Some(Duration::from_secs(15)),
        acquired: Some(now),
        renewed: Some(now),
        transitions: 0,
        task: Some(TASK.into()),
        token: None,
        step_down: None,
        checkpoint: None,
        modules: Box::default(),
        coordination: None,
    };
    assert_eq!(*written, expected);
    bench.written(40, 5);
    assert_eq!(bench.token(), Some(5));
}

#[test]
fn a_free_lease_is_taken_at_once_and_counted_as_a_transition() {
    let mut bench = Bench::new();
    bench.run_until(0).read(20, free(9));
    let (based_on, written) = bench.writes().expect("it takes the lease");
    assert_eq!((based_on, written.transitions), (Some(9), 4));
    bench.written(40, 10);
    assert_eq!(bench.told().last(), Some(&Notice::Leading(crate::election::Term { token: 10 })));
}

#[test]
fn a_transition_count_at_its_end_stays_there() {
    let mut bench = Bench::new();
    bench.run_until(0).read(0, present(9, LeaseRecord { transitions: u32::MAX, ..record(None, 0) }));
    assert_eq!(bench.writes().map(|(_, written)| written.transitions), Some(u32::MAX));
}

#[test]
fn a_silent_holder_is_waited_out_for_its_duration_from_the_last_change_seen() {
    let mut bench = Bench::new();
    bench.watch(300, held_by("other", 9));
    bench.run_until(15_299);
    assert!(bench.idle(), "nothing is asked while the holder may lead");
    bench.run_until(15_300);
    assert_eq!(bench.takes(), Some(Some(9)));
}

#[test]
fn the_wait_takes_the_duration_that_the_holder_wrote() {
    let mut bench = Bench::new();
    let told = LeaseRecord { duration: Some(Duration::from_secs(40)), ..record(Some("other"), 1) };
    bench.watch(0, present(9, told)).run_until(39_999);
    assert!(bench.idle());
    bench.run_until(40_000);
    assert_eq!(bench.takes(), Some(Some(9)));
}

#[test]
fn a_renewal_seen_restarts_the_wait() {
    let mut bench = Bench::standing_by();
    bench.watch(14_000, held_by("other", 10)).run_until(28_999);
    assert!(bench.idle());
    bench.run_until(29_000);
    assert_eq!(bench.takes(), Some(Some(10)));
}

#[test]
fn a_new_version_that_says_the_same_does_not_restart_the_wait() {
    let mut bench = Bench::standing_by();
    // Somebody annotated the Lease: the version is new, the holder has not renewed.
    bench.watch(14_000, present(10, record(Some("other"), 9))).run_until(15_000);
    assert_eq!(bench.takes(), Some(Some(10)), "and the new version is the one to write over");
}

/// Scripts do not write when they wrote. What is known of the Lease then skips what was in between:
/// given up, and taken again.
#[test]
fn a_new_version_that_says_the_same_restarts_the_wait_where_the_holder_was_never_seen_to_renew() {
    let bare = LeaseRecord { holder: Some("script".into()), ..LeaseRecord::default() };
    let stale = record(Some("script"), 1);
    for script in [bare, stale] {
        let mut bench = Bench::new();
        bench.watch(0, present(8, record(Some("other"), 8))).watch(0, present(9, script.clone()));
        bench.watch(14_000, present(12, script.clone())).run_until(28_999);
        assert!(bench.idle(), "{script:?}");
        bench.run_until(29_000);
        assert_eq!(bench.takes(), Some(Some(12)));
    }
}

#[test]
fn a_huge_foreign_duration_is_believed_for_five_minutes() {
    let mut bench = Bench::new();
    let forever = LeaseRecord { duration: Some(Duration::from_secs(100_000_000)), ..record(Some("other"), 1) };
    bench.watch(0, present(9, forever)).run_until(299_999);
    assert!(bench.idle());
    bench.run_until(300_000);
    assert_eq!(bench.takes(), Some(Some(9)));
}

#[test]
fn a_released_lease_is_taken_the_moment_the_watch_tells() {
    let mut bench = Bench::standing_by();
    bench.watch(4_000, free(10));
    assert_eq!((bench.sent_at(), bench.takes()), (4_000, Some(Some(10))));
}

#[test]
fn a_deleted_lease_proves_nothing_about_its_holder_and_is_waited_out() {
    let mut bench = Bench::standing_by();
    // The last renewal may have come right before the deletion, unseen: the wait begins here.
    bench.watch(4_000, deleted(12)).run_until(18_999);
    assert!(bench.idle());
    bench.run_until(19_000);
    assert_eq!(bench.takes(), Some(None));
}

#[test]
fn reading_again_that_the_lease_is_gone_does_not_restart_the_wait() {
    let mut bench = Bench::standing_by();
    bench.watch(4_000, deleted(12)).watch_breaks(5_000);
    let mut polls = 0;
    while bench.run_until_sent() < 19_000 {
        let sent_at = bench.sent_at();
        bench.read(sent_at, missing());
        polls += 1;
    }
    assert!(polls > 4, "it did poll: {polls}");
    assert_eq!((bench.sent_at(), bench.takes()), (19_000, Some(None)));
}

#[test]
fn a_lease_deleted_after_its_release_is_made_again_at_once() {
    let mut bench = Bench::standing_by();
    bench.watch(4_000, free(10)).fail(4_010, StoreFailure::Missing);
    assert_eq!((bench.sent_at(), bench.takes()), (4_010, Some(None)));
}

#[test]
fn a_stale_watch_event_is_no_news_to_a_standby() {
    let mut bench = Bench::standing_by();
    bench.watch(1_000, held_by("third", 20));
    for stale in [free(19), held_by("other", 9), deleted(15), held_by("third", 20)] {
        bench.watch(2_000, stale);
        assert!(bench.idle());
        assert_eq!(bench.leadership(), Leadership::Standby { holder: Some("third".into()) });
    }
    bench.run_until(16_000);
    assert_eq!(bench.takes(), Some(Some(20)), "the wait went on");
}

#[test]
fn a_watch_event_from_before_the_lease_was_deleted_is_no_news() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).fail(10, StoreFailure::Missing);
    assert_eq!(bench.takes(), Some(None));
    bench.watch(20, held_by("other", 8));
    assert_eq!(bench.leadership(), Leadership::Standby { holder: None });
}

#[test]
fn a_lease_that_was_gone_for_a_moment_is_seen_again_with_the_version_it_had() {
    let mut bench = Bench::standing_by();
    bench.watch(1_000, missing()).watch(1_100, held_by("other", 9));
    assert_eq!(bench.leadership(), Leadership::Standby { holder: Some("other".into()) });
}

#[test]
fn a_read_that_the_watch_has_overtaken_does_not_take_the_news_back() {
    let mut bench = Bench::standing_by();
    bench.watch_breaks(100).run_until(2_600);
    assert!(bench.reads());
    bench.watch(2_700, free(11));
    // The read was answered by the store before the release, and by the network after it.
    bench.read(2_800, held_by("other", 10));
    assert_eq!(bench.takes(), Some(Some(11)));
}

#[test]
fn a_read_sent_after_the_news_is_believed_though_its_version_is_lower() {
    // A store that was restored from a backup counts from an earlier version.
    let mut bench = Bench::standing_by();
    bench.run_until(15_000).fail(15_010, StoreFailure::Conflict);
    let asked_at = bench.run_until_sent();
    assert!(bench.reads());
    bench.read(asked_at, free(3));
    assert_eq!(bench.takes(), Some(Some(3)));
}

#[test]
fn who_has_lost_a_race_is_told_of_the_winner_by_its_watch_and_asks_nothing() {
    let mut bench = Bench::standing_by();
    bench.run_until(15_000).fail(15_010, StoreFailure::Conflict);
    assert!(bench.idle());
    bench.watch(15_020, held_by("third", 11)).run_until(30_019);
    assert!(bench.idle());
    assert_eq!(bench.told(), [Notice::NewLeader("third".into())]);
    bench.run_until(30_020);
    assert_eq!(bench.takes(), Some(Some(11)));

    // The watch may have been faster than the conflict.
    let mut bench = Bench::standing_by();
    bench.run_until(15_000).watch(15_005, held_by("third", 11)).fail(15_010, StoreFailure::Conflict);
    bench.run_until(30_004);
    assert!(bench.idle());
}

#[test]
fn who_has_lost_a_race_asks_where_the_watch_says_nothing() {
    let mut bench = Bench::standing_by();
    bench.run_until(15_000).fail(15_010, StoreFailure::Conflict);
    let asked_at = bench.run_until_sent();
    assert!((17_000..=17_400).contains(&asked_at) && bench.reads(), "{asked_at}");
    bench.read(asked_at, held_by("third", 11));
    // It is as good as broken, until it tells something.
    let polled_at = bench.run_until_sent();
    assert!((2_000..=2_401).contains(&(polled_at - asked_at)) && bench.reads(), "{polled_at}");
    bench.read(polled_at, held_by("third", 12)).watch(polled_at + 100, held_by("third", 13));
    bench.run_until(polled_at + 15_099);
    assert!(bench.idle());

    // At once where there is no watch that could.
    let mut bench = Bench::standing_by();
    bench.watch_breaks(14_000);
    while bench.run_until_sent() < 15_000 {
        let asked_at = bench.sent_at();
        bench.read(asked_at, held_by("other", 9));
    }
    assert!(bench.takes().is_some());
    bench.fail(15_010, StoreFailure::Conflict);
    assert_eq!((bench.sent_at(), bench.reads()), (15_010, true));
}

#[test]
fn writes_that_keep_conflicting_are_paced() {
    let mut bench = Bench::standing_by();
    bench.run_until(15_000);
    let mut sent = Vec::new();
    for version in 10..15 {
        let at = bench.run_until_sent();
        sent.push(at);
        bench.fail(at, StoreFailure::Conflict).watch(at, free(version));
    }
    assert_eq!(sent[1] - sent[0], 0, "a lost race is run again at once");
    for pair in sent[1..].windows(2) {
        assert!((2_000..=2_400).contains(&(pair[1] - pair[0])), "{sent:?}");
    }
}

#[test]
fn a_race_that_has_found_its_winner_does_not_slow_the_next_one_down() {
    let mut bench = Bench::standing_by();
    for race in 0..5 {
        let begun = 1_000 + race * 1_000;
        bench.watch(begun, free(10 + 2 * race));
        assert_eq!((bench.sent_at(), bench.takes()), (begun, Some(Some(10 + 2 * race))));
        bench.fail(begun + 5, StoreFailure::Conflict).watch(begun + 10, held_by("third", 11 + 2 * race));
    }
}

/// What keeps many standbys from asking all at once.
#[test]
fn a_standby_leaves_a_lease_that_has_become_free_alone_for_a_moment_and_for_good_if_it_is_taken() {
    let mut waited = Vec::new();
    for seed in 0..100 {
        let mut bench = Bench::with_spread(seed);
        bench.watch(0, held_by("other", 8)).watch(0, held_by("other", 9)).watch(4_000, free(10));
        waited.push(bench.run_until_sent() - 4_000);
        assert_eq!(bench.takes(), Some(Some(10)));

        let mut bench = Bench::with_spread(seed);
        bench.watch(0, held_by("other", 9)).watch(4_000, free(10));
        if bench.idle() {
            bench.watch(4_000, held_by("third", 11)).run_until(19_000);
            assert!(bench.idle(), "it does not ask when another has it");
        }
    }
    assert!(waited.iter().all(|wait| *wait <= 15), "{waited:?}");
    let differing = waited.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(differing > 10, "{waited:?}");
}

#[test]
fn a_lost_answer_to_an_acquisition_is_found_by_a_read_and_written_afresh() {
    let mut bench = Bench::standing_by();
    bench.run_until(15_000);
    assert_eq!(bench.takes(), Some(Some(9)));
    bench.run_until(17_500); // given up: half of what lies between renewal and deadline
    assert_eq!(bench.told(), [Notice::RequestFailed("acquire the lease", StoreFailure::Unavailable)]);
    assert!(bench.reads());
    bench.read(17_600, held_by(ME, 10));
    assert!(!bench.leads(), "when the write that took the lease was sent is not what the read tells");
    assert_eq!(bench.takes(), Some(Some(10)));
    bench.written(17_700, 11);
    assert_eq!(bench.token(), Some(11));
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(17_600)));
}

#[test]
fn an_acquisition_that_the_watch_shows_first_becomes_a_term_with_its_answer() {
    let mut bench = Bench::new();
    bench.watch(0, free(9)).watch(30, held_by(ME, 10));
    assert!(!bench.leads());
    bench.written(40, 10);
    assert_eq!((bench.token(), bench.valid_until()), (Some(10), Timing::default().valid_until(boot(0))));
}

#[test]
fn an_acquisition_that_was_undone_before_its_answer_came_is_no_term() {
    for undone in [held_by("other", 11), free(11), deleted(11)] {
        let mut bench = Bench::new();
        bench.watch(0, free(9)).watch(30, undone.clone()).written(40, 10);
        assert!(!bench.leads(), "{undone:?}");
        assert_eq!(bench.election.holder(), undone.holder());
    }
}

#[test]
fn a_failed_acquisition_is_tried_again_after_the_retry_period_with_jitter() {
    for failure in [StoreFailure::Denied, StoreFailure::Rejected] {
        let mut bench = Bench::standing_by();
        bench.run_until(15_000).fail(15_010, failure).run_until(16_999);
        assert!(bench.idle());
        bench.run_until(17_400);
        assert_eq!(bench.takes(), Some(Some(9)));
        assert!((17_000..=17_400).contains(&bench.sent_at()));
    }
}

#[test]
fn a_read_answered_as_if_it_were_a_write_is_tried_again_later() {
    // No store may do so; if one does, it is not asked without pause.
    for failure in [StoreFailure::Conflict, StoreFailure::Missing] {
        let mut bench = Bench::new();
        bench.run_until(0).fail(10, failure).run_until(1_999);
        assert!(bench.idle());
        bench.run_until(2_400);
        assert!(bench.reads());
    }
}

#[test]
fn a_standby_whose_watch_works_asks_nothing() {
    let mut bench = Bench::standing_by();
    for renewal in 1..100 {
        bench.watch(renewal * 5_000, held_by("other", 9 + renewal));
        assert!(bench.idle());
    }
}

#[test]
fn a_broken_watch_is_made_up_for_by_polling_until_it_is_back() {
    let mut bench = Bench::standing_by();
    bench.watch_breaks(1_000);
    let mut last = 1_000;
    let mut pauses = Vec::new();
    for version in 10..20 {
        let sent_at = bench.run_until_sent();
        bench.read(sent_at, held_by("other", version));
        pauses.push(sent_at - last);
        last = sent_at;
    }
    // All standbys of a store that went away begin to poll at the same time.
    assert!(pauses[0] <= 2_401, "{pauses:?}");
    assert!(pauses[1..].iter().all(|pause| (2_000..=2_401).contains(pause)), "{pauses:?}");
    assert!(pauses[1..].iter().any(|pause| *pause != pauses[1]), "replicas must not keep step: {pauses:?}");
    // Back: it begins with what is known already.
    bench.watch(last + 100, held_by("other", 19)).run_until(last + 14_999);
    assert!(bench.idle());
}

#[test]
fn another_tasks_lease_is_refused_and_that_is_told_once() {
    let others = |holder, renewal| LeaseRecord { task: Some("billing".into()), ..record(holder, renewal) };
    let mut bench = Bench::new();
    bench.watch(0, present(9, others(None, 0)));
    bench.watch(1_000, present(10, others(Some("other"), 1)));
    bench.watch(2_000, present(11, others(None, 2))).run_until(1_000_000);
    assert!(bench.idle());
    assert_eq!(bench.told(), [Notice::OtherTask("billing".into()), Notice::NewLeader("other".into())]);
    // It is marked as ours now: it may be taken.
    bench.watch(1_000_000, free(12));
    assert_eq!(bench.takes(), Some(Some(12)));
}

#[test]
fn another_tasks_lease_is_adopted_on_request() {
    let mut bench = Bench::with(crate::election::ElectionConfig { adopt: true, ..config(Timing::default()) });
    bench.watch(0, present(9, LeaseRecord { task: Some("billing".into()), ..record(None, 0) }));
    let (based_on, written) = bench.writes().expect("it takes the lease");
    assert_eq!((based_on, written.task.as_deref()), (Some(9), Some(TASK)));
}

#[test]
fn a_lease_that_is_nobodys_task_is_taken_and_marked() {
    let mut bench = Bench::new();
    bench.watch(0, present(9, LeaseRecord { task: None, ..record(None, 0) }));
    assert_eq!(bench.writes().and_then(|(_, written)| written.task.clone()).as_deref(), Some(TASK));
}

/// What people are told of who leads ends with what is known, however well or badly the Lease can be watched.
#[test]
fn a_holder_may_lead_until_its_record_runs_out_and_a_renewal_seen_moves_that() {
    let mut bench = Bench::new();
    assert!(bench.election.holder_until() <= boot(0), "nothing is known");
    bench.watch(300, held_by("other", 9));
    assert_eq!(bench.election.holder_until(), boot(15_300));
    bench.watch(5_300, present(10, record(Some("other"), 1))).watch_breaks(6_000);
    assert_eq!(bench.election.holder_until(), boot(20_300));
    bench.step(7_000, Input::HolderEnded("other".into()));
    assert!(bench.election.holder_until() <= boot(7_000));
    bench.watch(8_000, held_by(ME, 11));
    assert!(bench.election.holder_until() <= boot(8_000), "a term of this process that nobody knows of is none");
}
