//! Connections, so many at a time.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// A connection on which nothing is asked for this long is closed: it has a place that another may want.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// After a connection could not be taken (out of open files, say), and before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Serves for ever. Connections that have no place yet wait in the system's queue.
pub(super) async fn serve(listener: TcpListener, routes: Router, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max));
    // Nobody closes it.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(event = "leader-endpoint", "a connection could not be taken: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(event = "leader-endpoint", "a connection ended: {error}");
            }
        });
    }
}
