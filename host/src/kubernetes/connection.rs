//! The connections to the API server: kube's own client, but for how its sockets are made.
//!
//! - `TCP_NODELAY`: kube leaves it off, so that the second piece of a write waits for the first one's acknowledgement,
//!   which the other side delays by 40 ms. That was two thirds of a handover.
//! - Where the API server's name has several addresses, each new connection begins with another of them: a request that
//!   was given up closes its connection, and the next one must not go to the same hung server again. The time to
//!   connect is divided among them (hyper-util does that), and is short enough that the next one is tried within the
//!   same request: kube's own is 30 s, in which a leader loses its Lease.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
    vec,
};

use hyper_util::{
    client::legacy::{
        self,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{ClientBuilder, ConfigExt},
};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn, util::option_layer};

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
    let by_system = service_fn(|name: Name| async { GaiResolver::new().call(name).await.map(Iterator::collect) });
    client_that_asks(by_system, config)
}

/// Where names are looked up by `resolver`.
fn client_that_asks<R>(resolver: R, config: Config) -> kube::Result<Client>
where
    R: Service<Name, Response = Vec<SocketAddr>, Error = std::io::Error> + Clone + Send + Sync + 'static,
    R::Future: Send,
{
    let turn = Arc::new(AtomicUsize::new(0));
    let in_turn = service_fn(move |name: Name| {
        let (mut resolver, turn) = (resolver.clone(), turn.clone());
        async move {
            let mut addresses = resolver.ready().await?.call(name).await?;
            let first = turn.fetch_add(1, Ordering::Relaxed).checked_rem(addresses.len()).unwrap_or(0);
            addresses.rotate_left(first);
            Ok::<vec::IntoIter<_>, std::io::Error>(addresses.into_iter())
        }
    });
    let mut connector = HttpConnector::new_with_resolver(in_turn);
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use axum::{Router, routing::get};

    use super::*;

    /// An API server as far as `/version` goes, and so many addresses of its name before its own.
    async fn behind(others: &[SocketAddr]) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound");
        let version = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
        let server = Router::new().route("/version", get(async move || version));
        tokio::spawn(async move { axum::serve(listener, server).await });
        let addresses: Vec<_> = others.iter().copied().chain([own]).collect();
        let resolver = service_fn(move |_: Name| std::future::ready(Ok(addresses.clone())));
        // The addresses have their ports; a name's own would be used where they had none.
        let url = "http://api.example".parse().expect("a URL");
        client_that_asks(resolver, Config::new(url)).expect("a client")
    }

    #[tokio::test]
    async fn where_one_address_refuses_the_next_one_is_asked() {
        let refusing = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
        let client = behind(&[refusing]).await;
        client.apiserver_version().await.expect("the other one answers");
    }

    #[tokio::test]
    async fn where_one_address_accepts_and_never_answers_the_next_request_goes_to_the_other() {
        // The system takes connections for it, and nobody ever reads them: as with a frozen API server.
        let frozen = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = behind(&[frozen.local_addr().expect("it is bound")]).await;
        let given_up = tokio::time::timeout(Duration::from_millis(100), client.apiserver_version()).await;
        assert!(given_up.is_err(), "the first one is asked first");
        client.apiserver_version().await.expect("the other one answers");
    }
}
