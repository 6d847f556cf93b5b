//! `/livez` and `/readyz`.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};

use super::Shown;

/// The epoch ticker ticks every second, and every few milliseconds while a guest is there. Without it no guest that
/// computes would be ended.
const TICKER_SILENT_MAX: Duration = Duration::from_secs(5);

pub(super) async fn livez(State(shown): State<Shown>) -> (StatusCode, String) {
    let silent = shown.guests.ticker_silent_for();
    if silent > TICKER_SILENT_MAX {
        let why = format!("the epoch ticker has not ticked for {silent:?}: a component might not be stopped in time\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    (StatusCode::OK, "it works\n".to_owned())
}

pub(super) async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.readiness.told() {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}
