//! The admin address: `/livez`, `/readyz`, `/metrics` and `/tasks` over HTTP, and a page for browsers at `/`.
//!
//! It is served by the control thread, on purpose: where that thread is stuck, and with it every
//! renewal, nothing is answered, and the kubelet restarts the container.

mod events;
mod health;
mod page;
mod summary;
mod tasks;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::report::{
    health::Readiness,
    liveness::Liveness,
    metrics::{Form, Metrics},
    output::Outputs,
    tasks::Tasks,
};

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    /// `/tasks`
    pub tasks: Arc<Tasks>,
    /// `/tasks/NAME/events`
    pub outputs: Arc<Outputs>,
    /// `/readyz`
    pub readiness: Arc<Readiness>,
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/livez`
    pub liveness: Arc<Liveness>,
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
    tracing::info!(event = "admin", %address, "the status page, health and metrics are at http://{address}");
    let live = Router::new()
        .route("/tasks/events", get(events::of_all))
        .route("/tasks/{name}/events", get(events::of_one))
        .with_state(events::Live::new(shown.clone()));
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics))
        .route("/tasks", get(tasks::tasks))
        .merge(page::routes())
        .with_state(shown)
        .merge(live);
    tokio::spawn(async move {
        // It retries what fails for one connection, and never ends.
        let Ok(()) = axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await else {
            return;
        };
    });
    Ok(())
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = Form::asked_for(accept);
    // Not by this thread: of a thousand tasks they are megabytes.
    let written = tokio::task::spawn_blocking(move || shown.metrics.text(form)).await;
    match written.map_err(anyhow::Error::from).and_then(|text| Ok(text?)) {
        Ok((media_type, text)) => ([(CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
