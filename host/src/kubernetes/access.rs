//! What this host may do in the cluster: found out once, at the start, so that a mistake is a
//! clear message and not a silent standby.

use anyhow::bail;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};

use super::in_plain_words;

/// A kind of object, as a Role names it, and which one of them.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The API group; empty for the core one.
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// Where it is.
    pub namespace: &'a str,
    /// A single object; `None` for any (a new one, say).
    pub name: Option<&'a str>,
}

impl Target<'_> {
    /// The rule that allows `verbs`, as it stands in a Role.
    pub fn rule(&self, verbs: &[&str]) -> String {
        let group = if self.group.is_empty() { "\"\"" } else { self.group };
        format!("{{apiGroups: [{group}], resources: [{}], verbs: [{}]}}", self.resource, verbs.join(", "))
    }

    /// Those of `verbs` that this host may not use.
    ///
    /// # Errors
    /// The cluster does not answer that question.
    pub async fn denied<'v>(&self, client: &Client, verbs: &[&'v str]) -> anyhow::Result<Vec<&'v str>> {
        let mut denied = Vec::new();
        for verb in verbs {
            if !self.allowed(client, verb).await? {
                denied.push(*verb);
            }
        }
        Ok(denied)
    }

    async fn allowed(&self, client: &Client, verb: &str) -> anyhow::Result<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.to_owned()),
                    resource: Some(self.resource.to_owned()),
                    namespace: Some(self.namespace.to_owned()),
                    name: self.name.map(str::to_owned),
                    verb: Some(verb.into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        match Api::all(client.clone()).create(&PostParams::default(), &review).await {
            Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
            // Whoever may not even ask (unusual) finds out when it tries.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::warn!(event = "access-unknown", "may not ask what this host may do: {}", status.message);
                Ok(true)
            }
            Err(error) => bail!("cannot ask the cluster what this host may do: {}", in_plain_words(&error)),
        }
    }
}
