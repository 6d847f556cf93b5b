//! What a person sees of a task without its log: Events on its Lease, and metrics.

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Event, Pod},
};
use kube::{ResourceExt, api::ListParams};
use leasehold_tests::cluster::wait_for;

use crate::{manifests::ADMIN_PORT, story::Story};

/// Waits for an Event on the Lease, as `kubectl describe` finds it, whose message has all these words.
pub(crate) fn wait_for_event(story: &Story<'_>, lease: &str, reason: &str, kind: &str, words: &[&str]) {
    wait_for(&format!("a {kind} Event {reason} with {words:?}"), || {
        let uid = story.namespace.get::<Lease>(lease)?.uid().unwrap_or_default();
        let about = format!("involvedObject.kind=Lease,involvedObject.name={lease},involvedObject.uid={uid}");
        let events = story.namespace.api::<Event>();
        let events = story.cluster.block_on(events.list(&ListParams::default().fields(&about)))?.items;
        let is = |event: &Event| {
            let message = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some(reason)
                && event.type_.as_deref() == Some(kind)
                && words.iter().all(|words| message.contains(words))
        };
        Ok(events.iter().any(is).then_some(()))
    });
}

/// Waits for this line in the Pod's metrics, as Prometheus would scrape them.
pub(crate) fn wait_for_metric(story: &Story<'_>, pod: &Pod, line: &str) {
    let (namespace, pod) = (story.namespace.name(), pod.name_any());
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN_PORT}/proxy/metrics");
    wait_for(&format!("{line} in the metrics of {pod}"), || {
        let request = http::Request::get(&path).body(Vec::new())?;
        let metrics = story.cluster.block_on(story.cluster.client().request_text(request))?;
        anyhow::ensure!(metrics.lines().any(|found| found == line), "{metrics}");
        Ok(Some(()))
    });
}
