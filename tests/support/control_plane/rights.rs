//! What a user may do, as the API server sees it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    rbac::v1::PolicyRule,
};
use kube::{Api, api::PostParams};

use super::ControlPlane;
use crate::host_process::PATIENCE;

impl ControlPlane {
    /// Waits until this user may do all that these rules say in this namespace: the API server hears of a Role and of its
    /// binding by watches, some time after it has made them.
    ///
    /// # Errors
    /// The user may not, within [`PATIENCE`], or the API server does not answer.
    pub async fn wait_until_allowed(&self, user: &str, namespace: &str, rules: &[PolicyRule]) -> Result<()> {
        let reviews = Api::<SubjectAccessReview>::all(self.client());
        let begun = Instant::now();
        for asked in rules.iter().flat_map(|rule| all_of(rule, namespace)) {
            let spec = SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                resource_attributes: Some(asked.clone()),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let params = PostParams::default();
            while !reviews.create(&params, &review).await?.status.is_some_and(|status| status.allowed) {
                ensure!(begun.elapsed() < PATIENCE, "{user} may not: {asked:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// Each verb of the rule on each of its resources, and on each object that it names.
fn all_of(rule: &PolicyRule, namespace: &str) -> Vec<ResourceAttributes> {
    let names: Vec<_> = match rule.resource_names.as_deref().unwrap_or_default() {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    };
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            let (resource, subresource) = match resource.split_once('/') {
                Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
                None => (resource.as_str(), None),
            };
            let of_resource = ResourceAttributes {
                group: Some(group.clone()),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            };
            for name in &names {
                let of_object = ResourceAttributes { name: name.clone(), ..of_resource.clone() };
                all.extend(
                    rule.verbs.iter().map(|verb| ResourceAttributes { verb: Some(verb.clone()), ..of_object.clone() }),
                );
            }
        }
    }
    all
}
