//! Asks a cluster about a Lease: the Lease itself, which is needed, and what else may be read.

use std::time::Duration;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1beta1::LeaseCandidate,
    core::v1::{ContainerState, Event as CoreEvent, Node as CoreNode, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;

use super::facts::{Asked, Candidate, Event, Facts, HolderPod, Node, PodSeen, Write};
use crate::{
    commands::status::{cluster::seen, lease::SeenLease},
    kubernetes::{access::Target, cluster::first_contact, holder, in_plain_words},
    lease::{access, shared},
};

/// For each question beside that for the Lease.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// All that can be found out.
///
/// # Errors
/// The Lease may not be read, and by which rule it could be; or there is none, and nothing that tells of one.
pub(super) async fn gather(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Facts> {
    let leases = shared::leases(client.clone(), namespace);
    let object = first_contact(async {
        leases.get_opt(name).await.map_err(|error| {
            let words = anyhow!("{}", in_plain_words(&error));
            match &error {
                kube::Error::Api(status) if matches!(status.code, 401 | 403) => words.context(format!(
                    "may not read lease {namespace}/{name}: it needs a Role with {}",
                    access::target(namespace, name).rule(&["get"])
                )),
                _ => words.context(format!("cannot read lease {namespace}/{name}")),
            }
        })
    })
    .await?;
    let events = events(client, namespace, name).await;
    if object.is_none() && events.known().is_none_or(Vec::is_empty) {
        bail!("there is no lease {namespace}/{name}: `leasehold status -n {namespace}` shows those that there are");
    }
    let (created, writes) = object
        .as_ref()
        .map_or((None, Vec::new()), |object| (object.creation_timestamp().map(|time| time.0), writes(object)));
    let lease = object.map(seen);
    let pod = match lease.as_ref().and_then(pod_name) {
        Some((pod, identity)) => Some(holder_pod(client, namespace, pod, identity).await),
        None => None,
    };
    let is_coordinated = lease.as_ref().is_some_and(|lease| lease.record.coordination.is_some());
    let candidates = if is_coordinated { Some(candidates(client, namespace, name).await) } else { None };
    Ok(Facts {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        lease,
        created,
        writes: Asked::Known(writes),
        events,
        pod,
        candidates,
    })
}

/// What was answered; or that `what` is not known, with the rule that would allow to ask.
async fn ask<T>(what: &str, target: &Target<'_>, verb: &str, asked: impl Future<Output = kube::Result<T>>) -> Asked<T> {
    match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
        Ok(Ok(known)) => Asked::Known(known),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
            let kind = if target.namespace.is_empty() { "ClusterRole" } else { "Role" };
            Asked::NotKnown(format!("{what}: to read that takes a {kind} with {}", target.rule(&[verb])))
        }
        Ok(Err(error)) => Asked::NotKnown(format!("{what}: {}", in_plain_words(&error))),
        Err(_) => Asked::NotKnown(format!("{what}: the API server has not answered for {ANSWERED_WITHIN:?}")),
    }
}

async fn list<K>(api: Api<K>, params: ListParams) -> kube::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    Ok(api.list(&params).await?.items)
}

/// Its Events, of whoever wrote them. The API server keeps them for an hour where it is not told otherwise.
async fn events(client: &Client, namespace: &str, name: &str) -> Asked<Vec<Event>> {
    let target = Target { group: "", resource: "events", namespace, name: None };
    let params = ListParams::default().fields(&format!("involvedObject.kind=Lease,involvedObject.name={name}"));
    let asked = list(Api::<CoreEvent>::namespaced(client.clone(), namespace), params);
    match ask("what happened before, by its Events", &target, "list", asked).await {
        Asked::Known(events) => Asked::Known(events.into_iter().filter_map(event).collect()),
        Asked::NotKnown(why) => Asked::NotKnown(why),
    }
}

fn event(event: CoreEvent) -> Option<Event> {
    let last_of_series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let at = last_of_series
        .or(event.last_timestamp.as_ref().map(|time| time.0))
        .or(event.event_time.as_ref().map(|time| time.0))
        .or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let of_series = event.series.and_then(|series| series.count);
    let by = [event.reporting_component, event.source.and_then(|source| source.component)];
    Some(Event {
        at,
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        by: by.into_iter().flatten().find(|by| !by.is_empty()).unwrap_or_else(|| "an unknown reporter".to_owned()),
        count: of_series.or(event.count).and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
    })
}

fn writes(object: &DynamicObject) -> Vec<Write> {
    let write = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map_or_else(Vec::new, |fields| changed(&fields.0));
        let by = entry.manager.clone().unwrap_or_else(|| "somebody".to_owned());
        Some(Write { at: entry.time.as_ref()?.0, by, fields })
    };
    object.managed_fields().iter().filter_map(write).filter(|write| !write.fields.is_empty()).collect()
}

/// The names of the fields of the spec, of annotations and of labels.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
fn changed(fields: &serde_json::Value) -> Vec<String> {
    let metadata = &fields["f:metadata"];
    let names = |of: &serde_json::Value| {
        let names = of.as_object().into_iter().flat_map(|of| of.keys());
        names.filter_map(|name| name.strip_prefix("f:").map(str::to_owned)).collect::<Vec<_>>()
    };
    [names(&fields["f:spec"]), names(&metadata["f:annotations"]), names(&metadata["f:labels"])].concat()
}

/// The Pod that the holder's identity would name, and the identity: client-go's and ours begin with it.
fn pod_name(lease: &SeenLease) -> Option<(&str, &str)> {
    let identity = lease.record.holder.as_deref().filter(|_| !lease.kind.is_of_the_cluster())?;
    let name = identity.rsplit_once('_').map_or(identity, |(name, _nonce)| name);
    // Asking for what cannot be a name would not be about a Pod.
    name.parse::<crate::config::Name>().is_ok().then_some((name, identity))
}

async fn holder_pod(client: &Client, namespace: &str, pod: &str, identity: &str) -> HolderPod {
    let target = Target { group: "", resource: "pods", namespace, name: Some(pod) };
    let what = format!("whether the holder's Pod {namespace}/{pod} runs");
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let seen = match ask(&what, &target, "get", api.get_opt(pod)).await {
        Asked::NotKnown(why) => Asked::NotKnown(why),
        Asked::Known(None) => Asked::Known(None),
        Asked::Known(Some(found)) => Asked::Known(Some(pod_seen(client, &found, identity).await)),
    };
    HolderPod { name: pod.to_owned(), seen }
}

async fn pod_seen(client: &Client, pod: &Pod, identity: &str) -> PodSeen {
    let node = match pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
        Some(name) => {
            let is_ready = node_is_ready(client, &name).await;
            Some(Node { name, is_ready })
        }
        None => None,
    };
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    PodSeen {
        phase: status.phase.unwrap_or_else(|| "of unknown phase".to_owned()),
        is_deleted: pod.metadata.deletion_timestamp.is_some(),
        holder_has_ended: holder::has_ended(pod, identity),
        containers: containers
            .iter()
            .filter_map(|container| in_words(&container.name, container.state.as_ref()?))
            .collect(),
        node,
    }
}

fn in_words(container: &str, state: &ContainerState) -> Option<String> {
    if let Some(ended) = &state.terminated {
        let why = ended.reason.as_deref().unwrap_or("without a reason");
        return Some(format!("container {container} has ended ({why}, exit code {})", ended.exit_code));
    }
    let waits = state.waiting.as_ref()?;
    Some(format!("container {container} waits ({})", waits.reason.as_deref().unwrap_or("without a reason")))
}

async fn node_is_ready(client: &Client, name: &str) -> Asked<bool> {
    let target = Target { group: "", resource: "nodes", namespace: "", name: Some(name) };
    let asked = Api::<CoreNode>::all(client.clone());
    let what = format!("whether node {name} is ready");
    match ask(&what, &target, "get", asked.get_opt(name)).await {
        Asked::Known(None) => Asked::NotKnown(format!("{what}: there is no node of that name any more")),
        Asked::Known(Some(node)) => {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            Asked::Known(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
        }
        Asked::NotKnown(why) => Asked::NotKnown(why),
    }
}

async fn candidates(client: &Client, namespace: &str, lease: &str) -> Asked<Vec<Candidate>> {
    let target = Target { group: "coordination.k8s.io", resource: "leasecandidates", namespace, name: None };
    let asked = list(Api::<LeaseCandidate>::namespaced(client.clone(), namespace), ListParams::default());
    match ask("who stands for election", &target, "list", asked).await {
        Asked::Known(all) => {
            let of_lease = all.into_iter().filter(|candidate| candidate.spec.lease_name == lease);
            let candidate = |candidate: LeaseCandidate| Candidate {
                name: candidate.name_any(),
                emulation_version: candidate.spec.emulation_version,
                binary_version: candidate.spec.binary_version,
                renewed: candidate.spec.renew_time.map(|time| -> Timestamp { time.0 }),
            };
            Asked::Known(of_lease.map(candidate).collect())
        }
        Asked::NotKnown(why) => Asked::NotKnown(why),
    }
}
