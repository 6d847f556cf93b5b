//! A Secret with credentials for registries, as a Pod's `imagePullSecrets` names it. Needed is `get` on it.

use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::in_plain_words;
use crate::{config::ConfigError, module::oci::credentials::SecretConfig};

const TYPE: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";

/// See the module's documentation.
pub struct PullSecret {
    client: Client,
    namespace: String,
    name: String,
}

impl PullSecret {
    /// The Secret `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// That it is there, and may be read.
    ///
    /// # Errors
    /// It is not, or may not; names the rule that is missing.
    pub async fn check(&self) -> Result<(), ConfigError> {
        self.docker_config().await.map(drop).map_err(ConfigError)
    }

    async fn docker_config(&self) -> Result<Vec<u8>, String> {
        let Self { namespace, name, .. } = self;
        let of = format!("the pull secret {namespace}/{name}");
        let found = match Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Err(format!("there is no Secret {namespace}/{name}, which is named as the pull secret"));
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(format!(
                    "this host may not read {of}: add {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{name}], \
                     verbs: [get]}} to its Role there"
                ));
            }
            Err(error) => return Err(format!("cannot read {of}: {}", in_plain_words(&error))),
        };
        let kind = found.type_.unwrap_or_default();
        let config = found.data.and_then(|mut data| data.remove(KEY));
        config.map(|config| config.0).ok_or_else(|| {
            format!(
                "{of} is of type {kind:?} and has no {KEY}: make one of type {TYPE} (`kubectl create secret \
                 docker-registry`)"
            )
        })
    }
}

impl SecretConfig for PullSecret {
    fn read(&self) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        self.docker_config().boxed()
    }
}
