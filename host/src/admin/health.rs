//! `/livez` and `/readyz`.

use axum::{extract::State, http::StatusCode};

use super::Shown;

pub(super) async fn livez(State(shown): State<Shown>) -> (StatusCode, String) {
    let stuck = shown.liveness.stuck();
    if stuck.is_empty() {
        return (StatusCode::OK, "it works\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, stuck.iter().map(|stuck| format!("{stuck}\n")).collect())
}

pub(super) async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.readiness.told() {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}
