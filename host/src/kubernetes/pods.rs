//! The Pods of a namespace that this host follows: those of leaders, by name, and its own.
//!
//! All tasks of a host share them, one watch a Pod: there are as many as there are hosts that lead, however
//! many tasks there are, and however many Pods that have nothing to do with them.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::{
    access::{Access, Target},
    shared::OneEach,
};

/// See the module's documentation.
pub type Pods = OneEach<Pod>;

/// The Pods of `namespace`; `None` without the right to follow them.
///
/// # Errors
/// The cluster does not answer.
pub async fn of_namespace(access: &Access, namespace: &str) -> anyhow::Result<Option<Pods>> {
    let denied = access.denied(&target(namespace), &VERBS).await?;
    Ok(denied.is_empty().then(|| OneEach::new(Api::namespaced(access.client().clone(), namespace))))
}

/// The same, for the leaders of Leases there: without that right, the log says what is missing.
///
/// # Errors
/// The cluster does not answer.
pub async fn of_leaders(access: &Access, namespace: &str) -> anyhow::Result<Option<Pods>> {
    let target = target(namespace);
    let denied = access.denied(&target, &VERBS).await?;
    if !denied.is_empty() {
        tracing::warn!(
            event = "early-takeover-off",
            namespace,
            "the lease of a leader that has crashed is waited out; to take it over as soon as its container is known \
             to have ended, add to the Role: {}",
            target.rule(&denied)
        );
    }
    of_namespace(access, namespace).await
}

/// What it takes to follow one.
const VERBS: [&str; 2] = ["list", "watch"];

fn target(namespace: &str) -> Target<'_> {
    Target { group: "", resource: "pods", namespace, name: None }
}
