//! What this host may do in the cluster: found out once, at the start, so that a mistake is a
//! clear message and not a silent standby.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::bail;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use tokio::sync::OnceCell;

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

/// What was asked about this host's rights already: many tasks ask the same.
pub struct Access {
    client: Client,
    known: Mutex<HashMap<Question, Arc<OnceCell<bool>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    group: String,
    resource: String,
    namespace: String,
    name: Option<String>,
    verb: String,
}

impl Access {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Who is asked.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// As [`Target::denied`], each question once. What is allowed whatever the name is not asked for a name.
    ///
    /// # Errors
    /// The cluster does not answer that question.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn denied<'v>(&self, target: &Target<'_>, verbs: &[&'v str]) -> anyhow::Result<Vec<&'v str>> {
        let mut denied = Vec::new();
        for verb in verbs {
            let whatever_the_name = Target { name: None, ..*target };
            let allowed = self.allowed(&whatever_the_name, verb).await?
                || (target.name.is_some() && self.allowed(target, verb).await?);
            if !allowed {
                denied.push(*verb);
            }
        }
        Ok(denied)
    }

    async fn allowed(&self, target: &Target<'_>, verb: &str) -> anyhow::Result<bool> {
        let question = Question {
            group: target.group.to_owned(),
            resource: target.resource.to_owned(),
            namespace: target.namespace.to_owned(),
            name: target.name.map(str::to_owned),
            verb: verb.to_owned(),
        };
        let answer = self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default().clone();
        answer.get_or_try_init(|| target.allowed(&self.client, verb)).await.copied()
    }
}
