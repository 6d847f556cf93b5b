//! From the reference to a module to the source that has it.

use std::{fs, sync::Arc};

use super::grants::roots;
use crate::{
    config::{ConfigError, CosignKey, Name, OciReference, Origin, Reference},
    guest::imports::http::tls,
    kubernetes::{
        cluster::{Cluster, first_contact},
        pull_secret::PullSecret,
    },
    module::{
        ModuleSource,
        configmap::ConfigMapKey,
        oci::{
            OciModule,
            client::{Reach, Registry},
            credentials::Credentials,
            verify::PublicKey,
        },
    },
};

/// `namespace` is the task's, for what a reference or its Secret does not say.
///
/// # Errors
/// The cluster that has it is not reached, or does not let it be followed; a file that is named for it is not what it
/// should be.
pub(super) async fn source(
    reference: &Reference,
    namespace: Option<&Name>,
    origin: &Origin,
    cluster: &Cluster,
) -> anyhow::Result<ModuleSource> {
    match reference {
        Reference::File(path) => Ok(ModuleSource::File(path.clone())),
        Reference::ConfigMap { namespace: own, name, key } => {
            let client = cluster.client().await?;
            let namespace = own.as_ref().or(namespace).map_or(client.default_namespace(), Name::as_str);
            let key = ConfigMapKey::new(client.clone(), namespace, name.as_str(), key);
            first_contact(key.check_access()).await?;
            Ok(ModuleSource::ConfigMap(key))
        }
        Reference::Oci(artifact) => {
            let registry = registry(artifact, namespace, origin, cluster).await?;
            let key = origin.cosign_key.as_ref().map(public_key).transpose()?;
            Ok(ModuleSource::Oci(OciModule::new(registry, artifact, key, origin.poll.0)))
        }
    }
}

/// The registry of an artifact, with the credentials for it.
///
/// # Errors
/// As [`source`].
pub(super) async fn registry(
    artifact: &OciReference,
    namespace: Option<&Name>,
    origin: &Origin,
    cluster: &Cluster,
) -> anyhow::Result<Registry> {
    let credentials = match &origin.pull_secret {
        None => Credentials::OfDocker,
        Some(name) => {
            let client = cluster.client().await?;
            let namespace = namespace.map_or(client.default_namespace(), Name::as_str);
            let secret = PullSecret::new(client.clone(), namespace, name.as_str());
            // Whether it can be had: it is read again whenever the registry asks for credentials.
            first_contact(async { Ok(secret.check().await?) }).await?;
            Credentials::Secret(Arc::new(secret))
        }
    };
    let needed = (!origin.plain_http).then_some("a registry is reached over TLS");
    let tls = tls::client_config(roots(origin.ca_file.as_deref(), needed)?);
    let reach = Reach { tls, plain_http: origin.plain_http };
    Ok(Registry::new(artifact, reach, credentials).map_err(ConfigError)?)
}

fn public_key(key: &CosignKey) -> Result<PublicKey, ConfigError> {
    let (pem, of) = match key {
        CosignKey::Pem(pem) => (pem.clone(), "the cosign key".to_owned()),
        CosignKey::File(path) => {
            let of = format!("the cosign key {}", path.display());
            (fs::read_to_string(path).map_err(|error| ConfigError(format!("cannot read {of}: {error}")))?, of)
        }
    };
    PublicKey::from_pem(&pem).map_err(|why| ConfigError(format!("{of} cannot be used: {why}")))
}
