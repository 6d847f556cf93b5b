//! A Lease of `coordination.k8s.io/v1`.
//!
//! Every write is a `create`, or an `update` that names the `resourceVersion` it was decided on
//! (invariant 9). What others wrote into the object (fields this version does not know as well)
//! is kept, which is why it is handled as JSON.

use std::sync::{Mutex, PoisonError};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
};
use leasehold_core::{
    lease::{Coordination, LeaseModules, LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure, WatchUpdate},
    time::WallTime,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

use super::{
    CHECKPOINT_ANNOTATION, GOOD_MODULE_ANNOTATION, MODULE_ANNOTATION, REFUSED_MODULE_ANNOTATION, STEP_DOWN_ANNOTATION,
    TASK_ANNOTATION, TOKEN_ANNOTATION, WAITING_MODULE_ANNOTATION, checkpoint, modules,
    room::Room,
    shared::{self, SharedWatch},
};
use crate::kubernetes::{
    in_plain_words,
    watch::{Seen, WatchError, watch_one},
};

/// See the module's documentation.
#[derive(Clone)]
pub struct KubernetesStore {
    api: Api<DynamicObject>,
    namespace: Arc<str>,
    name: Arc<str>,
    /// The newest object seen: what a write is made from.
    last: Arc<Mutex<Option<DynamicObject>>>,
    room: Room,
    watch: Option<SharedWatch>,
    /// As whom it writes: who changed what can be told apart afterwards.
    manager: &'static str,
}

impl KubernetesStore {
    /// The Lease `namespace/name`, which need not exist.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: shared::leases(client, namespace),
            namespace: namespace.into(),
            name: name.into(),
            last: Arc::default(),
            room: Room::default(),
            watch: None,
            manager: "leasehold",
        }
    }

    /// The same, with its writes under this field manager's name.
    #[must_use]
    pub fn written_by(self, manager: &'static str) -> Self {
        Self { manager, ..self }
    }

    /// The same, with room and, where there is one, a watch that it shares with others of its namespace.
    #[must_use]
    pub fn sharing(self, room: Room, watch: Option<SharedWatch>) -> Self {
        Self { room, watch, ..self }
    }

    /// The Lease as it is: as the watch tells that it shares, where there is one, and otherwise read.
    ///
    /// # Errors
    /// As [`LeaseStore::read`].
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn first_look(&self) -> Result<Observation, StoreError> {
        match self.watch.is_some().then(|| LeaseStore::watch(self)) {
            Some(mut watch) => match watch.next().await {
                Some(WatchUpdate::Seen(seen)) => Ok(seen),
                Some(WatchUpdate::Broken(error)) => Err(error),
                None => self.read().await,
            },
            None => self.read().await,
        }
    }

    /// What the Lease was last seen with, which is another when it was made again.
    pub fn uid(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(ResourceExt::uid)
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

    fn watched(&self, seen: Seen<DynamicObject>) -> Result<Observation, StoreError> {
        match seen {
            Seen::Present(object) => {
                let (version, record) = self.seen("watch", object)?;
                Ok(Observation::Present { version, record })
            }
            Seen::Missing(at) => {
                let version =
                    parse_version(&at).map_err(|error| self.failed(StoreFailure::Rejected, "watch", error))?;
                Ok(Observation::Missing { deleted_at: Some(version) })
            }
        }
    }
}

impl LeaseStore for KubernetesStore {
    async fn read(&self) -> Result<Observation, StoreError> {
        let _lane = self.room.enter().await;
        let found = self.api.get_opt(&self.name).await.map_err(|error| self.error("get", &error))?;
        let Some(object) = found else { return Ok(Observation::Missing { deleted_at: None }) };
        let (version, record) = self.seen("get", object)?;
        Ok(Observation::Present { version, record })
    }

    async fn write(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, StoreError> {
        let params = PostParams { field_manager: Some(self.manager.into()), ..PostParams::default() };
        let _lane = self.room.enter().await;
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
        let object = written.map_err(|error| match (based_on, self.error(verb, &error)) {
            // What is missing is the namespace, and no further try makes that.
            (None, error @ StoreError { failure: StoreFailure::Missing, .. }) => {
                StoreError { failure: StoreFailure::Rejected, ..error }
            }
            (_, error) => error,
        })?;
        Ok(self.seen(verb, object)?.0)
    }

    fn watch(&self) -> BoxStream<'static, WatchUpdate> {
        let store = self.clone();
        let shared = self.watch.as_ref().and_then(|watch| watch.follow(&self.name));
        let seen =
            shared.unwrap_or_else(|| watch_one(self.api.clone(), self.name.to_string()).map_err(Arc::new).boxed());
        seen.map(move |seen| match seen {
            Ok(seen) => store.watched(seen).map_or_else(WatchUpdate::Broken, WatchUpdate::Seen),
            Err(error) => WatchUpdate::Broken(match &*error {
                WatchError::Silent(_) => store.failed(StoreFailure::Unavailable, "watch", error),
                WatchError::Failed { verb, error } => store.error(verb, error),
            }),
        })
        .boxed()
    }
}

/// As far as a decision depends on it.
pub(super) fn failure_of(error: &kube::Error) -> StoreFailure {
    let kube::Error::Api(status) = error else { return StoreFailure::Unavailable };
    match status.code {
        409 => StoreFailure::Conflict,
        404 => StoreFailure::Missing,
        401 | 403 => StoreFailure::Denied,
        // Too many requests, and what may work next time.
        429 | 500..=599 => StoreFailure::Unavailable,
        _ => StoreFailure::Rejected,
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("resourceVersion {0:?} is not a number, and cannot be a fencing token")]
    Version(String),
    #[error("the spec does not parse")]
    Spec(#[source] serde_json::Error),
}

fn version(object: &DynamicObject) -> Result<Version, Malformed> {
    parse_version(&object.resource_version().unwrap_or_default())
}

pub(super) fn parse_version(version: &str) -> Result<Version, Malformed> {
    version.parse().map(Version).map_err(|_| Malformed::Version(version.to_owned()))
}

/// What a Lease says.
pub(crate) fn record(object: &DynamicObject) -> Result<LeaseRecord, Malformed> {
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
        step_down: annotation(STEP_DOWN_ANNOTATION),
        coordination: spec.strategy.filter(|strategy| !strategy.is_empty()).map(|strategy| {
            let preferred_holder = spec.preferred_holder.filter(|preferred| !preferred.is_empty());
            Box::new(Coordination { strategy, preferred_holder })
        }),
        checkpoint: object.annotations().get(CHECKPOINT_ANNOTATION).map(|text| checkpoint::read(text)),
        modules: Box::new(LeaseModules {
            module: modules::read(annotation(MODULE_ANNOTATION).as_deref()),
            waiting: modules::read(annotation(WAITING_MODULE_ANNOTATION).as_deref()),
            good: modules::read(annotation(GOOD_MODULE_ANNOTATION).as_deref()),
            refused: modules::read(annotation(REFUSED_MODULE_ANNOTATION).as_deref()),
        }),
    })
}

/// Writes what `record` has into `object`, and leaves everything else as it is.
fn write_into(object: &mut DynamicObject, record: &LeaseRecord) {
    let time = |time: Option<WallTime>| time.map(micro_time);
    // What the API server's controller alone writes stays as it is.
    let LeaseRecord {
        holder,
        duration,
        acquired,
        renewed,
        transitions,
        task,
        token,
        step_down,
        checkpoint,
        modules,
        coordination: _,
    } = record;
    let ours = [
        // Where it is absent, some electors never take the Lease: tests/peers/README.md.
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
    let ours = [
        (TASK_ANNOTATION, task.clone()),
        (TOKEN_ANNOTATION, token.map(|token| token.to_string())),
        (STEP_DOWN_ANNOTATION, step_down.clone()),
        (CHECKPOINT_ANNOTATION, checkpoint.as_ref().map(checkpoint::text)),
        (MODULE_ANNOTATION, modules::text(modules.module.as_ref())),
        (WAITING_MODULE_ANNOTATION, modules::text(modules.waiting.as_ref())),
        (GOOD_MODULE_ANNOTATION, modules::text(modules.good.as_ref())),
        (REFUSED_MODULE_ANNOTATION, modules::text(modules.refused.as_ref())),
    ];
    for (name, value) in ours {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The API server drops some of these where their feature is off, so that it cannot be asked.
    #[test]
    fn fields_of_the_spec_that_this_version_does_not_know_are_kept() {
        let mut object = DynamicObject::new("name", &ApiResource::erase::<Lease>(&()));
        object.data = json!({"spec": {
            "holderIdentity": "other",
            "strategy": "OldestEmulationVersion",
            "preferredHolder": "somebody",
            "ofTheFuture": {"a": [1]},
        }});
        write_into(&mut object, &LeaseRecord { holder: Some("us".into()), ..LeaseRecord::default() });
        let spec = &object.data["spec"];
        assert_eq!(spec["holderIdentity"], "us");
        let kept = json!([spec["strategy"], spec["preferredHolder"], spec["ofTheFuture"]]);
        assert_eq!(kept, json!(["OldestEmulationVersion", "somebody", {"a": [1]}]));
    }
}
