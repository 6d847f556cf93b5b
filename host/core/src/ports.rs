//! What the core asks of the outside. The adapters in `leasehold` implement these.

use std::{error::Error, future::Future};

use futures_core::stream::BoxStream;

use crate::lease::{LeaseRecord, Observation, Version};

/// Where one Lease is kept, for everybody to see.
///
/// The conformance suite in `tests/stores` says what an implementation has to do.
pub trait LeaseStore: Send + Sync + 'static {
    /// Reads the Lease: at least as new as every write that was answered before this was called.
    ///
    /// # Errors
    /// [`StoreError`] with any failure but [`StoreFailure::Conflict`] and [`StoreFailure::Missing`];
    /// a Lease that is not there is an [`Observation::Missing`].
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    fn read(&self) -> impl Future<Output = Result<Observation, StoreError>> + Send;

    /// Replaces the Lease if its version still is `based_on`, or makes it, with `None`, if there is none.
    /// What others wrote beside the record (fields, labels, annotations) is kept. A write that changes
    /// nothing may return `based_on` (Kubernetes does that); electors always change `renewed`.
    ///
    /// # Errors
    /// [`StoreFailure::Conflict`] where the version is another or the Lease to be made is there
    /// already, [`StoreFailure::Missing`] where the Lease to be replaced is gone (or `Conflict`, where a
    /// store cannot tell the two apart); nothing is written then.
    ///
    /// # Cancel safety
    /// May be dropped at any time; the write then has happened, will happen later, or never.
    fn write(
        &self,
        based_on: Option<Version>,
        record: &LeaseRecord,
    ) -> impl Future<Output = Result<Version, StoreError>> + Send;

    /// Tells of the Lease as it is now, and of every change from then on, or at least of the last
    /// of several that follow each other closely. Never ends by itself: where it breaks it says so
    /// and tries again.
    fn watch(&self) -> BoxStream<'static, WatchUpdate>;
}

/// What [`LeaseStore::watch`] yields.
#[derive(Debug)]
pub enum WatchUpdate {
    /// The Lease now is like this.
    Seen(Observation),
    /// Changes are not told until the next [`WatchUpdate::Seen`].
    Broken(StoreError),
}

/// [`WatchUpdate`] as far as the election is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The Lease now is like this.
    Seen(Observation),
    /// Changes are not told until the next [`WatchEvent::Seen`].
    Broken,
}

/// How a request failed, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// The Lease has another version than the write was based on. Nothing was written.
    Conflict,
    /// The Lease to be replaced is not there. Nothing was written.
    Missing,
    /// Not allowed (RBAC, file permissions). Nothing was written.
    Denied,
    /// The store understood and refused, or answered what makes no sense. Nothing was written.
    Rejected,
    /// No answer: it is not known whether anything was written.
    Unavailable,
}

/// A failed request, for the election ([`StoreError::failure`]) and for a person (`Display`).
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct StoreError {
    /// What a decision depends on.
    pub failure: StoreFailure,
    /// What was being done, as an infinitive: `update lease default/nightly`.
    pub step: String,
    /// What went wrong.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}
