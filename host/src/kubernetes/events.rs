//! Kubernetes Events about a task, on its Lease: `kubectl describe lease`, `kubectl events --for
//! lease/NAME`.
//!
//! Written one after the other, each once, beside everything else: an Event that cannot be written
//! is told of in the log and delays nothing. (kube-runtime's `Recorder` would count a second Event
//! of the same reason up on the first, with the first one's note: another term's token.)

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::{Semaphore, mpsc};

use super::{
    access::{Access, Target},
    in_plain_words,
};
use crate::{
    log::{Subject, say},
    report::{Happening, HappeningKind},
};

/// What the API server takes.
const NOTE_BYTES_MAX: usize = 1024;
/// The same for who says so.
const INSTANCE_BYTES_MAX: usize = 128;
/// For one Event; an API server that takes longer has other worries.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// How many Events of all tasks together may be under way: what a Lease needs is to come first.
const AT_ONCE_MAX: usize = 4;

/// What the writers of a host share.
#[derive(Clone)]
pub struct EventRoom {
    client: Client,
    at_once: Arc<Semaphore>,
}

impl EventRoom {
    /// Nothing is under way.
    pub fn new(client: Client) -> Self {
        Self { client, at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

/// Whether Events may be written in `namespace`; if not, the log says which rule is missing.
///
/// # Errors
/// The cluster does not answer.
pub async fn allowed(access: &Access, namespace: &str) -> anyhow::Result<bool> {
    let target = Target { group: "events.k8s.io", resource: "events", namespace, name: None };
    let denied = access.denied(&target, &["create"]).await?;
    if !denied.is_empty() {
        let rule = target.rule(&denied);
        tracing::warn!(
            event = "events-off",
            namespace,
            "no Kubernetes Events are written; to have them, add to the Role: {rule}"
        );
    }
    Ok(denied.is_empty())
}

/// Where a task's Events go.
pub struct EventWriter {
    room: EventRoom,
    namespace: String,
    lease: String,
    uid: Box<dyn Fn() -> Option<String> + Send + Sync>,
    subject: Subject,
}

impl EventWriter {
    /// For the Lease `namespace/lease`. `uid` is what that was last seen with: another when it was made again.
    pub fn new(
        room: EventRoom,
        namespace: &str,
        lease: &str,
        uid: impl Fn() -> Option<String> + Send + Sync + 'static,
        subject: &Subject,
    ) -> Self {
        Self {
            room,
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            uid: Box::new(uid),
            subject: subject.clone(),
        }
    }

    /// Writes Events until nobody is left who could tell of anything.
    pub async fn write_all(self, mut happenings: mpsc::Receiver<Happening>) {
        while let Some(happening) = happenings.recv().await {
            let Ok(_permit) = self.room.at_once.acquire().await else { return };
            let written = tokio::time::timeout(WRITTEN_WITHIN, self.write(&happening)).await;
            let why = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => in_plain_words(&error),
                Err(_) => format!("no answer within {WRITTEN_WITHIN:?}"),
            };
            let kind = happening.kind;
            say!(warn, self.subject, "event-dropped"; "the Kubernetes Event {kind:?} could not be written: {why}");
        }
    }

    async fn write(&self, happening: &Happening) -> kube::Result<()> {
        // `kubectl describe` shows the Events of an object by its uid.
        let event = self.event(happening, (self.uid)(), Timestamp::now());
        Api::namespaced(self.room.client.clone(), &self.namespace).create(&PostParams::default(), &event).await?;
        Ok(())
    }

    fn event(&self, happening: &Happening, uid: Option<String>, now: Timestamp) -> Event {
        let (kind, action, reason) = match happening.kind {
            HappeningKind::StartedLeading => ("Normal", "Lead", "StartedLeading"),
            HappeningKind::Released => ("Normal", "Release", "StoppedLeading"),
            HappeningKind::Lost => ("Warning", "Stop", "StoppedLeading"),
            HappeningKind::ModuleSwapped => ("Normal", "Swap", "ModuleSwapped"),
            HappeningKind::ModuleWaits => ("Normal", "Swap", "ModuleWaiting"),
            HappeningKind::ModuleRejected => ("Warning", "Swap", "ModuleRejected"),
            HappeningKind::ModuleRolledBack => ("Warning", "Swap", "ModuleRolledBack"),
        };
        Event {
            metadata: ObjectMeta {
                // As client-go names them; the server generates no name that sorts by time.
                name: Some(format!("{}.{:x}", self.lease, now.as_nanosecond())),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(kind.to_owned()),
            action: Some(action.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(shortened(&happening.note, NOTE_BYTES_MAX).to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(Lease::api_version(&()).into_owned()),
                kind: Some(Lease::kind(&()).into_owned()),
                namespace: Some(self.namespace.clone()),
                name: Some(self.lease.clone()),
                uid,
                ..ObjectReference::default()
            }),
            reporting_controller: Some("leasehold.dev/host".to_owned()),
            reporting_instance: Some(shortened(&self.subject.identity, INSTANCE_BYTES_MAX).to_owned()),
            ..Event::default()
        }
    }
}

fn shortened(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_two_characters() {
        assert_eq!(shortened("short", NOTE_BYTES_MAX), "short");
        let long = format!("x{}", "ü".repeat(NOTE_BYTES_MAX));
        assert_eq!(shortened(&long, NOTE_BYTES_MAX).len(), NOTE_BYTES_MAX - 1);
    }
}
