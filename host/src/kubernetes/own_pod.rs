//! The Pod that this host runs in: its deletion is heard of here before the kubelet says so.
//!
//! A Pod that is deleted gets a `deletionTimestamp`, which nobody can take back; its kubelet sees that
//! some time later, and sends SIGTERM. A host that follows its own Pod hands over meanwhile.

use futures_core::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use kube::ResourceExt;

use super::{pods::Pods, watch::Seen};

/// Comes when the Pod of this name is to end; `pods` are those of the namespace that the host is in. Without
/// the right to follow them it never does.
pub fn deletion(pods: Option<&Pods>, name: &str) -> BoxFuture<'static, ()> {
    let Some(pods) = pods else { return std::future::pending().boxed() };
    let mut pod = pods.follow(name);
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
        // What drives it has failed: the kubelet's SIGTERM will tell.
        std::future::pending().await
    };
    deleted.boxed()
}
