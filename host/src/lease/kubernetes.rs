//! A Lease of `coordination.k8s.io/v1`.
//!
//! Every write is a `create`, or an `update` that names the `resourceVersion` it was decided on
//! (invariant 9). What others wrote into the object (fields this version does not know as well)
//! is kept, which is why it is handled as JSON. Connections are HTTP/1.1: a request that is given
//! up closes its connection, so that the next one gets a fresh connection and cannot wait behind
//! a dead one.

use std::sync::{Mutex, PoisonError};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams, WatchParams},
    core::WatchEvent as KubeEvent,
};
use leasehold_core::{
    lease::{LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure, WatchUpdate},
    time::WallTime,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

use super::{TASK_ANNOTATION, TOKEN_ANNOTATION};

/// How long to wait before a broken watch is tried again.
const REWATCH_DELAY: Duration = Duration::from_secs(1);
/// The server is asked to end a watch after this long; it is taken up again where it was.
const WATCH_SECONDS: u32 = 290;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct KubernetesStore {
    api: Api<DynamicObject>,
    namespace: Arc<str>,
    name: Arc<str>,
    /// The newest object seen: what a write is made from.
    last: Arc<Mutex<Option<DynamicObject>>>,
}

impl KubernetesStore {
    /// The Lease `namespace/name`, which need not exist.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let lease = ApiResource::erase::<Lease>(&());
        Self {
            api: Api::namespaced_with(client, namespace, &lease),
            namespace: namespace.into(),
            name: name.into(),
            last: Arc::default(),
        }
    }

    fn error(&self, verb: &str, error: kube::Error) -> StoreError {
        let failure = match &error {
            kube::Error::Api(status) => match status.code {
                409 => StoreFailure::Conflict,
                404 => StoreFailure::Missing,
                401 | 403 => StoreFailure::Denied,
                // Too many requests, and what may work next time.
                429 | 500..=599 => StoreFailure::Unavailable,
                _ => StoreFailure::Rejected,
            },
            _ => StoreFailure::Unavailable,
        };
        self.failed(failure, verb, in_plain_words(&error))
    }

    fn failed(
        &self,
        failure: StoreFailure,
        verb: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        let step = format!("{verb} lease {}/{}", self.namespace, self.name);
        StoreError { failure, step, source: source.into() }
    }

    /// Parses an object and keeps it for the next write, if nothing newer is kept.
    fn seen(&self, verb: &str, object: DynamicObject) -> Result<(Version, LeaseRecord), StoreError> {
        let parsed = version(&object).and_then(|version| Ok((version, record(&object)?)));
        let (version, record) = parsed.map_err(|error| self.failed(StoreFailure::Rejected, verb, error))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = last.as_ref().and_then(|kept| self::version(kept).ok());
        // A read after a restore of the cluster may be older in number; a write then conflicts
        // and is decided anew on what the next read says.
        if kept.is_none_or(|kept| kept < version) || verb == "get" {
            *last = Some(object);
        }
        Ok((version, record))
    }

    /// The object that `based_on` names, with `record` written into it.
    fn replacement(&self, based_on: Version, record: &LeaseRecord) -> Option<DynamicObject> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut object = last.as_ref().filter(|object| version(object).ok() == Some(based_on))?.clone();
        write_into(&mut object, record);
        Some(object)
    }

    async fn changes(self, from: String) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        let only_this = format!("metadata.name={}", self.name);
        let params = WatchParams::default().fields(&only_this).timeout(WATCH_SECONDS);
        let events = self.api.watch(&params, &from).await.map_err(|error| self.error("watch", error))?;
        let changes = events.map(move |event| match event.map_err(|error| self.error("watch", error))? {
            KubeEvent::Added(object) | KubeEvent::Modified(object) => {
                let (version, record) = self.seen("watch", object)?;
                Ok(Change::Lease(Observation::Present { version, record }))
            }
            KubeEvent::Deleted(object) => {
                let version = version(&object).map_err(|error| self.failed(StoreFailure::Rejected, "watch", error))?;
                Ok(Change::Lease(Observation::Missing { deleted_at: Some(version) }))
            }
            KubeEvent::Bookmark(bookmark) => Ok(Change::Bookmark(bookmark.metadata.resource_version)),
            // "The watch is too old" comes like this; what helps is to list again.
            KubeEvent::Error(status) => Err(self.error("watch", kube::Error::Api(status))),
        });
        Ok(changes.boxed())
    }

    /// The Lease as it is, and the version of the list from which a watch goes on.
    async fn list(&self) -> Result<(Observation, String), StoreError> {
        let only_this = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let list = self.api.list(&only_this).await.map_err(|error| self.error("list", error))?;
        let from = list.metadata.resource_version.unwrap_or_default();
        let listed_at = parse_version(&from).map_err(|error| self.failed(StoreFailure::Rejected, "list", error))?;
        let observation = match list.items.into_iter().next() {
            Some(object) => {
                let (version, record) = self.seen("list", object)?;
                Observation::Present { version, record }
            }
            None => Observation::Missing { deleted_at: Some(listed_at) },
        };
        Ok((observation, from))
    }
}

enum Change {
    Lease(Observation),
    Bookmark(String),
}

/// Where a watch stands between two of its updates.
enum Watching {
    Listing,
    Opening(String),
    Open(String, BoxStream<'static, Result<Change, StoreError>>),
    Broken,
}

impl LeaseStore for KubernetesStore {
    async fn read(&self) -> Result<Observation, StoreError> {
        let found = self.api.get_opt(&self.name).await.map_err(|error| self.error("get", error))?;
        let Some(object) = found else { return Ok(Observation::Missing { deleted_at: None }) };
        let (version, record) = self.seen("get", object)?;
        Ok(Observation::Present { version, record })
    }

    async fn write(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, StoreError> {
        let params = PostParams { field_manager: Some("leasehold".into()), ..PostParams::default() };
        let (verb, written) = match based_on {
            Some(based_on) => {
                let Some(object) = self.replacement(based_on, record) else {
                    return Err(self.failed(StoreFailure::Conflict, "update", "it was changed in the meantime"));
                };
                ("update", self.api.replace(&self.name, &params, &object).await)
            }
            None => {
                let mut object = DynamicObject::new(&self.name, &ApiResource::erase::<Lease>(&()));
                write_into(&mut object, record);
                ("create", self.api.create(&params, &object).await)
            }
        };
        let object = written.map_err(|error| match (based_on, self.error(verb, error)) {
            // What is missing is the namespace, and no further try makes that.
            (None, error @ StoreError { failure: StoreFailure::Missing, .. }) => {
                StoreError { failure: StoreFailure::Rejected, ..error }
            }
            (_, error) => error,
        })?;
        Ok(self.seen(verb, object)?.0)
    }

    fn watch(&self) -> BoxStream<'static, WatchUpdate> {
        let updates = stream::unfold((self.clone(), Watching::Listing), |(store, mut watching)| async move {
            loop {
                let (update, next) = match watching {
                    Watching::Broken => {
                        tokio::time::sleep(REWATCH_DELAY).await;
                        (None, Watching::Listing)
                    }
                    Watching::Listing => match store.list().await {
                        Ok((observation, from)) => (Some(WatchUpdate::Seen(observation)), Watching::Opening(from)),
                        Err(error) => (Some(WatchUpdate::Broken(error)), Watching::Broken),
                    },
                    Watching::Opening(from) => match store.clone().changes(from.clone()).await {
                        Ok(changes) => (None, Watching::Open(from, changes)),
                        Err(error) => (Some(WatchUpdate::Broken(error)), Watching::Broken),
                    },
                    Watching::Open(from, mut changes) => match changes.try_next().await {
                        Ok(Some(Change::Lease(seen))) => {
                            let from = seen.version().map_or(from, |version| version.to_string());
                            (Some(WatchUpdate::Seen(seen)), Watching::Open(from, changes))
                        }
                        Ok(Some(Change::Bookmark(from))) => (None, Watching::Open(from, changes)),
                        // The server ended it, as it was asked to.
                        Ok(None) => (None, Watching::Opening(from)),
                        Err(error) => (Some(WatchUpdate::Broken(error)), Watching::Broken),
                    },
                };
                watching = next;
                if let Some(update) = update {
                    return Some((update, (store, watching)));
                }
            }
        });
        updates.boxed()
    }
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("resourceVersion {0:?} is not a number, and cannot be a fencing token")]
    Version(String),
    #[error("the spec does not parse")]
    Spec(#[source] serde_json::Error),
}

/// The server's own words; else the ends of the chain of causes, whose beginnings are layers of
/// the client's.
fn in_plain_words(error: &kube::Error) -> String {
    match error {
        // What kube makes of an answer that is no `Status`.
        kube::Error::Api(status) if status.reason == "Failed to parse error data" => {
            format!("what answers (HTTP {}) is not the API server of a Kubernetes cluster", status.code)
        }
        kube::Error::Api(status) => status.message.clone(),
        error => {
            let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
            let mut words: Vec<_> = causes.map(ToString::to_string).collect();
            words.drain(..words.len().saturating_sub(2));
            words.join(": ")
        }
    }
}

fn version(object: &DynamicObject) -> Result<Version, Malformed> {
    parse_version(&object.resource_version().unwrap_or_default())
}

fn parse_version(version: &str) -> Result<Version, Malformed> {
    version.parse().map(Version).map_err(|_| Malformed::Version(version.to_owned()))
}

fn record(object: &DynamicObject) -> Result<LeaseRecord, Malformed> {
    let spec = match object.data.get("spec") {
        Some(spec) => serde_json::from_value(spec.clone()).map_err(Malformed::Spec)?,
        None => LeaseSpec::default(),
    };
    let annotation = |name| object.annotations().get(name).cloned();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(LeaseRecord {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        acquired: spec.acquire_time.map(|time| WallTime::from_micros(time.0.as_microsecond())),
        renewed: spec.renew_time.map(|time| WallTime::from_micros(time.0.as_microsecond())),
        transitions: spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        task: annotation(TASK_ANNOTATION),
        token: annotation(TOKEN_ANNOTATION).and_then(|token| token.parse().ok()),
    })
}

/// Writes what `record` has into `object`, and leaves everything else as it is.
fn write_into(object: &mut DynamicObject, record: &LeaseRecord) {
    let time = |time: Option<WallTime>| time.map(micro_time);
    let LeaseRecord { holder, duration, acquired, renewed, transitions, task, token } = record;
    let ours = [
        // Absent would do as well, but electors older than 1.26 fail on it.
        ("holderIdentity", Some(json!(holder.as_deref().unwrap_or_default()))),
        ("leaseDurationSeconds", duration.map(|duration| json!(duration.as_secs()))),
        ("acquireTime", time(*acquired)),
        ("renewTime", time(*renewed)),
        // An int32 in the API.
        ("leaseTransitions", Some(json!((*transitions).min(i32::MAX.unsigned_abs())))),
    ];
    if !object.data.is_object() {
        object.data = json!({});
    }
    if !object.data["spec"].is_object() {
        object.data["spec"] = json!({});
    }
    for (field, value) in ours {
        // A field that is null in an update is absent afterwards.
        object.data["spec"][field] = value.unwrap_or(Value::Null);
    }
    let annotations = object.annotations_mut();
    for (name, value) in [(TASK_ANNOTATION, task.clone()), (TOKEN_ANNOTATION, token.map(|token| token.to_string()))] {
        match value {
            Some(value) => annotations.insert(name.to_owned(), value),
            None => annotations.remove(name),
        };
    }
}

/// As the API server wants a `MicroTime`: always six digits after the point.
fn micro_time(time: WallTime) -> Value {
    const MICROS: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    match Timestamp::from_microsecond(time.as_micros()) {
        Ok(timestamp) => json!(MICROS.timestamp_to_string(&timestamp)),
        // Year 10000 and later: a clock that wrong is not worth failing for.
        Err(_) => json!(MICROS.timestamp_to_string(&Timestamp::MAX)),
    }
}
