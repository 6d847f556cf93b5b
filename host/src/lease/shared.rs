//! What the Leases of one namespace share in a host with many tasks: one watch, where that is allowed.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};

use super::access;
use crate::kubernetes::{
    access::{Access, Target},
    shared::OneForAll,
};

/// From this many tasks in a namespace on, they share a watch of all its Leases. With fewer, it might tell of
/// more that does not concern them than it saves.
const SHARED_FROM: usize = 10;

/// All Leases of a namespace that this host competes for, in one watch.
pub type SharedWatch = Arc<OneForAll<DynamicObject>>;

/// One watch for the Leases of these names, or `None` where each has one of its own: where they are few, or where
/// the Role names each of them. The log says which it is, where they are many.
///
/// # Errors
/// The cluster does not answer.
pub async fn watch(access: &Access, namespace: &str, names: &[&str]) -> anyhow::Result<Option<SharedWatch>> {
    if names.len() < SHARED_FROM {
        return Ok(None);
    }
    let count = names.len();
    let all = Target { name: None, ..access::target(namespace, "") };
    let denied = access.denied(&all, &["list", "watch"]).await?;
    if denied.is_empty() {
        tracing::info!(event = "leases-watched", namespace, "one watch tells of the leases of {count} tasks");
        return Ok(Some(OneForAll::begin(
            leases(access.client().clone(), namespace),
            names.iter().map(|&name| name.to_owned()),
        )));
    }
    tracing::info!(
        event = "leases-watched",
        namespace,
        "{count} watches, one for the lease of each task; for a single one, add to the Role, without `resourceNames`: {}",
        all.rule(&denied)
    );
    Ok(None)
}

/// The Leases of a namespace, as the store reads and writes them.
pub(crate) fn leases(client: Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<Lease>(&()))
}
