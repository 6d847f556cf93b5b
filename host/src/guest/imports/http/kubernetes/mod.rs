//! `http://kubernetes.default.svc`: the API server, with the host's credentials, which the guest never sees.
//!
//! The guest asks in clear text; the host puts its own TLS, address and `Authorization` around it, from the very
//! configuration its own client has. A task may be made to act as a ServiceAccount (impersonation, for which the host
//! needs the right), and what it may ask be narrowed before the API server is asked at all.

mod request_info;
pub mod rules;

use http::Method;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use kube::client::{
    ConfigExt,
    middleware::{AuthLayer, BaseUriLayer, ExtraHeadersLayer},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tower::{BoxError, Layer, ServiceExt, util::BoxCloneSyncService};

use self::{request_info::RequestInfo, rules::ApiRule};
use super::{
    client::{HyperClient, Sender},
    connect::Connector,
    target::{Scheme, Target},
};

/// The Kubernetes API, as one task is granted it.
pub struct KubernetesGrant {
    tls: ClientConfig,
    /// Where the certificate is for another name than the address.
    server_name: Option<ServerName<'static>>,
    base_uri: BaseUriLayer,
    auth: Option<AuthLayer>,
    headers: ExtraHeadersLayer,
    rules: Option<Vec<ApiRule>>,
}

/// The cluster's configuration does not do.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesGrantError {
    /// Its credentials or certificates.
    #[error("the cluster's credentials cannot be used")]
    Credentials(#[from] kube::Error),
    /// Its `tls-server-name`.
    #[error("the cluster's `tls-server-name` {0:?} is not a host's name")]
    ServerName(String),
}

impl KubernetesGrant {
    /// With the credentials of `config`, acting as `user` where one is given. Without `rules`, the API server alone
    /// decides what may be asked.
    ///
    /// # Errors
    /// The configuration's credentials cannot be used.
    pub fn new(
        mut config: kube::Config,
        user: Option<String>,
        rules: Option<Vec<ApiRule>>,
    ) -> Result<Self, KubernetesGrantError> {
        if user.is_some() {
            config.auth_info.impersonate = user;
            config.auth_info.impersonate_groups = None;
            config.auth_info.impersonate_user_extra = None;
        }
        let server_name = config
            .tls_server_name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| KubernetesGrantError::ServerName(name)));
        Ok(Self {
            // Here, and not at a run's first request: a plugin for credentials may take its time.
            tls: config.rustls_client_config()?,
            server_name: server_name.transpose()?,
            base_uri: config.base_uri_layer(),
            auth: config.auth_layer()?,
            headers: config.extra_headers_layer()?,
            rules,
        })
    }

    /// Sends through `connector`, with TLS and credentials around it.
    pub(super) fn sender(
        &self,
        connector: Connector,
        client: impl FnOnce(HttpsConnector<Connector>) -> HyperClient,
    ) -> Sender {
        let mut tls = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http();
        if let Some(name) = &self.server_name {
            tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
        }
        let client = client(tls.enable_http1().wrap_connector(connector)).map_err(BoxError::from);
        let with_headers = self.headers.layer(client);
        match &self.auth {
            Some(auth) => BoxCloneSyncService::new(self.base_uri.layer(auth.layer(with_headers))),
            None => BoxCloneSyncService::new(self.base_uri.layer(with_headers)),
        }
    }
}

/// Whether this may be asked of the API server, and then whether its answer is a stream without an end.
///
/// # Errors
/// What is refused, and what would allow it.
pub(super) fn admit(grant: Option<&KubernetesGrant>, method: &Method, target: &Target) -> Result<bool, String> {
    let Some(grant) = grant else {
        return Err(format!("{method} {target}: to allow the Kubernetes API, add `kubernetes: true` to allow"));
    };
    if !matches!((target.scheme, target.port), (Scheme::Http, 80) | (Scheme::Https, 443)) {
        return Err(format!("{method} {target}: the API server is http://kubernetes.default.svc, without a port"));
    }
    let info = RequestInfo::of(method, &target.path, target.query.as_deref())
        .map_err(|why| format!("{method} {target}: {why}"))?;
    match &grant.rules {
        Some(rules) if !rules.iter().any(|rule| rule.allows(&info)) => {
            Err(format!("{method} {target}: to allow it, add {} to allow.kubernetes.rules", info.rule()))
        }
        _ => Ok(info.is_stream()),
    }
}
