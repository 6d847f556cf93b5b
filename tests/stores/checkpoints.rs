//! What a leader leaves on the Lease for the next one.

use leasehold_core::{
    checkpoint::{Checkpoint, STATE_BYTES_MAX},
    lease::{LeaseRecord, Observation},
    ports::{LeaseStore, StoreFailure},
};

use crate::place::{Place, Watched, create, failure, held_by, read_present, renewed, saving};

pub(crate) async fn a_checkpoint_is_read_by_the_next_holder_as_it_was_saved<P: Place>() {
    let place = P::fresh().await;
    let (holder, next) = (place.store(), place.store());
    let mut version = create(&holder, &held_by("one")).await;
    let mut watched = Watched::begin(&next);
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(STATE_BYTES_MAX).collect();
    let states = [vec![], vec![0], b"text".to_vec(), every_byte[..255].to_vec(), every_byte];
    for (renewal, state) in (1..).zip(states) {
        let saved = saving(&renewed(&held_by("one"), renewal), state);
        version = holder.write(Some(version), &saved).await.expect("nobody else has written");
        let seen = watched.until(|seen| seen.version() == Some(version)).await;
        assert_eq!(seen, Observation::Present { version, record: saved.clone() });
        assert_eq!(read_present(&next).await, (version, saved));
    }
}

/// Whoever does not lead any more cannot save.
pub(crate) async fn a_save_on_an_old_version_conflicts_and_leaves_what_is_there<P: Place>() {
    let place = P::fresh().await;
    let (late, next) = (place.store(), place.store());
    let old = create(&late, &saving(&held_by("late"), *b"before")).await;
    let (version, kept) = read_present(&next).await;
    let taken = LeaseRecord { checkpoint: kept.checkpoint, ..held_by("next") };
    let version = next.write(Some(version), &taken).await.expect("nobody else has written");
    let save = saving(&renewed(&held_by("late"), 1), *b"too late");
    assert_eq!(failure(late.write(Some(old), &save).await), StoreFailure::Conflict);
    assert_eq!(read_present(&late).await, (version, saving(&held_by("next"), *b"before")));
}

pub(crate) async fn renewals_releases_and_takeovers_keep_the_checkpoint<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let mut version = create(&store, &saving(&held_by("one"), *b"state")).await;
    for holder in [Some("one"), None, Some("two")] {
        let (_, read) = read_present(&store).await;
        let next = LeaseRecord { holder: holder.map(str::to_owned), ..renewed(&read, version.0 as u32) };
        version = store.write(Some(version), &next).await.expect("nobody else has written");
        assert_eq!(read_present(&place.store()).await.1.checkpoint, saving(&next, *b"state").checkpoint);
    }
}

pub(crate) async fn text_that_nobody_saved_is_told_as_such_and_kept_as_it_is<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let mut version = create(&store, &saving(&held_by("one"), *b"state")).await;
    for text in ["not base64!", "aGVsbG8=\n", &"A".repeat(STATE_BYTES_MAX * 2)] {
        place.set_checkpoint(Some(text)).await;
        let (edited, record) = read_present(&store).await;
        assert_eq!(record.checkpoint, Some(Checkpoint::Unreadable(text.into())));
        assert!(record.is_as_old_as(&held_by("one")), "to edit is not to renew");
        version = store.write(Some(edited), &renewed(&record, 1)).await.expect("nobody else has written");
        assert_eq!(read_present(&place.store()).await.1.checkpoint, record.checkpoint);
        // As another elector would: what it has read is what was there before.
        version = store.write(Some(version), &record).await.expect("nobody else has written");
    }
    let saved = saving(&renewed(&held_by("one"), 2), *b"state");
    version = store.write(Some(version), &saved).await.expect("nobody else has written");
    assert_eq!(read_present(&place.store()).await, (version, saved));
    // What a person can write by hand, with `base64 --wrap 0`.
    place.set_checkpoint(Some("YnkgaGFuZA==")).await;
    assert_eq!(read_present(&store).await.1.checkpoint, saving(&held_by("one"), *b"by hand").checkpoint);
}

pub(crate) async fn a_checkpoint_goes_with_its_lease_and_can_be_removed_by_itself<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    create(&store, &saving(&held_by("one"), *b"state")).await;
    place.set_checkpoint(None).await;
    assert_eq!(read_present(&store).await.1, held_by("one"));
    place.delete().await;
    create(&place.store(), &saving(&held_by("one"), *b"state")).await;
    place.delete().await;
    create(&place.store(), &held_by("two")).await;
    assert_eq!(read_present(&store).await.1, held_by("two"));
}
