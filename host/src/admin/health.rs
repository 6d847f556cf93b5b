//! `/livez` and `/readyz`.

use axum::{extract::State, http::StatusCode};

use super::Shown;
use crate::report::tasks::Role;

pub(super) async fn livez(State(shown): State<Shown>) -> (StatusCode, String) {
    let stuck = shown.liveness.stuck();
    if stuck.is_empty() {
        return (StatusCode::OK, "it works\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, stuck.iter().map(|stuck| format!("{stuck}\n")).collect())
}

pub(super) async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    // Of another task's Lease the election tells; the module may be ready all the same.
    let seen = shown.tasks.all();
    let barred = seen.iter().filter(|seen| seen.state.role == Role::OtherTask).map(|seen| seen.state.name.as_str());
    match shown.readiness.told(&barred.collect()) {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}
