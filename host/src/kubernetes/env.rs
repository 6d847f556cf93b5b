//! Values for a task's environment from Secrets and ConfigMaps: read through the API at the host's start, so that a
//! mistake is told before any Lease is touched, and again for each run, so that it has what is there now. Needed is
//! `get` on these objects, nothing else.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::{runtime::Handle, time::timeout};

use super::in_plain_words;
use crate::{
    config::{ConfigError, EnvRef, KeyRef, ValueFrom},
    guest::env::EnvSource,
};

/// How long reading all of them may take when a run is to begin.
const READ_MAX: Duration = Duration::from_secs(5);

/// The data of an object; `None`: there is no such object.
type Data = Option<BTreeMap<String, Vec<u8>>>;

/// See the module's documentation.
#[derive(Clone)]
pub struct ClusterEnv {
    client: Client,
    namespace: String,
    refs: Vec<EnvRef>,
    /// Where the client's connections are served: never on a guest's thread.
    control: Handle,
}

impl std::fmt::Debug for ClusterEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterEnv")
            .field("namespace", &self.namespace)
            .field("refs", &self.refs)
            .finish_non_exhaustive()
    }
}

/// Why there are no values.
#[derive(Debug)]
pub enum EnvError {
    /// The config or the cluster's objects have a mistake. A person has to mend it.
    Mistake(ConfigError),
    /// The cluster did not answer, or not with an object.
    Unavailable(String),
}

impl ClusterEnv {
    /// For these variables, with the objects in this namespace. To be called on the runtime that serves the client.
    pub fn new(client: Client, namespace: String, refs: Vec<EnvRef>) -> Self {
        Self { client, namespace, refs, control: Handle::current() }
    }

    /// The values as they are now.
    ///
    /// # Errors
    /// Names the variable, the object, and what is missing; has none of the values in it.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn values(&self) -> Result<Vec<(String, String)>, EnvError> {
        let mut read: BTreeMap<(&str, &str), Data> = BTreeMap::new();
        let mut values = Vec::new();
        for EnvRef { variable, from } in &self.refs {
            let (kind, resource, key) = match from {
                ValueFrom::SecretKeyRef(key) => ("Secret", "secrets", key),
                ValueFrom::ConfigMapKeyRef(key) => ("ConfigMap", "configmaps", key),
            };
            let KeyRef { name, key, optional } = key;
            let object = format!("{kind} {}/{name}", self.namespace);
            let mistake = |why: String| EnvError::Mistake(ConfigError(format!("env {variable}: {why}")));
            let id = (kind, name.as_str());
            let unread = !read.contains_key(&id);
            if unread {
                let data = match self.data(from, name.as_str()).await {
                    Ok(data) => data,
                    Err(kube::Error::Api(status)) if status.code == 403 => {
                        return Err(mistake(format!(
                            "this host may not read the {object}: add {{apiGroups: [\"\"], resources: [{resource}], \
                             resourceNames: [{name}], verbs: [get]}} to its Role there"
                        )));
                    }
                    Err(error) => {
                        let why = in_plain_words(&error);
                        return Err(EnvError::Unavailable(format!("env {variable}: cannot read the {object}: {why}")));
                    }
                };
                read.insert(id, data);
            }
            let data = read.get(&id).and_then(Option::as_ref);
            let value = data.and_then(|data| data.get(key));
            match (value, data.is_some()) {
                (Some(value), _) => match std::str::from_utf8(value) {
                    Ok(value) if !value.contains('\0') => values.push((variable.to_string(), value.to_owned())),
                    _ => {
                        return Err(mistake(format!(
                            "the value of {key} in the {object} is not text (UTF-8, without NUL)"
                        )));
                    }
                },
                (None, _) if *optional => {}
                (None, true) => {
                    return Err(mistake(format!("the {object} has no key {key:?} (`optional: true` does without)")));
                }
                (None, false) => return Err(mistake(format!("there is no {object} (`optional: true` does without)"))),
            }
        }
        Ok(values)
    }

    async fn data(&self, from: &ValueFrom, name: &str) -> Result<Data, kube::Error> {
        let (client, namespace) = (self.client.clone(), self.namespace.as_str());
        Ok(match from {
            ValueFrom::SecretKeyRef(_) => Api::<Secret>::namespaced(client, namespace)
                .get_opt(name)
                .await?
                .map(|secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()),
            ValueFrom::ConfigMapKeyRef(_) => {
                Api::<ConfigMap>::namespaced(client, namespace).get_opt(name).await?.map(|map| {
                    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
                    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                    text.chain(binary).collect()
                })
            }
        })
    }
}

impl EnvSource for ClusterEnv {
    fn read(&self) -> BoxFuture<'static, Result<Vec<(String, String)>, String>> {
        let env = self.clone();
        let reading = self.control.spawn(async move {
            match timeout(READ_MAX, env.values()).await {
                Ok(Ok(values)) => Ok(values),
                Ok(Err(EnvError::Mistake(why))) => Err(why.to_string()),
                Ok(Err(EnvError::Unavailable(why))) => Err(why),
                Err(_) => Err(format!("env: the cluster has not answered for {READ_MAX:?}")),
            }
        });
        async move { reading.await.unwrap_or_else(|error| Err(format!("env: it could not be read: {error}"))) }.boxed()
    }
}
