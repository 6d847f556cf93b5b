//! A module in a key of a ConfigMap, watched through the API: a change arrives with the write, and
//! does not wait for the kubelet, which syncs a mounted ConfigMap once a minute or so.

use std::sync::Arc;

use anyhow::bail;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::{Changes, ReadError};
use crate::kubernetes::{
    access::Target,
    in_plain_words,
    watch::{Seen, watch_one},
};

/// See the module's documentation.
#[derive(Clone)]
pub struct ConfigMapKey {
    client: Client,
    namespace: Arc<str>,
    name: Arc<str>,
    key: Arc<str>,
}

impl ConfigMapKey {
    /// The key of the ConfigMap `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str, key: &str) -> Self {
        Self { client, namespace: namespace.into(), name: name.into(), key: key.into() }
    }

    /// Checks that it may be followed: reading it once says nothing about that.
    ///
    /// # Errors
    /// Names the rule that is missing; or the cluster does not answer.
    pub async fn check_access(&self) -> anyhow::Result<()> {
        let Self { namespace, name, .. } = self;
        let target = self.target();
        let denied = target.denied(&self.client, &["get", "list", "watch"]).await?;
        if !denied.is_empty() {
            let (verbs, rule) = (denied.join(", "), target.rule(&denied));
            bail!("may not {verbs} configmap {namespace}/{name}, which has the module: add to the Role: {rule}");
        }
        Ok(())
    }

    /// The bytes as they are now.
    ///
    /// # Errors
    /// There is no such key, or the cluster does not let it be read.
    pub(super) async fn read(&self) -> Result<Vec<u8>, ReadError> {
        let found = self.api().get_opt(&self.name).await;
        let found = found.map_err(|error| self.unavailable("get", &in_plain_words(&error)))?;
        found.map_or_else(|| Err(self.missing()), |found| self.bytes(found))
    }

    /// The bytes as they are, then each time the ConfigMap changes.
    pub(super) fn changes(&self) -> Changes {
        let this = self.clone();
        let seen = watch_one(self.api(), self.name.to_string());
        let changes = seen.map(move |seen| match seen {
            Ok(Seen::Present(found)) => this.bytes(found),
            Ok(Seen::Missing(_)) => Err(this.missing()),
            Err(error) => Err(this.unavailable(error.verb(), &error.to_string())),
        });
        changes.boxed()
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn target(&self) -> Target<'_> {
        Target { group: "", resource: "configmaps", namespace: &self.namespace, name: Some(&self.name) }
    }

    fn bytes(&self, found: ConfigMap) -> Result<Vec<u8>, ReadError> {
        let mut binary = found.binary_data.unwrap_or_default();
        let mut text = found.data.unwrap_or_default();
        let bytes = binary.remove(&*self.key).map(|bytes| bytes.0);
        bytes.or_else(|| text.remove(&*self.key).map(String::into_bytes)).ok_or_else(|| {
            let Self { namespace, name, key, .. } = self;
            let keys: Vec<_> = binary.into_keys().chain(text.into_keys()).collect();
            let has = if keys.is_empty() { "it is empty".to_owned() } else { format!("it has {}", keys.join(", ")) };
            ReadError::Missing(format!("configmap {namespace}/{name} has no key {key:?}: {has}"))
        })
    }

    fn missing(&self) -> ReadError {
        let Self { namespace, name, .. } = self;
        ReadError::Missing(format!("there is no configmap {namespace}/{name}"))
    }

    fn unavailable(&self, verb: &str, why: &str) -> ReadError {
        let Self { namespace, name, .. } = self;
        ReadError::Unavailable(format!("{verb} configmap {namespace}/{name}: {why}"))
    }
}
