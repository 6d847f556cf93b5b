//! Reads and writes by one replica at a time.

use std::time::Duration;

use leasehold_core::{
    lease::{LeaseModules, LeaseRecord, Observation},
    ports::{LeaseStore, StoreFailure},
    time::WallTime,
};
use serde_json::{Value, json};

use crate::place::{Place, Watched, create, failure, held_by, read_present, renewed, saving};

pub(crate) async fn a_lease_that_is_not_there_is_read_as_missing<P: Place>() {
    let store = P::fresh().await.store();
    let read = store.read().await.expect("that it is not there is no failure");
    assert!(matches!(read, Observation::Missing { .. }), "{read:?}");
}

pub(crate) async fn a_lease_that_was_made_is_read_as_it_was_written<P: Place>() {
    let place = P::fresh().await;
    let record = held_by("one");
    let version = create(&place.store(), &record).await;
    assert_eq!(read_present(&place.store()).await, (version, record));
}

pub(crate) async fn a_lease_is_not_made_twice<P: Place>() {
    let place = P::fresh().await;
    let (first, second) = (place.store(), place.store());
    let version = create(&first, &held_by("one")).await;
    assert_eq!(failure(second.write(None, &held_by("two")).await), StoreFailure::Conflict);
    assert_eq!(read_present(&second).await, (version, held_by("one")));
}

pub(crate) async fn an_update_of_the_right_version_replaces_the_record<P: Place>() {
    let place = P::fresh().await;
    let (one, two) = (place.store(), place.store());
    let made = create(&one, &held_by("one")).await;
    // On the answer to a write, and on what was read.
    let renewal = renewed(&held_by("one"), 1);
    let updated = one.write(Some(made), &renewal).await.expect("nobody else has written");
    assert_eq!(read_present(&two).await, (updated, renewal));
    let taken = LeaseRecord { transitions: 1, ..held_by("two") };
    let version = two.write(Some(updated), &taken).await.expect("nobody else has written");
    assert_eq!(read_present(&one).await, (version, taken));
}

pub(crate) async fn an_update_of_an_old_version_conflicts_and_writes_nothing<P: Place>() {
    let place = P::fresh().await;
    let (late, other) = (place.store(), place.store());
    let old = create(&late, &held_by("late")).await;
    read_present(&other).await;
    let current = other.write(Some(old), &held_by("other")).await.expect("nobody else has written");
    assert_eq!(failure(late.write(Some(old), &held_by("late")).await), StoreFailure::Conflict);
    assert_eq!(read_present(&late).await, (current, held_by("other")));
    // Nor does having read the new one make the old version right.
    assert_eq!(failure(late.write(Some(old), &held_by("late")).await), StoreFailure::Conflict);
    assert_eq!(read_present(&late).await, (current, held_by("other")));
}

/// kube-lease-manager and kube-leader-election write without naming a version (anchors.md).
pub(crate) async fn an_edit_between_read_and_write_conflicts_and_is_kept<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    create(&store, &held_by("one")).await;
    let (version, _) = read_present(&store).await;
    place.set("holderIdentity", json!("somebody-else")).await;
    assert_eq!(failure(store.write(Some(version), &renewed(&held_by("one"), 1)).await), StoreFailure::Conflict);
    let (after, record) = read_present(&store).await;
    assert!(after > version);
    assert_eq!(record, held_by("somebody-else"));
}

pub(crate) async fn a_deleted_lease_is_neither_updated_nor_made_again_by_an_update<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let version = create(&store, &held_by("one")).await;
    place.delete().await;
    let failure = failure(store.write(Some(version), &renewed(&held_by("one"), 1)).await);
    // Kubernetes says that the object of this UID is not the one there, be it another or none.
    assert!(matches!(failure, StoreFailure::Missing | StoreFailure::Conflict), "{failure:?}");
    let read = store.read().await.expect("that it is not there is no failure");
    assert!(matches!(read, Observation::Missing { .. }), "{read:?}");
    create(&store, &held_by("one")).await;
}

/// The fencing token is the version of the write that acquired: it may never come again.
pub(crate) async fn versions_grow_also_over_deletions<P: Place>() {
    let place = P::fresh().await;
    let mut last = None;
    for round in 0..4 {
        // Each life of the Lease belongs to a replica that knows nothing of the one before.
        let store = place.store();
        let mut version = create(&store, &held_by("one")).await;
        assert!(Some(version) > last, "made with {version} after {last:?}");
        for renewal in 1..=round {
            let next = store.write(Some(version), &renewed(&held_by("one"), renewal)).await;
            let next = next.expect("nobody else has written");
            assert!(next > version, "updated to {next} from {version}");
            version = next;
        }
        last = Some(version);
        place.delete().await;
    }
}

pub(crate) async fn every_field_is_read_as_it_was_written<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let full = LeaseRecord {
        holder: Some("pod-0_1a2b3c4d (two words, \"quoted\", ünïcode)".to_owned()),
        duration: Some(Duration::from_secs(2_147_483_647)),
        acquired: Some(WallTime::from_micros(1_790_000_000_999_999)),
        renewed: Some(WallTime::from_micros(1_790_000_001_000_000)),
        transitions: 2_147_483_647,
        task: Some("nightly.reports-2".to_owned()),
        token: Some(u64::MAX),
        step_down: Some("pod-1_1a2b3c4d".to_owned()),
        coordination: None,
        checkpoint: saving(&LeaseRecord::default(), *b"state").checkpoint,
        modules: Box::new(LeaseModules {
            module: Some(format!("sha256:{}", "1".repeat(64)).into()),
            waiting: Some(format!("sha256:{}", "4".repeat(64)).into()),
            good: Some(format!("sha256:{}", "2".repeat(64)).into()),
            refused: Some(format!("sha256:{}", "3".repeat(64)).into()),
        }),
    };
    let records = [
        LeaseRecord {
            acquired: Some(WallTime::from_micros(0)),
            renewed: Some(WallTime::from_micros(1)),
            ..full.clone()
        },
        LeaseRecord { acquired: Some(WallTime::from_micros(-1)), ..full.clone() },
        // The last microsecond of the year 9999.
        LeaseRecord { renewed: Some(WallTime::from_micros(253_402_207_199_999_999)), ..full.clone() },
        LeaseRecord { duration: Some(Duration::from_secs(1)), transitions: 0, token: Some(0), ..full.clone() },
        // Each that may be missing goes missing after it was there.
        LeaseRecord { holder: None, ..full.clone() },
        LeaseRecord { duration: None, ..full.clone() },
        LeaseRecord { acquired: None, ..full.clone() },
        LeaseRecord { renewed: None, ..full.clone() },
        LeaseRecord { task: None, ..full.clone() },
        LeaseRecord { token: None, ..full.clone() },
        LeaseRecord { step_down: None, ..full.clone() },
        LeaseRecord { checkpoint: None, ..full.clone() },
        LeaseRecord { modules: Box::default(), ..full.clone() },
        LeaseRecord { modules: Box::new(LeaseModules { waiting: None, ..*full.modules.clone() }), ..full.clone() },
        LeaseRecord { modules: Box::new(LeaseModules { refused: None, ..*full.modules.clone() }), ..full.clone() },
        LeaseRecord::default(),
        full.clone(),
    ];
    let mut version = create(&store, &full).await;
    assert_eq!(read_present(&store).await, (version, full));
    for record in records {
        version = store.write(Some(version), &record).await.expect("nobody else has written");
        assert_eq!(read_present(&place.store()).await, (version, record));
    }
}

pub(crate) async fn an_empty_or_absent_holder_is_free<P: Place>() {
    let place = P::fresh().await;
    create(&place.store(), &held_by("one")).await;
    for free in [json!(""), Value::Null] {
        place.set("holderIdentity", free).await;
        let (version, record) = read_present(&place.store()).await;
        assert_eq!(record.holder, None);
        // And whoever reads it so can take it.
        let store = place.store();
        read_present(&store).await;
        store.write(Some(version), &held_by("two")).await.expect("nobody else has written");
    }
}

pub(crate) async fn a_missing_duration_is_read_as_missing<P: Place>() {
    let place = P::fresh().await;
    create(&place.store(), &held_by("one")).await;
    place.set("leaseDurationSeconds", Value::Null).await;
    let (_, record) = read_present(&place.store()).await;
    assert_eq!(record, LeaseRecord { duration: None, ..held_by("one") });
}

pub(crate) async fn what_others_wrote_beside_the_record_is_kept<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    create(&store, &held_by("one")).await;
    place.write_beside().await;
    let before = place.beside().await;
    assert_ne!(before, Value::Null);
    let (mut version, record) = read_present(&store).await;
    assert_eq!(record, held_by("one"));
    let taken = LeaseRecord { token: Some(version.0), ..held_by("two") };
    for record in [renewed(&record, 1), taken, LeaseRecord { holder: None, ..held_by("two") }] {
        version = store.write(Some(version), &record).await.expect("nobody else has written");
        assert_eq!(place.beside().await, before);
    }
}

/// As `leasehold step-down` does it, which is no elector, beside a holder that renews.
pub(crate) async fn a_request_to_step_down_is_seen_by_the_holder_and_gone_when_it_is_cleared<P: Place>() {
    let place = P::fresh().await;
    let (holder, operator) = (place.store(), place.store());
    let made = create(&holder, &held_by("one")).await;
    let mut watched = Watched::begin(&holder);
    let (version, record) = read_present(&operator).await;
    let asking = LeaseRecord { step_down: Some("one".to_owned()), ..record };
    let asked = operator.write(Some(version), &asking).await.expect("nobody else has written");
    watched.until(|seen| seen.version() == Some(asked) && seen.record() == Some(&asking)).await;
    // The holder learns of it as of any write: what it decided on is out of date.
    let renewal = renewed(&held_by("one"), 1);
    assert_eq!(failure(holder.write(Some(made), &renewal).await), StoreFailure::Conflict);
    let (version, record) = read_present(&holder).await;
    assert!(record.is_as_old_as(&held_by("one")), "to ask is not to renew");
    let kept = holder.write(Some(version), &renewed(&record, 1)).await.expect("nobody else has written");
    assert_eq!(read_present(&operator).await.1.step_down.as_deref(), Some("one"));
    holder.write(Some(kept), &LeaseRecord { holder: None, ..held_by("one") }).await.expect("nobody else has written");
    let (_, record) = read_present(&operator).await;
    assert_eq!(record, LeaseRecord { holder: None, ..held_by("one") });
}
