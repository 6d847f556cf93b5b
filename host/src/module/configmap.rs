//! A module in a key of a ConfigMap, watched through the API: a change arrives with the write, and
//! does not wait for the kubelet, which syncs a mounted ConfigMap once a minute or so.

use std::sync::Arc;

use anyhow::bail;
use bytesize::ByteSize;
use futures_util::StreamExt;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{Changes, ReadError, compressed::compress};
use crate::kubernetes::{
    access::Target,
    in_plain_words,
    watch::{Seen, watch_one},
};

/// What the API server takes for all values of a ConfigMap together.
const CONFIG_MAP_BYTES_MAX: usize = 1024 * 1024;

/// How often a ConfigMap is read again that somebody else has written meanwhile.
const PUT_ATTEMPTS_MAX: usize = 5;

/// Why a module is not put into a ConfigMap.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It does not fit.
    #[error("{0}")]
    TooLarge(String),
    /// The cluster does not take it, or does not answer.
    #[error("{0}")]
    Refused(String),
}

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

    /// Puts a module into the key, compressed where there is no room for it as it is; what else the ConfigMap has stays.
    /// Says with how many bytes it is there where they are fewer than its own.
    ///
    /// # Errors
    /// There is no room for it, by how much, and what to do instead; or the cluster does not take it.
    ///
    /// # Cancel safety
    /// May be dropped at any time: it is one write.
    pub async fn put(&self, module: &[u8]) -> Result<Option<ByteSize>, PutError> {
        let api = self.api();
        for _ in 0..PUT_ATTEMPTS_MAX {
            let found = api.get_opt(&self.name).await.map_err(|error| self.not_put("get", &error))?;
            let verb = if found.is_some() { "update" } else { "create" };
            let mut config_map = found.unwrap_or_else(|| ConfigMap {
                metadata: ObjectMeta { name: Some(self.name.to_string()), ..ObjectMeta::default() },
                ..ConfigMap::default()
            });
            if let Some(text) = &mut config_map.data {
                text.remove(&*self.key);
            }
            let binary = config_map.binary_data.get_or_insert_default();
            binary.remove(&*self.key);
            let others = binary.values().map(|bytes| bytes.0.len());
            let others: usize = others.chain(config_map.data.iter().flatten().map(|(_, text)| text.len())).sum();
            let (bytes, compressed) = self.fitted(module, others)?;
            binary.insert(self.key.to_string(), ByteString(bytes));
            // With the resourceVersion it was read with: whoever writes meanwhile is not undone.
            let params = PostParams::default();
            let written = match verb {
                "update" => api.replace(&self.name, &params, &config_map).await,
                _ => api.create(&params, &config_map).await,
            };
            match written {
                Ok(_) => return Ok(compressed),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.not_put(verb, &error)),
            }
        }
        let Self { namespace, name, .. } = self;
        Err(PutError::Refused(format!(
            "configmap {namespace}/{name} was written by others {PUT_ATTEMPTS_MAX} times meanwhile: try again"
        )))
    }

    /// The bytes to put beside so many others; and how many they are where they had to be compressed.
    fn fitted(&self, module: &[u8], others: usize) -> Result<(Vec<u8>, Option<ByteSize>), PutError> {
        let room = CONFIG_MAP_BYTES_MAX.saturating_sub(others);
        if module.len() <= room {
            return Ok((module.to_vec(), None));
        }
        let compressed = compress(module).map_err(|error| PutError::Refused(format!("cannot compress it: {error}")))?;
        let size = |bytes: usize| ByteSize(bytes as u64);
        if compressed.len() <= room {
            let len = size(compressed.len());
            return Ok((compressed, Some(len)));
        }
        let Self { namespace, name, .. } = self;
        let beside = if others == 0 { String::new() } else { format!(", and its other keys have {}", size(others)) };
        Err(PutError::TooLarge(format!(
            "it has {}, and compressed {}, which is {} too much for configmap {namespace}/{name}: a ConfigMap has room for \
             {} in all{beside}. Push it to a registry (`oci:REGISTRY/REPOSITORY:TAG`), or mount it from a volume",
            size(module.len()),
            size(compressed.len()),
            size(compressed.len() - room),
            size(CONFIG_MAP_BYTES_MAX),
        )))
    }

    fn not_put(&self, verb: &str, error: &kube::Error) -> PutError {
        let Self { namespace, name, .. } = self;
        PutError::Refused(match error {
            kube::Error::Api(status) if status.code == 403 => format!(
                "may not {verb} configmap {namespace}/{name}: needed in a Role there is {}",
                self.target().rule(&["get", "create", "update"])
            ),
            error => format!("cannot {verb} configmap {namespace}/{name}: {}", in_plain_words(error)),
        })
    }

    /// Which key this is.
    pub fn reference(&self) -> String {
        let Self { namespace, name, key, .. } = self;
        format!("configmap:{namespace}/{name}/{key}")
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
