//! From what a task's config allows to what its guests are given: certificates are read, the cluster is found.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, bail};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    config::{Allow, AllowKubernetes, ConfigError, Name, TaskSpec},
    guest::{
        env::EnvSource,
        files::Folder,
        imports::{
            http::{grant::HttpGrant, kubernetes::KubernetesGrant, tls},
            sockets::grant::TcpGrant,
        },
        runtime::GuestConfig,
    },
    kubernetes::{
        access::Target,
        cluster::{Cluster, first_contact},
        env::{ClusterEnv, EnvError},
    },
};

/// What this task's guests may ask over HTTP.
///
/// # Errors
/// A [`ConfigError`] where a certificate is missing; or there is no cluster.
pub(super) async fn http_grant(task: &TaskSpec, cluster: &Cluster) -> anyhow::Result<HttpGrant> {
    let Allow { http, ca_file, token_header, kubernetes, http_limits, tcp: _, tcp_limits: _, files: _ } = &task.allow;
    let needs_tls = http.iter().any(|rule| rule.needs_tls());
    let tls = match (needs_tls, ca_file) {
        (false, None) => None,
        _ => Some(
            roots(ca_file.as_deref(), needs_tls.then_some("allow.http has https URLs"))
                .with_context(|| format!("task {}", task.name))?,
        ),
    };
    Ok(HttpGrant {
        rules: http.clone(),
        tls: tls.map(|roots| Arc::new(tls::client_config(roots))),
        token_header: token_header.as_ref().map(|header| header.name().clone()),
        kubernetes: match kubernetes {
            None => None,
            Some(allowed) => Some(
                kubernetes_grant(task, allowed, cluster)
                    .await
                    .with_context(|| format!("task {}: allow.kubernetes", task.name))?,
            ),
        },
        limits: *http_limits,
        ..HttpGrant::default()
    })
}

/// What else this task's guests get: sockets, folders, values from the cluster.
///
/// # Errors
/// A [`ConfigError`] where something is not there; or there is no cluster.
pub(super) async fn with_grants(task: TaskSpec, cluster: &Cluster) -> anyhow::Result<TaskSpec> {
    let tcp = Arc::new(TcpGrant::new(task.allow.tcp.clone(), task.allow.tcp_limits));
    let folders = folders(&task.allow.files).with_context(|| format!("task {}: allow.files", task.name))?;
    let env_from = env_source(&task, cluster).await.with_context(|| format!("task {}", task.name))?;
    Ok(TaskSpec { guest: GuestConfig { tcp, folders, env_from, ..task.guest }, ..task })
}

/// They are there, and in different places.
fn folders(files: &[Folder]) -> Result<Vec<Folder>, ConfigError> {
    for (index, folder) in files.iter().enumerate() {
        let (host, guest) = (folder.host.display(), &folder.guest);
        match fs::metadata(&folder.host) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(ConfigError(format!("{host} is not a folder: name the one it is in"))),
            Err(error) => return Err(ConfigError(format!("the folder {host} cannot be used: {error}"))),
        }
        if let Some(other) = files[..index].iter().find(|other| other.guest == *guest) {
            let other = other.host.display();
            return Err(ConfigError(format!(
                "{other} and {host} are both at {guest} for the guest: give one another place"
            )));
        }
    }
    Ok(files.to_vec())
}

async fn env_source(task: &TaskSpec, cluster: &Cluster) -> anyhow::Result<Option<Arc<dyn EnvSource>>> {
    if task.env_from.is_empty() {
        return Ok(None);
    }
    let client = cluster.client().await?;
    let namespace = task.namespace.as_ref().map_or(client.default_namespace(), Name::as_str).to_owned();
    let source = ClusterEnv::new(client.clone(), namespace, task.env_from.clone());
    // Only whether they are there: each run reads them anew.
    first_contact(async {
        match source.values().await {
            Ok(_) => Ok(()),
            Err(EnvError::Mistake(mistake)) => Err(mistake.into()),
            Err(EnvError::Unavailable(why)) => bail!("{why}"),
        }
    })
    .await?;
    Ok(Some(Arc::new(source)))
}

/// The system's certificate authorities (those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, where they are set), and those of
/// a file. `needed` says for what there has to be one.
pub(super) fn roots(ca_file: Option<&Path>, needed: Option<&str>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A system's store often has one that is broken or too old; the others do.
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let at = path.display();
        let text = fs::read(path).map_err(|error| ConfigError(format!("cannot read caFile {at}: {error}")))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| ConfigError(format!("caFile {at} is not a PEM file of certificates: {error}")))?;
        if certificates.is_empty() {
            return Err(ConfigError(format!("caFile {at} has no `-----BEGIN CERTIFICATE-----` in it")));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| ConfigError(format!("caFile {at} has a certificate that cannot be used: {error}")))?;
        }
    }
    if let Some(needed) = needed
        && roots.is_empty()
    {
        let why = system.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(ConfigError(format!(
            "{needed}, and this machine has no certificate authorities to trust{why}; an image from \
             scratch has none. Mount a PEM file, and name it in SSL_CERT_FILE, or by caFile"
        )));
    }
    Ok(roots)
}

async fn kubernetes_grant(
    task: &TaskSpec,
    allowed: &AllowKubernetes,
    cluster: &Cluster,
) -> anyhow::Result<KubernetesGrant> {
    let config = cluster.config().await?.clone();
    let mut user = None;
    if let Some(account) = &allowed.service_account {
        let own = task.namespace.as_ref().map_or(config.default_namespace.as_str(), Name::as_str);
        let namespace = account.namespace.as_ref().map_or(own, Name::as_str);
        let name = account.name.as_str();
        let target = Target { group: "", resource: "serviceaccounts", namespace, name: Some(name) };
        if !first_contact(target.denied(cluster.client().await?, &["impersonate"])).await?.is_empty() {
            tracing::warn!(
                event = "impersonation-denied",
                task = task.name.as_str(),
                "this host may not act as the ServiceAccount {namespace}/{name}, so what the component asks of the \
                 Kubernetes API will be refused: add {} to a Role of the host in {namespace}",
                target.rule(&["impersonate"])
            );
        }
        user = Some(format!("system:serviceaccount:{namespace}:{name}"));
    }
    Ok(KubernetesGrant::new(config, user, allowed.rules.clone())?)
}
