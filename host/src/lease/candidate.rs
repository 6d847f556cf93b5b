//! A LeaseCandidate of `coordination.k8s.io/v1beta1`: this replica's part in a coordinated election.

use std::sync::{Arc, Mutex, PoisonError};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1beta1::{LeaseCandidate, LeaseCandidateSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use leasehold_core::{
    candidate::{CandidateRecord, CandidateRequest, CandidateSeen},
    lease::Version,
    ports::{StoreError, StoreFailure},
    time::WallTime,
};

use super::kubernetes::{failure_of, parse_version};
use crate::{
    config::CandidateVersions,
    kubernetes::{
        in_plain_words,
        watch::{Seen, WatchError, watch_one},
    },
};

/// By what rule the API server picks: of the oldest emulation version, then of the oldest binary version, then
/// the candidate that has stood for longest.
pub const STRATEGY: &str = "OldestEmulationVersion";

/// See the module's documentation.
#[derive(Clone)]
pub struct CandidateStore {
    api: Api<LeaseCandidate>,
    namespace: Arc<str>,
    /// The candidate's name, which is the identity that the API server writes into the Lease.
    name: Arc<str>,
    lease: Arc<str>,
    versions: CandidateVersions,
    /// The newest object seen: what a renewal is made from.
    last: Arc<Mutex<Option<LeaseCandidate>>>,
}

impl CandidateStore {
    /// The candidate `identity` for the Lease `namespace/lease`; nothing is made yet.
    pub fn new(client: Client, namespace: &str, lease: &str, identity: &str, versions: CandidateVersions) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.into(),
            name: identity.into(),
            lease: lease.into(),
            versions,
            last: Arc::default(),
        }
    }

    /// Does what was asked; the version that it made. (A deletion has none of its own: the last one known.)
    ///
    /// # Errors
    /// [`StoreFailure::Conflict`] where the version to be renewed is not the newest one any more, or the candidate
    /// to be made is there; [`StoreFailure::Missing`] where the one to be renewed or deleted is gone.
    ///
    /// # Cancel safety
    /// May be dropped at any time; it then has happened, will happen later, or never.
    pub async fn send(&self, request: CandidateRequest) -> Result<Version, StoreError> {
        let params = PostParams { field_manager: Some("leasehold".into()), ..PostParams::default() };
        match request {
            CandidateRequest::Create => {
                let made = self.api.create(&params, &self.candidate()).await;
                self.seen("create", made.map_err(|error| self.error("create", &error))?)
            }
            CandidateRequest::Renew { based_on, renewed } => {
                let Some(mut object) = self.last().filter(|object| version(object).ok() == Some(based_on)) else {
                    return Err(self.failed(StoreFailure::Conflict, "update", "it was changed in the meantime"));
                };
                if object.spec.renew_time.is_none() && self.has_a_twin(&object).await? {
                    self.api
                        .delete(&self.name, &DeleteParams::default())
                        .await
                        .map_err(|error| self.error("delete", &error))?;
                    let why = "another candidate was made in the same second; it is made anew";
                    return Err(self.failed(StoreFailure::Missing, "update", why));
                }
                object.spec.renew_time = Some(micro_time(renewed));
                let written = self.api.replace(&self.name, &params, &object).await;
                self.seen("update", written.map_err(|error| self.error("update", &error))?)
            }
            CandidateRequest::Delete => {
                let deleted = self.api.delete(&self.name, &DeleteParams::default()).await;
                deleted.map_err(|error| self.error("delete", &error))?;
                Ok(self.last().and_then(|object| version(&object).ok()).unwrap_or(Version(0)))
            }
        }
    }

    /// The candidate as it is, and as it becomes: each ping. After an error it goes on by itself; it never ends.
    pub fn watch(&self) -> BoxStream<'static, Result<CandidateSeen, StoreError>> {
        let store = self.clone();
        let seen = watch_one(self.api.clone(), self.name.to_string()).map(move |seen| match seen {
            Ok(Seen::Present(object)) => {
                let record = record(&object);
                let version = store.seen("watch", object)?;
                Ok(CandidateSeen::Present { version, record })
            }
            Ok(Seen::Missing(at)) => {
                let at = parse_version(&at).map_err(|error| store.failed(StoreFailure::Rejected, "watch", error))?;
                Ok(CandidateSeen::Missing { at })
            }
            Err(error @ WatchError::Silent(_)) => Err(store.failed(StoreFailure::Unavailable, "watch", error)),
            Err(WatchError::Failed { verb, error }) => Err(store.error(verb, &error)),
        });
        seen.boxed()
    }

    /// Whether another candidate for this Lease was made in the same second, and before. Between such two, versions
    /// being equal, Kubernetes 1.36 picks another one each time that it looks, and no leader would last.
    async fn has_a_twin(&self, own: &LeaseCandidate) -> Result<bool, StoreError> {
        let all = self.api.list(&ListParams::default()).await.map_err(|error| self.error("list", &error))?;
        let came_first = |other: &LeaseCandidate| {
            // One that stands did look around; of those who do not, nothing has been written yet but that they are.
            let earlier = version(other).ok() < version(own).ok();
            other.spec.renew_time.is_some() || earlier
        };
        Ok(all.items.iter().any(|other| {
            other.spec.lease_name == own.spec.lease_name
                && other.metadata.uid != own.metadata.uid
                && other.metadata.creation_timestamp == own.metadata.creation_timestamp
                && came_first(other)
        }))
    }

    fn candidate(&self) -> LeaseCandidate {
        let mut candidate = LeaseCandidate::default();
        candidate.metadata.name = Some(self.name.to_string());
        candidate.spec = LeaseCandidateSpec {
            lease_name: self.lease.to_string(),
            binary_version: self.versions.binary.to_string(),
            emulation_version: Some(self.versions.emulation.to_string()),
            strategy: STRATEGY.to_owned(),
            renew_time: None,
            ping_time: None,
        };
        candidate
    }

    fn last(&self) -> Option<LeaseCandidate> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an object for the next renewal, if nothing newer is kept.
    fn seen(&self, verb: &str, object: LeaseCandidate) -> Result<Version, StoreError> {
        let version = version(&object).map_err(|error| self.failed(StoreFailure::Rejected, verb, error))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().and_then(|kept| self::version(kept).ok()).is_none_or(|kept| kept < version) {
            *last = Some(object);
        }
        Ok(version)
    }

    fn error(&self, verb: &str, error: &kube::Error) -> StoreError {
        self.failed(failure_of(error), verb, in_plain_words(error))
    }

    fn failed(
        &self,
        failure: StoreFailure,
        verb: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        let step = format!("{verb} leasecandidate {}/{}", self.namespace, self.name);
        StoreError { failure, step, source: source.into() }
    }
}

fn version(object: &LeaseCandidate) -> Result<Version, super::kubernetes::Malformed> {
    parse_version(&object.resource_version().unwrap_or_default())
}

fn record(object: &LeaseCandidate) -> CandidateRecord {
    let micros = |time: &Option<MicroTime>| time.as_ref().map(|time| WallTime::from_micros(time.0.as_microsecond()));
    let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_microsecond());
    CandidateRecord {
        created: WallTime::from_micros(created),
        pinged: micros(&object.spec.ping_time),
        renewed: micros(&object.spec.renew_time),
    }
}

fn micro_time(time: WallTime) -> MicroTime {
    // Year 10000 and later: a clock that wrong is not worth failing for.
    MicroTime(Timestamp::from_microsecond(time.as_micros()).unwrap_or(Timestamp::MAX))
}
