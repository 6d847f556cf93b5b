//! Several replicas at once, and requests that are given up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold_core::{
    lease::Version,
    ports::{LeaseStore, StoreFailure},
};
use leasehold_tests::host_process::PATIENCE;

use crate::place::{Place, Watched, create, held_by, read_present, renewed};

const ROUNDS: u32 = 60;

/// Both write at once. Returns the winner's version; exactly one is told that it has won.
///
/// Each writes what is not there yet, as every elector does: Kubernetes answers an update that
/// changes nothing with the version that it was based on.
async fn race<S: LeaseStore>(stores: &[Arc<S>; 2], based_on: Option<Version>, round: u32) -> Version {
    let record = move |holder| renewed(&held_by(holder), round);
    let [one, two] = [("one", &stores[0]), ("two", &stores[1])].map(|(holder, store)| {
        let store = store.clone();
        tokio::spawn(async move { store.write(based_on, &record(holder)).await })
    });
    let (version, winner, loser, mut error) = match (one.await.expect("no panic"), two.await.expect("no panic")) {
        (Ok(version), Err(error)) => (version, "one", ("two", &stores[1]), error),
        (Err(error), Ok(version)) => (version, "two", ("one", &stores[0]), error),
        neither => panic!("one wins and the other does not, but: {neither:?}"),
    };
    // The winner may have kept it waiting for too long: it has lost all the same.
    let begun = Instant::now();
    while error.failure == StoreFailure::Unavailable && begun.elapsed() < PATIENCE {
        error = loser.1.write(based_on, &record(loser.0)).await.expect_err("the other has won");
    }
    assert_eq!(error.failure, StoreFailure::Conflict, "{error:?}");
    for store in stores {
        assert_eq!(read_present(&**store).await, (version, record(winner)));
    }
    version
}

pub(crate) async fn of_two_updates_of_one_version_exactly_one_wins<P: Place>() {
    let place = P::fresh().await;
    let stores = [Arc::new(place.store()), Arc::new(place.store())];
    let mut version = create(&*stores[0], &held_by("one")).await;
    read_present(&*stores[1]).await;
    for round in 1..=ROUNDS {
        let next = race(&stores, Some(version), round).await;
        assert!(next > version);
        version = next;
    }
}

pub(crate) async fn of_two_creations_exactly_one_wins<P: Place>() {
    let place = P::fresh().await;
    let stores = [Arc::new(place.store()), Arc::new(place.store())];
    let mut last = None;
    for round in 1..=ROUNDS {
        let version = race(&stores, None, round).await;
        assert!(Some(version) > last, "made with {version} after {last:?}");
        last = Some(version);
        place.delete().await;
    }
}

/// "It then has happened, will happen later, or never": what is read afterwards is one of the two
/// records as a whole, and the next who writes on it succeeds.
pub(crate) async fn a_write_may_be_dropped_at_any_time<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    create(&store, &held_by("one")).await;
    for round in 0..ROUNDS {
        let (version, before) = read_present(&store).await;
        let dropped = renewed(&held_by("dropped"), round);
        // From not even begun to most probably over.
        let patience = Duration::from_micros(u64::from(round) * 200);
        // Whether it was over in time makes no difference here.
        let _ = tokio::time::timeout(patience, store.write(Some(version), &dropped)).await;
        let (mut version, after) = read_present(&store).await;
        assert!(after == before || after == dropped, "{after:?} is neither {before:?} nor {dropped:?}");
        // The dropped write may arrive yet, once, and may be in the way until then.
        let (begun, mut conflicts) = (Instant::now(), 0);
        while let Err(error) = store.write(Some(version), &renewed(&held_by("one"), round)).await {
            conflicts += u32::from(error.failure == StoreFailure::Conflict);
            let is_expected = matches!(error.failure, StoreFailure::Conflict | StoreFailure::Unavailable);
            assert!(is_expected && conflicts < 3 && begun.elapsed() < PATIENCE, "{error:?}");
            version = read_present(&store).await.0;
        }
    }
    let (version, record) = read_present(&place.store()).await;
    let other = place.store();
    assert_eq!((version, record.clone()), read_present(&other).await);
    other.write(Some(version), &record).await.expect("nothing is left behind, no lock either");
}

pub(crate) async fn a_watch_may_be_dropped_at_any_time<P: Place>() {
    let place = P::fresh().await;
    let store = place.store();
    let mut version = create(&store, &held_by("one")).await;
    for round in 0..20 {
        let mut short = Watched::begin(&store);
        // Whether it told something in time makes no difference here.
        let _ = tokio::time::timeout(Duration::from_micros(round * 300), short.next()).await;
    }
    let mut watched = Watched::begin(&store);
    version = store.write(Some(version), &held_by("two")).await.expect("nobody else has written");
    watched.until(|seen| seen.version() == Some(version)).await;
}
