//! Every version of a Lease, as the API server tells it to a watch.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt,
    api::{WatchEvent, WatchParams},
};

/// One version. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    /// `None` is free.
    pub(crate) holder: Option<String>,
    pub(crate) duration: Option<Duration>,
    pub(crate) transitions: Option<i32>,
    /// As the writer stamped them, before it sent its write.
    pub(crate) acquired: Option<i64>,
    pub(crate) renewed: Option<i64>,
}

impl Version {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            number: lease.resource_version().and_then(|version| version.parse().ok()).expect("versions are numbers"),
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            duration: spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            transitions: spec.lease_transitions,
            acquired: spec.acquire_time.map(|time| time.0.as_microsecond()),
            renewed: spec.renew_time.map(|time| time.0.as_microsecond()),
        }
    }
}

/// Leasehold adds a nonce to its name.
pub(crate) fn is_of(identity: &str, name: &str) -> bool {
    identity.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Grows until it is dropped.
pub(crate) struct History {
    versions: Arc<Mutex<Vec<Version>>>,
    watching: tokio::task::JoinHandle<()>,
}

impl History {
    /// From this version of the Lease on.
    pub(crate) fn from(first: &Lease, leases: Api<Lease>, runtime: &tokio::runtime::Runtime) -> Self {
        let versions = Arc::new(Mutex::new(vec![Version::of(first)]));
        let watching = runtime.spawn(watch(leases, first.name_any(), versions.clone()));
        Self { versions, watching }
    }

    /// What is known so far.
    ///
    /// # Panics
    /// The watch has ended, and so the history has.
    pub(crate) fn versions(&self) -> Vec<Version> {
        assert!(!self.watching.is_finished(), "the Lease is not watched any more; why is said above");
        lock(&self.versions).clone()
    }

    /// Who holds the Lease now, if anybody.
    pub(crate) fn holder(&self) -> Option<String> {
        self.versions().last().and_then(|version| version.holder.clone())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn lock(versions: &Mutex<Vec<Version>>) -> MutexGuard<'_, Vec<Version>> {
    versions.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(leases: Api<Lease>, name: String, versions: Arc<Mutex<Vec<Version>>>) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(290);
    loop {
        let last = lock(&versions).last().map(|version| version.number).expect("it begins with one");
        let mut events = leases.watch(&params, &last.to_string()).await.expect("a watch").boxed();
        // It ends by itself after the time it asked for, and goes on where it was.
        while let Some(event) = events.next().await {
            match event.expect("a watch that goes on") {
                WatchEvent::Modified(lease) => lock(&versions).push(Version::of(&lease)),
                WatchEvent::Bookmark(_) => {}
                other => panic!("nobody deletes the Lease, and nothing else happens to it: {other:?}"),
            }
        }
    }
}
