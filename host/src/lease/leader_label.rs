//! The leader's label on Pods: what the core asks of the API server about it
//! ([`leasehold_core::label`] says why, and when).

use std::{collections::BTreeMap, sync::Arc};

use anyhow::bail;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::ObjectMeta,
};
use leasehold_core::{
    label::{LabelReply, LabelRequest, Labelled, Mark, OwnPod, PodId},
    lease::Version,
    ports::{StoreError, StoreFailure},
};
use serde_json::{Value, json};

use super::{
    kubernetes::{failure_of, parse_version},
    own_writes::OwnWrites,
};
use crate::{
    config::{ConfigError, LeaderLabel, PodEnv},
    kubernetes::{
        access::{Access, Target},
        in_plain_words,
        watch::{Told, WatchError, watch_labelled},
    },
};

/// What it takes.
const VERBS: [&str; 4] = ["get", "list", "watch", "patch"];

/// See the module's documentation.
#[derive(Clone)]
pub struct PodLabels {
    api: Api<Pod>,
    namespace: String,
    own: PodId,
    own_writes: Arc<OwnWrites>,
    label: LeaderLabel,
}

impl PodLabels {
    /// For this host's own Pod, in which all its tasks share `own_writes`. Without the rights to do it there is none, and
    /// the log says which are missing.
    ///
    /// # Errors
    /// The cluster does not answer; or a [`ConfigError`]: the Pod is another one, or carries the label already, and
    /// not because it has led.
    pub async fn open(
        access: &Access,
        pod: &PodEnv,
        own_writes: &Arc<OwnWrites>,
        task: &str,
        label: &LeaderLabel,
    ) -> anyhow::Result<Option<Self>> {
        let namespace = pod.namespace_or(access.client().default_namespace());
        let target = Target { group: "", resource: "pods", namespace, name: None };
        let denied = access.denied(&target, &VERBS).await?;
        if !denied.is_empty() {
            tracing::warn!(
                event = "leader-label-off",
                task,
                "the Pod of the replica that leads does not get the label {label}: add to the Role: {}",
                target.rule(&denied)
            );
            return Ok(None);
        }
        let api: Api<Pod> = Api::namespaced(access.client().clone(), namespace);
        let name = &pod.name;
        let found = match api.get_metadata_opt(name).await {
            Ok(found) => found,
            Err(error) => bail!("cannot read Pod {namespace}/{name}: {}", in_plain_words(&error)),
        };
        let mistake = |text: String| Err(ConfigError(format!("the label {label}: {text}")).into());
        let Some(found) = found else {
            return mistake(format!("there is no Pod {namespace}/{name}, which $POD_NAME says this host runs in"));
        };
        let uid = found.metadata.uid.clone().unwrap_or_default();
        if let Some(other) = pod.uid.as_ref().filter(|expected| **expected != uid) {
            return mistake(format!("Pod {namespace}/{name} is {uid}, and not {other}, as $POD_UID says"));
        }
        let labels = Self {
            api,
            namespace: namespace.to_owned(),
            own: PodId { name: name.clone(), uid },
            own_writes: own_writes.clone(),
            label: label.clone(),
        };
        if found.labels().contains_key(&label.key) && labels.mark(&found.metadata).is_none() {
            return mistake(format!(
                "Pod {namespace}/{name} carries {} without having led: leave it out of the Pod's template, or name \
                 another; the label is Leasehold's to give and to take",
                label.key
            ));
        }
        Ok(Some(labels))
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// [`StoreFailure::Conflict`] where the Pod has another version than was decided on; [`StoreFailure::Missing`] where it
    /// is gone, or another has its name.
    ///
    /// # Cancel safety
    /// May be dropped at any time; it then has happened, will happen later, or never.
    pub async fn send(&self, request: LabelRequest) -> Result<LabelReply, StoreError> {
        let (key, value) = (&self.label.key, json!(self.label.value));
        match request {
            LabelRequest::Look => {
                let found = self.api.get_metadata(&self.own.name).await;
                let found = found.map_err(|error| self.error("get", &self.own, &error))?.metadata;
                match found.uid.as_ref() == Some(&self.own.uid) {
                    true => self.seen(&found).map(LabelReply::Looked),
                    false => Err(self.failed(StoreFailure::Missing, "get", &self.own, "another Pod has its name")),
                }
            }
            LabelRequest::PutOn { based_on, mark } => {
                let change = json!({"labels": {key: value}, "annotations": {key: written(mark)}});
                self.patch_own(based_on, change).await
            }
            LabelRequest::TakeOff { based_on, mark } => {
                let mut change = json!({"labels": {key: null}});
                if let Some(mark) = mark {
                    change["annotations"] = json!({key: written(mark)});
                }
                self.patch_own(based_on, change).await
            }
            LabelRequest::TakeOffOther { pod, based_on } => {
                self.patch(&pod, based_on, json!({"labels": {key: null}})).await.map(LabelReply::Written)
            }
        }
    }

    /// Who carries the label, and each time that changes. After an error it goes on by itself; it never ends.
    pub fn watch(&self) -> BoxStream<'static, Result<Labelled, StoreError>> {
        let (labels, mut carry) = (self.clone(), BTreeMap::new());
        let told = watch_labelled(self.api.clone(), self.label.to_string());
        told.map(move |told| {
            match told {
                Ok(Told::Listed(pods, _)) => {
                    carry = pods.into_iter().map(|pod| (pod.name_any(), pod.metadata)).collect();
                }
                Ok(Told::Changed(pod)) => drop(carry.insert(pod.name_any(), pod.metadata)),
                Ok(Told::Deleted(pod)) => drop(carry.remove(&pod.name_any())),
                Err(WatchError::Failed { verb, error }) => {
                    return Err(labels.watch_failed(failure_of(&error), verb, in_plain_words(&error)));
                }
                Err(silent @ WatchError::Silent(_)) => {
                    return Err(labels.watch_failed(StoreFailure::Unavailable, "watch", silent));
                }
            }
            labels.labelled(&carry)
        })
        .boxed()
    }

    fn labelled(&self, carry: &BTreeMap<String, ObjectMeta>) -> Result<Labelled, StoreError> {
        let mut labelled = Labelled::default();
        for (name, pod) in carry {
            let seen = self.seen(pod)?;
            let id = PodId { name: name.clone(), uid: pod.uid.clone().unwrap_or_default() };
            if id == self.own {
                labelled.own = Some(seen);
            } else {
                labelled.others.insert(id, seen.version);
            }
        }
        Ok(labelled)
    }

    async fn patch_own(&self, based_on: Version, change: Value) -> Result<LabelReply, StoreError> {
        let written = self.own_writes.write(based_on, |based_on| self.patch(&self.own, based_on, change)).await;
        written.map(LabelReply::Written)
    }

    async fn patch(&self, pod: &PodId, based_on: Version, mut change: Value) -> Result<Version, StoreError> {
        change["uid"] = json!(pod.uid);
        change["resourceVersion"] = json!(based_on.0.to_string());
        let params = PatchParams { field_manager: Some("leasehold".into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": change}));
        let written = self.api.patch_metadata(&pod.name, &params, &patch).await;
        let written = written.map_err(|error| self.error("patch", pod, &error))?.metadata;
        self.version(pod, &written)
    }

    fn seen(&self, pod: &ObjectMeta) -> Result<OwnPod, StoreError> {
        let labels = pod.labels.as_ref();
        Ok(OwnPod {
            version: self.version(&self.own, pod)?,
            labelled: labels.and_then(|labels| labels.get(&self.label.key)) == Some(&self.label.value),
            mark: self.mark(pod),
        })
    }

    fn mark(&self, pod: &ObjectMeta) -> Option<Mark> {
        read(pod.annotations.as_ref()?.get(&self.label.key)?)
    }

    fn version(&self, pod: &PodId, metadata: &ObjectMeta) -> Result<Version, StoreError> {
        parse_version(metadata.resource_version.as_deref().unwrap_or_default())
            .map_err(|error| self.failed(StoreFailure::Rejected, "read", pod, error))
    }

    fn error(&self, verb: &str, pod: &PodId, error: &kube::Error) -> StoreError {
        self.failed(failure_of(error), verb, pod, in_plain_words(error))
    }

    fn failed(
        &self,
        failure: StoreFailure,
        verb: &str,
        pod: &PodId,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError { failure, step: format!("{verb} pod {}/{}", self.namespace, pod.name), source: source.into() }
    }

    fn watch_failed(
        &self,
        failure: StoreFailure,
        verb: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        let step = format!("{verb} the pods of {} with the label {}", self.namespace, self.label);
        StoreError { failure, step, source: source.into() }
    }
}

/// `TOKEN`, and `TOKEN-ATTEMPT` from the second request of a term on.
fn written(Mark { token, attempt }: Mark) -> String {
    if attempt == 1 { token.to_string() } else { format!("{token}-{attempt}") }
}

/// What [`written`] has made; `None` for anything else.
fn read(text: &str) -> Option<Mark> {
    let (token, attempt) = text.split_once('-').unwrap_or((text, "1"));
    Some(Mark { token: token.parse().ok()?, attempt: attempt.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_what_is_none_is_not() {
        for mark in [Mark { token: 456, attempt: 1 }, Mark { token: u64::MAX, attempt: 7 }] {
            assert_eq!(read(&written(mark)), Some(mark));
        }
        assert_eq!(written(Mark { token: 456, attempt: 1 }), "456");
        for text in ["", "true", "-1", "456-", "456-x"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
