//! What a coordinated election needs of a cluster, checked before a candidate is made.

use anyhow::bail;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};

use super::candidate::STRATEGY;
use crate::kubernetes::{access::Target, in_plain_words};

const API: &str = "coordination.k8s.io/v1beta1";
const SWITCHED_ON_BY: &str = "the API server's flags --feature-gates=CoordinatedLeaderElection=true and \
     --runtime-config=coordination.k8s.io/v1beta1=true switch it on; or run without --coordinated";

/// Checks that the cluster takes part, and that this host may.
///
/// # Errors
/// Says what is not switched on, and by which flags it is; or names the rule that is missing.
pub async fn check(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<()> {
    let served = match client.list_api_group_resources(API).await {
        Ok(list) => list.resources.iter().any(|resource| resource.name == "leasecandidates"),
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => bail!("cannot ask the cluster whether it serves LeaseCandidate: {}", in_plain_words(&error)),
    };
    if !served {
        bail!("this cluster does not serve LeaseCandidate ({API}), which --coordinated needs: {SWITCHED_ON_BY}");
    }
    let candidates = Target { group: "coordination.k8s.io", resource: "leasecandidates", namespace, name: None };
    let missing = candidates.denied(client, &["create", "list", "watch", "update", "delete"]).await?;
    if !missing.is_empty() {
        let rule = candidates.rule(&missing);
        bail!("may not {} leasecandidates in namespace {namespace}: add to the Role: {rule}", missing.join(", "));
    }
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let present = match leases.get_opt(lease).await {
        Ok(present) => present,
        Err(error) => bail!("cannot read lease {namespace}/{lease}: {}", in_plain_words(&error)),
    };
    if keeps_strategies(&leases, lease, present.clone()).await? == Some(false) {
        bail!("this cluster serves LeaseCandidate, but its API server picks no leaders: {SWITCHED_ON_BY}");
    }
    match present {
        Some(present) => name_nobody(&leases, lease, present).await,
        None => Ok(()),
    }
}

/// The API server drops a Lease's `strategy` where the feature is off, also in a trial that writes nothing. `None`
/// where there is no telling.
async fn keeps_strategies(leases: &Api<Lease>, name: &str, present: Option<Lease>) -> anyhow::Result<Option<bool>> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let with_strategy = |lease: Lease| {
        let mut lease = lease;
        lease.metadata.name = Some(name.to_owned());
        lease.spec.get_or_insert_default().strategy = Some(STRATEGY.to_owned());
        lease
    };
    let has_one = |lease: &Lease| lease.spec.as_ref().is_some_and(|spec| spec.strategy.is_some());
    let tried = match present {
        // Kept whatever is switched on: somebody did take part in this.
        Some(lease) if has_one(&lease) => return Ok(None),
        Some(lease) => leases.replace(name, &params, &with_strategy(lease)).await,
        None => leases.create(&params, &with_strategy(Lease::default())).await,
    };
    match tried {
        Ok(lease) => Ok(Some(has_one(&lease))),
        // It may not be made by this host, or was made or renewed just now.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 409) => Ok(None),
        Err(error) => bail!("cannot ask the cluster whether it picks leaders: {}", in_plain_words(&error)),
    }
}

/// Kubernetes 1.36's controller fails on a Lease that has no `holderIdentity` at all, as one that was made
/// beforehand has none: it is made empty, which means the same.
async fn name_nobody(leases: &Api<Lease>, name: &str, mut lease: Lease) -> anyhow::Result<()> {
    let holder = &mut lease.spec.get_or_insert_default().holder_identity;
    if holder.is_some() {
        return Ok(());
    }
    *holder = Some(String::new());
    match leases.replace(name, &PostParams::default(), &lease).await {
        Ok(_) => Ok(()),
        // Somebody else just wrote it.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => bail!("cannot make the holder of lease {name} empty: {}", in_plain_words(&error)),
    }
}
