//! The admin address: `/livez`, `/readyz`, `/metrics` and `/tasks` over HTTP, and a page for browsers at `/`.
//!
//! It is served by the control thread, on purpose: where that thread is stuck, and with it every
//! renewal, nothing is answered, and the kubelet restarts the container. That nobody takes all of its time or memory by
//! connections, and nobody is kept out by those of others, is [`crate::http_server`]'s.

mod events;
mod health;
mod page;
mod summary;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

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

use crate::{
    config::AdminAddress,
    http_server::{Server, listen},
    report::{
        health::Readiness,
        liveness::Liveness,
        metrics::{Form, Metrics},
        output::Outputs,
        tasks::Tasks,
    },
};

/// So many connections at a time; a further one takes the place of one that is idle. Event streams are fewer.
const CONNECTIONS_MAX: usize = 128;
const _: () = assert!(events::STREAMS_MAX < CONNECTIONS_MAX);

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

/// Listens at `at`, and serves until the runtime ends.
///
/// # Errors
/// It cannot be listened there.
pub async fn serve(at: AdminAddress, shown: Shown) -> anyhow::Result<()> {
    let listening = match at {
        AdminAddress::Everywhere(port) => listen::everywhere(port).await,
        AdminAddress::One(address) => TcpListener::bind(address).await,
    };
    let listener =
        listening.with_context(|| format!("cannot listen at the admin address {at}: give another with --admin"))?;
    let address = listener.local_addr()?;
    tracing::info!(event = "admin", %address, "the status page, health and metrics are at http://{address}");
    tokio::spawn(Server::new("admin", routes(shown), CONNECTIONS_MAX).serve(listener));
    Ok(())
}

fn routes(shown: Shown) -> Router {
    let live = Router::new()
        .route("/tasks/events", get(events::of_all))
        .route("/tasks/{name}/events", get(events::of_one))
        .with_state(events::Live::new(shown.clone()));
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics))
        .route("/tasks", get(tasks::tasks))
        .merge(page::routes())
        .with_state(shown)
        .merge(live)
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
