//! The Pod that this host runs in: its deletion is heard of here before the kubelet says so.
//!
//! A Pod that is deleted gets a `deletionTimestamp`, which nobody can take back; its kubelet sees that
//! some time later, and sends SIGTERM. A host that follows its own Pod hands over meanwhile.

use futures_core::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};

use super::{
    access::Target,
    watch::{Seen, watch_one},
};

/// Comes when the Pod of this name, in the namespace that the host is in, is to end. Without the right to
/// follow Pods it never does. (The log has said so then: [`super::holder`].)
///
/// # Errors
/// The cluster does not answer.
pub async fn deletion(client: &Client, name: &str) -> anyhow::Result<BoxFuture<'static, ()>> {
    let namespace = client.default_namespace().to_owned();
    let target = Target { group: "", resource: "pods", namespace: &namespace, name: None };
    if !target.denied(client, &["list", "watch"]).await?.is_empty() {
        return Ok(std::future::pending().boxed());
    }
    let mut pod = watch_one::<Pod>(Api::namespaced(client.clone(), &namespace), name.to_owned());
    let deleted = async move {
        // The first one that is seen is this one: a later one of the same name (a StatefulSet's) has another uid.
        let mut own = None;
        while let Some(seen) = pod.next().await {
            match seen {
                Ok(Seen::Present(pod)) if *own.get_or_insert_with(|| pod.uid()) == pod.uid() => {
                    if pod.metadata.deletion_timestamp.is_some() {
                        return;
                    }
                }
                // It is gone, and another has its name: whatever this process still is, it is no Pod of the cluster's.
                Ok(Seen::Present(_)) => return,
                // Not there may mean that this is no Pod at all, but has the name of one.
                Ok(Seen::Missing(_)) => {}
                Err(error) => tracing::debug!(event = "pod-watch-broken", "{error}"),
            }
        }
    };
    Ok(deleted.boxed())
}
