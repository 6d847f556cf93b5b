//! The admin address: `/livez`, `/readyz` and `/metrics` over HTTP.
//!
//! It is served by the control thread, on purpose: where that thread is stuck, and with it every
//! renewal, nothing is answered, and the kubelet restarts the container.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    guest::runtime::GuestRuntime,
    report::{health::Readiness, metrics::Metrics},
};

/// The epoch ticker ticks every second, and every few milliseconds while a guest is there. Without it no guest that
/// computes would be ended.
const TICKER_SILENT_MAX: Duration = Duration::from_secs(5);

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    /// `/readyz`
    pub readiness: Arc<Readiness>,
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/livez`
    pub guests: Arc<GuestRuntime>,
}

/// Listens at `address`, and serves until the runtime ends.
///
/// # Errors
/// It cannot be listened there.
pub async fn serve(address: SocketAddr, shown: Shown) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen at the admin address {address}: give another with --admin"))?;
    let address = listener.local_addr()?;
    tracing::info!(event = "admin", %address, "health and metrics are at http://{address}");
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    tokio::spawn(async move {
        // It retries what fails for one connection, and never ends.
        let Ok(()) = axum::serve(listener, routes).await else { return };
    });
    Ok(())
}

async fn livez(State(shown): State<Shown>) -> (StatusCode, String) {
    let silent = shown.guests.ticker_silent_for();
    if silent > TICKER_SILENT_MAX {
        let why = format!("the epoch ticker has not ticked for {silent:?}: a component might not be stopped in time\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    (StatusCode::OK, "it works\n".to_owned())
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.readiness.told() {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.text() {
        Ok((media_type, text)) => ([(CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
