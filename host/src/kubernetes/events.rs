//! Kubernetes Events about a task, on its Lease: `kubectl describe lease`, `kubectl events --for
//! lease/NAME`.
//!
//! Written one after the other, each once, beside everything else: an Event that cannot be written
//! is told of in the log and delays nothing. (kube-runtime's `Recorder` would count a second Event
//! of the same reason up on the first, with the first one's note: another term's token.)

use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::mpsc;

use super::{access::Target, in_plain_words};
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

/// Where a task's Events go.
pub struct EventWriter {
    client: Client,
    namespace: String,
    lease: String,
    subject: Subject,
}

impl EventWriter {
    /// For the Lease `namespace/lease`; `None`, and a log line with the rule that is missing, where
    /// Events may not be written.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn new(client: Client, namespace: &str, lease: &str, subject: &Subject) -> anyhow::Result<Option<Self>> {
        let target = Target { group: "events.k8s.io", resource: "events", namespace, name: None };
        if !target.denied(&client, &["create"]).await?.is_empty() {
            let rule = target.rule(&["create"]);
            say!(warn, subject, "events-off"; "no Kubernetes Events are written; to have them, add to the Role: {rule}");
            return Ok(None);
        }
        Ok(Some(Self { client, namespace: namespace.to_owned(), lease: lease.to_owned(), subject: subject.clone() }))
    }

    /// Writes Events until nobody is left who could tell of anything.
    pub async fn write_all(self, mut happenings: mpsc::Receiver<Happening>) {
        while let Some(happening) = happenings.recv().await {
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
        // `kubectl describe` shows the Events of an object by its uid, which is another one when it was made again.
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let uid = leases.get_metadata_opt(&self.lease).await?.and_then(|lease| lease.uid());
        let event = self.event(happening, uid, Timestamp::now());
        Api::namespaced(self.client.clone(), &self.namespace).create(&PostParams::default(), &event).await?;
        Ok(())
    }

    fn event(&self, happening: &Happening, uid: Option<String>, now: Timestamp) -> Event {
        let (kind, action, reason) = match happening.kind {
            HappeningKind::StartedLeading => ("Normal", "Lead", "StartedLeading"),
            HappeningKind::Released => ("Normal", "Release", "StoppedLeading"),
            HappeningKind::Lost => ("Warning", "Stop", "StoppedLeading"),
            HappeningKind::ModuleSwapped => ("Normal", "Swap", "ModuleSwapped"),
            HappeningKind::ModuleRejected => ("Warning", "Swap", "ModuleRejected"),
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
