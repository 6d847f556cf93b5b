//! What a guest saves, and what the next one loads. The bench's term has token 10, and began at 0 ms.

use std::time::Duration;

use super::bench::{Bench, ME, boot, free, held_by, keeping, saved};
use crate::{
    checkpoint::{
        Answer::{Loaded, NotSaved, Saved},
        Checkpoint, STATE_BYTES_MAX,
        SaveFailure::{NotLeading, Refused},
        SavedState, TooLarge,
    },
    election::StayOut,
    ports::StoreFailure,
    timing::Timing,
};

#[test]
fn a_save_is_written_at_once_and_counts_as_a_renewal() {
    let mut bench = Bench::leading();
    let save = bench.save(1_000, "a");
    assert_eq!((bench.takes(), bench.sent_at()), (Some(Some(10)), 1_000));
    assert_eq!(bench.writes_checkpoint(), Some(&saved("a")));
    assert_eq!(bench.writes().expect("a write").1.token, Some(10), "a renewal like any other");
    assert_eq!(bench.answers(), [], "not before it is written");
    bench.written(1_010, 11);
    assert_eq!(bench.answers(), [(save, Saved)]);
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(1_000)));
    bench.run_until(5_999);
    assert!(bench.idle());
    assert_eq!(bench.run_until_sent(), 6_000);
    assert_eq!(bench.writes_checkpoint(), Some(&saved("a")), "renewals keep it");
}

#[test]
fn a_guest_that_saves_in_a_loop_writes_once_a_second_and_a_renewal_takes_along_what_waits() {
    let mut bench = Bench::with_timing(3, 2, 1).made_leading();
    bench.save(0, "a");
    bench.written(10, 11);
    bench.save(20, "b");
    assert!(bench.idle());
    assert_eq!(bench.run_until_sent(), 1_000);
    bench.written(1_300, 12);
    // The renewal is due a second after the last write was sent, as the save is.
    bench.save(1_900, "c");
    assert_eq!(bench.run_until_sent(), 2_000);
    assert_eq!(bench.writes_checkpoint(), Some(&saved("c")));
}

#[test]
fn a_save_that_comes_while_a_renewal_is_under_way_is_written_after_it() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    let save = bench.save(5_005, "a");
    assert_eq!((bench.sent_at(), bench.writes_checkpoint()), (5_000, None));
    bench.written(5_010, 11);
    assert_eq!(bench.answers(), [], "that write did not carry it");
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(11)), Some(&saved("a"))));
    bench.written(5_020, 12);
    assert_eq!(bench.answers(), [(save, Saved)]);
}

#[test]
fn a_save_that_conflicts_with_an_edit_is_written_onto_what_is_read() {
    let mut bench = Bench::leading();
    let save = bench.save(1_000, "a");
    bench.fail(1_010, StoreFailure::Conflict);
    assert!(bench.reads());
    bench.read(1_020, keeping(saved("by hand"), held_by(ME, 12)));
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(12)), Some(&saved("a"))));
    assert_eq!(bench.answers(), []);
    bench.written(1_030, 13);
    assert_eq!(bench.answers(), [(save, Saved)]);
}

#[test]
fn a_save_whose_answer_is_lost_is_written_again_until_it_is_known_to_be_written() {
    let mut bench = Bench::leading();
    let save = bench.save(1_000, "a");
    // It has arrived, which nobody knows.
    bench.fail(1_500, StoreFailure::Unavailable);
    assert!(bench.run_until_sent() > 1_500);
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(10)), Some(&saved("a"))));
    let at = bench.sent_at();
    bench.fail(at + 10, StoreFailure::Conflict);
    assert!(bench.reads() && bench.answers().is_empty());
    bench.read(at + 20, keeping(saved("a"), held_by(ME, 11)));
    assert_eq!((bench.answers(), bench.idle()), (vec![(save, Saved)], true));
}

#[test]
fn a_save_that_the_watch_shows_to_stand_there_is_as_good_as_answered() {
    let mut bench = Bench::leading();
    let save = bench.save(1_000, "a");
    bench.watch(1_010, keeping(saved("a"), held_by(ME, 11)));
    assert_eq!(bench.answers(), [(save, Saved)]);
    assert_eq!(bench.valid_until(), Timing::default().valid_until(boot(0)), "but the term is counted from answers");
    // Somebody edits it, and is not undone for that the answer is lost.
    bench.watch(1_020, keeping(saved("by hand"), held_by(ME, 12))).fail(1_500, StoreFailure::Unavailable);
    bench.run_until_sent();
    assert_eq!((bench.answers(), bench.writes_checkpoint()), (vec![], Some(&saved("by hand"))));
}

#[test]
fn a_state_that_stands_there_already_is_written_all_the_same() {
    let mut bench = Bench::leading();
    bench.watch(500, keeping(saved("a"), held_by(ME, 11)));
    let save = bench.save(1_000, "a");
    assert_eq!((bench.answers(), bench.takes()), (vec![], Some(Some(11))));
    bench.written(1_010, 12);
    assert_eq!(bench.answers(), [(save, Saved)]);
}

#[test]
fn a_save_that_the_store_refuses_fails_and_the_lease_is_renewed_without_it() {
    for failure in [StoreFailure::Rejected, StoreFailure::Denied] {
        let mut bench = Bench::leading();
        let save = bench.save(1_000, "a");
        bench.fail(1_010, failure);
        assert_eq!(bench.answers(), [(save, NotSaved(Refused(failure)))]);
        assert!(bench.leads() && bench.idle());
        assert_eq!((bench.run_until_sent(), bench.writes_checkpoint()), (5_000, None));
        bench.written(5_010, 11);
        assert_eq!(bench.answers(), []);
    }
}

#[test]
fn what_waits_to_be_saved_goes_with_its_term() {
    let mut bench = Bench::leading();
    bench.save(1_000, "a");
    bench.fail(1_010, StoreFailure::Unavailable).watch(1_020, held_by("other", 11));
    assert!(!bench.leads());
    bench.watch(1_030, free(12)).written(1_040, 13);
    assert_eq!(bench.token(), Some(13));
    bench.run_until_sent();
    assert_eq!((bench.answers(), bench.writes_checkpoint()), (vec![], None));
}

#[test]
fn an_expired_term_writes_nothing_for_its_guest() {
    let mut bench = Bench::leading();
    bench.save(1_000, "a");
    bench.fail(1_010, StoreFailure::Unavailable).wake_at(20_000);
    assert!(!bench.leads());
    assert!(bench.writes().is_none_or(|(_, record)| record.checkpoint.is_none()), "{:?}", bench.under_way);
}

#[test]
fn only_the_run_of_the_present_term_can_save() {
    // A standby's, that of the term before, and that of one whose Lease is being released.
    let mut bench = Bench::standing_by();
    let save = bench.save(1_000, "a");
    assert_eq!((bench.answers(), bench.idle()), (vec![(save, NotSaved(NotLeading))], true));

    let mut bench = Bench::leading();
    bench.watch(1_000, free(11)).written(1_010, 12);
    let save = bench.save(1_020, "a");
    assert_eq!((bench.answers(), bench.idle()), (vec![(save, NotSaved(NotLeading))], true));

    let mut bench = Bench::leading();
    bench.step_down(1_000, StayOut::For(Duration::from_secs(30)));
    let save = bench.save(1_005, "a");
    assert_eq!(bench.answers(), [(save, NotSaved(NotLeading))]);
}

#[test]
fn a_save_of_a_run_that_is_gone_is_written_no_more() {
    let mut bench = Bench::leading();
    bench.run_until(5_000);
    bench.save(5_005, "a");
    bench.drop_call(5_006).written(5_010, 11).run_until(10_000);
    assert_eq!((bench.answers(), bench.writes_checkpoint()), (vec![], None));
}

#[test]
fn the_answer_to_a_dead_runs_write_is_not_taken_for_that_of_the_next_ones() {
    let mut bench = Bench::leading();
    bench.save(1_000, "a");
    bench.drop_call(1_001);
    let save = bench.save(1_002, "b");
    bench.written(1_010, 11);
    assert_eq!(bench.answers(), []);
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(11)), Some(&saved("b"))));
    bench.written(1_020, 12);
    assert_eq!(bench.answers(), [(save, Saved)]);
}

#[test]
fn a_release_an_acquisition_and_a_renewal_keep_what_stands_there() {
    let mut bench = Bench::new();
    bench.watch(0, keeping(saved("a"), free(9)));
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(9)), Some(&saved("a"))));
    bench.written(10, 10).run_until(5_000);
    assert_eq!(bench.writes_checkpoint(), Some(&saved("a")));
    bench.written(5_010, 11).step_down(6_000, StayOut::Forever);
    assert_eq!((bench.releases(), bench.writes_checkpoint()), (Some(Some(11)), Some(&saved("a"))));
}

#[test]
fn a_load_is_answered_at_once_and_asks_nothing() {
    let mut bench = Bench::leading();
    let load = bench.load(1_000);
    assert_eq!((bench.answers(), bench.idle()), (vec![(load, Loaded(None))], true));
    bench.save(1_010, "a");
    bench.written(1_020, 11).answers();
    let load = bench.load(1_030);
    assert_eq!((bench.answers(), bench.idle()), (vec![(load, Loaded(Some(saved("a"))))], true));
}

#[test]
fn a_load_takes_an_edit_by_hand_along_and_text_that_nobody_saved() {
    let mut bench = Bench::leading();
    let unreadable = Checkpoint::Unreadable("?".into());
    bench.watch(1_000, keeping(unreadable.clone(), held_by(ME, 11)));
    let load = bench.load(1_010);
    assert_eq!(bench.answers(), [(load, Loaded(Some(unreadable.clone())))]);
    bench.run_until(5_000);
    assert_eq!(bench.writes_checkpoint(), Some(&unreadable), "kept until the next save");
    bench.written(5_010, 12);
    bench.save(6_000, "a");
    assert_eq!(bench.writes_checkpoint(), Some(&saved("a")));
}

/// Else the next run would begin with what is about to be overwritten.
#[test]
fn a_load_waits_for_the_end_of_a_write_that_a_dead_run_has_left_under_way() {
    let mut bench = Bench::leading();
    bench.save(1_000, "a");
    bench.drop_call(1_001);
    let load = bench.load(1_002);
    assert_eq!(bench.answers(), []);
    bench.written(1_010, 11);
    assert_eq!(bench.answers(), [(load, Loaded(Some(saved("a"))))]);
}

#[test]
fn a_load_after_a_write_without_an_answer_has_the_lease_written_which_settles_it() {
    for landed in [true, false] {
        let mut bench = Bench::leading();
        bench.save(1_000, "a");
        bench.drop_call(1_001).fail(1_010, StoreFailure::Unavailable);
        let load = bench.load(1_020);
        assert_eq!((bench.answers(), bench.idle()), (vec![], true));
        let at = bench.run_until_sent();
        assert!(at < 5_000, "sooner than it would be renewed");
        assert_eq!(bench.writes_checkpoint(), None, "of a run that is gone");
        let expected = if landed {
            bench.fail(at + 10, StoreFailure::Conflict).read(at + 20, keeping(saved("a"), held_by(ME, 11)));
            Some(saved("a"))
        } else {
            bench.written(at + 10, 11);
            None
        };
        assert_eq!(bench.answers(), [(load, Loaded(expected))]);
    }
}

#[test]
fn to_edit_a_checkpoint_is_not_to_renew() {
    let mut bench = Bench::standing_by();
    let edited = keeping(saved("by hand"), held_by("other", 9));
    bench.watch(
        9_000,
        crate::lease::Observation::Present {
            version: crate::lease::Version(10),
            record: edited.record().expect("it is there").clone(),
        },
    );
    assert_eq!(bench.run_until_sent(), 15_000, "it has run out, as if nobody had edited it");
    assert_eq!((bench.takes(), bench.writes_checkpoint()), (Some(Some(10)), Some(&saved("by hand"))));
}

#[test]
fn states_up_to_the_bound_can_be_saved_and_the_error_says_the_bound() {
    assert!(SavedState::new(vec![7; STATE_BYTES_MAX]).is_ok());
    let refused = SavedState::new(vec![7; STATE_BYTES_MAX + 1]);
    assert_eq!(refused, Err(TooLarge(65_537)));
    assert_eq!(TooLarge(65_537).to_string(), "it has 65537 bytes; at most 65536 can be saved");
}
