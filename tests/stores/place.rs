//! What the cases need of a store under test.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::StreamExt;
use leasehold_core::{
    checkpoint::{Checkpoint, SavedState},
    lease::{LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure, WatchUpdate},
    time::WallTime,
};
use leasehold_tests::host_process::PATIENCE;
use serde_json::Value;

/// Where one Lease is, which nobody else uses, and what somebody who is no elector may do to it.
pub(crate) trait Place: Send + Sync + 'static {
    type Store: LeaseStore;

    fn fresh() -> impl Future<Output = Self> + Send;

    /// A replica's own store: it shares nothing with another but the Lease.
    fn store(&self) -> Self::Store;

    fn delete(&self) -> impl Future<Output = ()> + Send;

    /// Sets a field, under its name in `coordination.k8s.io/v1`; null removes it.
    fn set(&self, field: &str, value: Value) -> impl Future<Output = ()> + Send;

    /// Sets the text that stands as the checkpoint; none removes it.
    fn set_checkpoint(&self, text: Option<&str>) -> impl Future<Output = ()> + Send;

    /// Adds what is none of an elector's business.
    fn write_beside(&self) -> impl Future<Output = ()> + Send;

    /// What is there and is none of an elector's business.
    fn beside(&self) -> impl Future<Output = Value> + Send;
}

/// A record as `holder`'s first write has it.
pub(crate) fn held_by(holder: &str) -> LeaseRecord {
    LeaseRecord {
        holder: Some(holder.to_owned()),
        duration: Some(Duration::from_secs(15)),
        acquired: Some(WallTime::from_micros(1_790_000_000_000_001)),
        renewed: Some(WallTime::from_micros(1_790_000_000_000_001)),
        transitions: 0,
        task: Some("nightly".to_owned()),
        token: None,
        step_down: None,
        checkpoint: None,
        modules: Box::default(),
        coordination: None,
    }
}

/// `record`, with these bytes saved.
pub(crate) fn saving(record: &LeaseRecord, state: impl Into<Arc<[u8]>>) -> LeaseRecord {
    let state = SavedState::new(state).expect("it is not too large");
    LeaseRecord { checkpoint: Some(Checkpoint::Saved(state)), ..record.clone() }
}

/// `record`, renewed for the `count`th time.
pub(crate) fn renewed(record: &LeaseRecord, count: u32) -> LeaseRecord {
    let acquired = record.acquired.expect("it was acquired").as_micros();
    LeaseRecord { renewed: Some(WallTime::from_micros(acquired + i64::from(count))), ..record.clone() }
}

/// Reads a Lease that is there.
pub(crate) async fn read_present(store: &impl LeaseStore) -> (Version, LeaseRecord) {
    match store.read().await.expect("the lease can be read") {
        Observation::Present { version, record } => (version, record),
        missing @ Observation::Missing { .. } => panic!("the lease is there, but was read as {missing:?}"),
    }
}

/// Makes the Lease.
pub(crate) async fn create(store: &impl LeaseStore, record: &LeaseRecord) -> Version {
    store.write(None, record).await.expect("the lease can be made")
}

pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreFailure {
    result.expect_err("it does not succeed").failure
}

/// An error with its causes, as it is logged.
pub(crate) fn words(error: StoreError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// A watch that is read with patience.
pub(crate) struct Watched(futures_util::stream::BoxStream<'static, WatchUpdate>);

impl Watched {
    pub(crate) fn begin(store: &impl LeaseStore) -> Self {
        Self(store.watch())
    }

    pub(crate) async fn next(&mut self) -> WatchUpdate {
        let update = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("the watch tells something in time");
        update.expect("a watch never ends")
    }

    /// The next thing told, which is no trouble.
    pub(crate) async fn seen(&mut self) -> Observation {
        match self.next().await {
            WatchUpdate::Seen(seen) => seen,
            WatchUpdate::Broken(error) => panic!("the watch broke: {}", words(error)),
        }
    }

    /// Waits for what `is` takes. A watch may repeat itself, and may leave out what did not last.
    pub(crate) async fn until(&mut self, is: impl Fn(&Observation) -> bool) -> Observation {
        loop {
            let seen = self.seen().await;
            if is(&seen) {
                return seen;
            }
        }
    }

    /// Waits until it says that it tells nothing for now.
    pub(crate) async fn until_broken(&mut self) -> StoreError {
        loop {
            if let WatchUpdate::Broken(error) = self.next().await {
                return error;
            }
        }
    }

    /// Waits, through trouble, for what `is` takes.
    pub(crate) async fn until_again(&mut self, is: impl Fn(&Observation) -> bool) -> Observation {
        loop {
            match self.next().await {
                WatchUpdate::Seen(seen) if is(&seen) => return seen,
                WatchUpdate::Seen(_) | WatchUpdate::Broken(_) => {}
            }
        }
    }
}
