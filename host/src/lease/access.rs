//! What the election needs of a cluster, checked before it competes.

use anyhow::{Context, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use leasehold_core::{lease::Observation, ports::StoreFailure};

use super::kubernetes::KubernetesStore;
use crate::kubernetes::{
    access::{Access, Target},
    in_plain_words,
};

/// The Lease, as a Role names it.
pub fn target<'a>(namespace: &'a str, lease: &'a str) -> Target<'a> {
    Target { group: "coordination.k8s.io", resource: "leases", namespace, name: Some(lease) }
}

/// Checks that the cluster answers and that the Lease may be read, watched and written; and made, where it is
/// missing, unless the API server does that (`coordinated`).
///
/// # Errors
/// Names what is not reached, or the rule that is missing.
pub async fn check(
    access: &Access,
    store: &KubernetesStore,
    namespace: &str,
    lease: &str,
    coordinated: bool,
) -> anyhow::Result<()> {
    let target = target(namespace, lease);
    let present = match store.first_look().await {
        Ok(Observation::Present { .. }) => true,
        Ok(Observation::Missing { .. }) => false,
        Err(error) if error.failure == StoreFailure::Denied => {
            let rule = target.rule(&["get", "list", "watch", "update"]);
            return Err(error).with_context(|| format!("not allowed to read the lease; it needs a Role with {rule}"));
        }
        Err(error) => return Err(error).context("cannot reach the cluster"),
    };
    let missing = access.denied(&target, &["get", "list", "watch", "update"]).await?;
    if !present && !coordinated {
        try_to_create(access.client(), &target, namespace, lease).await?;
    }
    if !missing.is_empty() {
        bail!("may not {} lease {namespace}/{lease}: add to the Role: {}", missing.join(", "), target.rule(&missing));
    }
    Ok(())
}

/// A trial that makes nothing. Whether the Lease may be made is not only a question of rights: the
/// namespace may be missing.
async fn try_to_create(client: &Client, target: &Target<'_>, namespace: &str, lease: &str) -> anyhow::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut trial = Lease::default();
    trial.metadata.name = Some(lease.to_owned());
    let status = match Api::<Lease>::namespaced(client.clone(), namespace).create(&params, &trial).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) => status,
        Err(error) => bail!("cannot ask the cluster whether the lease may be created: {}", in_plain_words(&error)),
    };
    match status.code {
        // Somebody else just did.
        409 => Ok(()),
        // A Role cannot allow `create` for one name only.
        403 => bail!(
            "lease {namespace}/{lease} does not exist, and may not be created ({}): make it beforehand (`kubectl create \
             -f` of a Lease without a holder is enough), or add to the Role: {}",
            status.message,
            target.rule(&["create"])
        ),
        404 => bail!("namespace {namespace} does not exist: create it, or give another with --namespace"),
        _ => bail!("lease {namespace}/{lease} does not exist, and cannot be created: {}", status.message),
    }
}
