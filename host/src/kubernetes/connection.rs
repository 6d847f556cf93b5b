//! The connections to the API server: kube's own client, but for how its sockets are made.
//!
//! - `TCP_NODELAY`: kube leaves it off, so that the second piece of a write waits for the first one's acknowledgement,
//!   which the other side delays by 40 ms. That was two thirds of a handover.
//! - The time to connect is divided among a name's addresses (hyper-util does that), and is short enough that the
//!   next address is tried within the same request: kube's own is 30 s, in which a leader loses its Lease.

use std::time::Duration;

use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{ClientBuilder, ConfigExt},
};
use tower::{BoxError, Layer, ServiceExt, util::option_layer};

/// For all addresses of the API server together.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A client for the cluster of this configuration. Behind a proxy it is kube's own, unchanged.
///
/// # Errors
/// Its credentials or certificates cannot be used.
pub(super) fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = legacy::Client::builder(TokioExecutor::new()).build(connector).map_err(BoxError::from);
    let service = config.extra_headers_layer()?.layer(service);
    let service = option_layer(config.auth_layer()?).layer(service);
    let service = config.base_uri_layer().layer(service);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
