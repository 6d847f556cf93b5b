//! What a watch tells.

use leasehold_core::{
    lease::{LeaseRecord, Observation},
    ports::LeaseStore,
};
use serde_json::json;

use crate::place::{Place, Watched, create, held_by, renewed};

fn is_missing(seen: &Observation) -> bool {
    matches!(seen, Observation::Missing { .. })
}

pub(crate) async fn a_watch_first_tells_what_is_there<P: Place>() {
    let place = P::fresh().await;
    let version = create(&place.store(), &held_by("one")).await;
    let seen = Watched::begin(&place.store()).seen().await;
    assert_eq!(seen, Observation::Present { version, record: held_by("one") });
}

pub(crate) async fn a_watch_first_tells_that_nothing_is_there<P: Place>() {
    let place = P::fresh().await;
    let mut watched = Watched::begin(&place.store());
    let nothing = watched.seen().await;
    assert!(is_missing(&nothing), "{nothing:?}");
    // Should this be told late, it must not look newer than what was made meanwhile.
    let version = create(&place.store(), &held_by("one")).await;
    assert!(nothing.version() < Some(version), "{nothing:?}, and then {version}");
    let seen = watched.until(|seen| !is_missing(seen)).await;
    assert_eq!(seen, Observation::Present { version, record: held_by("one") });
}

pub(crate) async fn a_watch_tells_each_write_with_the_version_that_was_returned<P: Place>() {
    let place = P::fresh().await;
    let (leader, standby) = (place.store(), place.store());
    let (mut own, mut other) = (Watched::begin(&leader), Watched::begin(&standby));
    let mut version = create(&leader, &held_by("one")).await;
    for count in 1..=10 {
        let record = renewed(&held_by("one"), count);
        version = leader.write(Some(version), &record).await.expect("nobody else has written");
        for watched in [&mut own, &mut other] {
            let seen = watched.until(|seen| seen.version() >= Some(version)).await;
            assert_eq!(seen, Observation::Present { version, record: record.clone() });
        }
    }
}

pub(crate) async fn a_watch_tells_the_last_of_many_writes_and_never_goes_back<P: Place>() {
    const WRITES: u32 = 100;
    let place = P::fresh().await;
    let store = place.store();
    let mut watched = Watched::begin(&place.store());
    let writing = async {
        let mut version = create(&store, &held_by("one")).await;
        for count in 1..=WRITES {
            let record = renewed(&held_by("one"), count);
            version = store.write(Some(version), &record).await.expect("nobody else has written");
        }
        version
    };
    let watching = async {
        let last = renewed(&held_by("one"), WRITES);
        let mut newest = None;
        loop {
            let seen = watched.seen().await;
            assert!(seen.version() >= newest, "{seen:?} after {newest:?}");
            newest = seen.version();
            if seen.record() == Some(&last) {
                return newest;
            }
        }
    };
    let (version, newest) = tokio::join!(writing, watching);
    assert_eq!(newest, Some(version));
}

pub(crate) async fn a_watch_tells_what_somebody_else_wrote<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let mut watched = Watched::begin(&store);
    let version = create(&store, &held_by("one")).await;
    place.set("holderIdentity", json!("")).await;
    let cleared = watched.until(|seen| seen.record().is_some_and(|record| record.holder.is_none())).await;
    assert!(cleared.version() > Some(version));
    assert_eq!(cleared.record(), Some(&LeaseRecord { holder: None, ..held_by("one") }));
    place.set("holderIdentity", json!("somebody-else")).await;
    let taken = watched.until(|seen| seen.holder() == Some("somebody-else")).await;
    assert!(taken.version() > cleared.version());
}

/// The election takes nothing for news that is not newer than what it knows, and knows the record.
pub(crate) async fn a_watch_tells_a_deletion_as_newer_than_the_record_and_older_than_the_next<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let mut watched = Watched::begin(&place.store());
    for count in 0..20 {
        let mut version = create(&store, &held_by("one")).await;
        if count % 2 == 1 {
            let renewal = renewed(&held_by("one"), count);
            version = store.write(Some(version), &renewal).await.expect("nobody else has written");
        }
        watched.until(|seen| seen.version() == Some(version)).await;
        place.delete().await;
        let deleted = watched.until(is_missing).await.version().expect("a watch tells a deletion's version");
        assert!(deleted > version, "deleted at {deleted}, but the record has version {version}");
        let again = create(&store, &held_by("two")).await;
        assert!(again > deleted, "made with {again} after it was deleted at {deleted}");
        watched.until(|seen| seen.version() == Some(again)).await;
        place.delete().await;
        watched.until(is_missing).await;
    }
}
