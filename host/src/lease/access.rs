//! Reaching the cluster, and what this host may do there: found out once, before it competes, so
//! that a mistake is a clear message at the start and not a silent standby.

use std::error::Error;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config, api::PostParams};
use leasehold_core::{
    lease::Observation,
    ports::{LeaseStore, StoreFailure},
};

use super::kubernetes::KubernetesStore;

/// A client for the cluster this runs in, else for the one the kubeconfig points at.
///
/// # Errors
/// There is neither.
pub async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.map_err(|error| {
        // Of the two ways, the kubeconfig is the one that a person can have meant.
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        anyhow!(
            "found no cluster: this is not a Pod with a service account, and no kubeconfig works ({why}). Set \
             KUBECONFIG, or try it without a cluster: --lease-store file:/tmp/leases"
        )
    })?;
    // The election itself decides when a request is tried again.
    config.default_retry = false;
    tracing::info!(event = "cluster", "using the cluster at {}", config.cluster_url);
    Client::try_from(config).context("the cluster's configuration does not make a client")
}

/// Checks that the cluster answers and that the Lease may be read, watched and written.
///
/// # Errors
/// Names what is not reached, or the rule that is missing.
pub async fn check(client: &Client, store: &KubernetesStore, namespace: &str, lease: &str) -> anyhow::Result<()> {
    let present = match store.read().await {
        Ok(Observation::Present { .. }) => true,
        Ok(Observation::Missing { .. }) => false,
        Err(error) if error.failure == StoreFailure::Denied => {
            let rule = rule(&["get", "list", "watch", "update"]);
            return Err(error).with_context(|| format!("not allowed to read the lease; it needs a Role with {rule}"));
        }
        Err(error) => return Err(error).context("cannot reach the cluster"),
    };
    let mut missing = Vec::new();
    for verb in ["list", "watch", "update"] {
        if !allowed(client, namespace, lease, verb).await? {
            missing.push(verb);
        }
    }
    if !present {
        try_to_create(client, namespace, lease).await?;
    }
    if !missing.is_empty() {
        bail!("may not {} lease {namespace}/{lease}: add to the Role: {}", missing.join(", "), rule(&missing));
    }
    Ok(())
}

/// A trial that makes nothing. Whether the Lease may be made is not only a question of rights: the
/// namespace may be missing.
async fn try_to_create(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut trial = Lease::default();
    trial.metadata.name = Some(lease.to_owned());
    let status = match Api::<Lease>::namespaced(client.clone(), namespace).create(&params, &trial).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(error).context("cannot ask the cluster whether the lease may be created"),
    };
    match status.code {
        // Somebody else just did.
        409 => Ok(()),
        // A Role cannot allow `create` for one name only.
        403 => bail!(
            "lease {namespace}/{lease} does not exist, and may not be created ({}): make it beforehand (`kubectl create \
             -f` of a Lease without a holder is enough), or add to the Role: {}",
            status.message,
            rule(&["create"])
        ),
        404 => bail!("namespace {namespace} does not exist: create it, or give another with --namespace"),
        _ => bail!("lease {namespace}/{lease} does not exist, and cannot be created: {}", status.message),
    }
}

fn rule(verbs: &[&str]) -> String {
    format!("{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [{}]}}", verbs.join(", "))
}

async fn allowed(client: &Client, namespace: &str, lease: &str, verb: &str) -> anyhow::Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some("coordination.k8s.io".into()),
                resource: Some("leases".into()),
                namespace: Some(namespace.into()),
                name: Some(lease.into()),
                verb: Some(verb.into()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    match Api::all(client.clone()).create(&PostParams::default(), &review).await {
        Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        // Whoever may not even ask (unusual) finds out when it competes.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            tracing::warn!(event = "access-unknown", "may not ask what this host may do: {}", status.message);
            Ok(true)
        }
        Err(error) => Err(error).context("cannot ask the cluster what this host may do"),
    }
}
