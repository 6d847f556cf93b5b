//! `/tasks`: each task as it is, for scripts.

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;

use super::Shown;
use crate::report::tasks::{Role, Seen, TaskState};

/// `/tasks`. Every field is always there. Fields may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct All<'a> {
    /// Now.
    time: Timestamp,
    tasks: Vec<Task<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    #[serde(flatten)]
    state: &'a TaskState,
    /// For how long from now on the term is certain, without any further renewal; null while it does not lead.
    certain_for_seconds: Option<f64>,
    /// What it waits for before it competes.
    waits_for: Option<String>,
}

pub(super) async fn tasks(State(shown): State<Shown>) -> Response {
    let seen = shown.tasks.all();
    let tasks = seen.iter().map(|Seen { state, bound, .. }| Task {
        state,
        certain_for_seconds: (state.role == Role::Leading).then(|| bound.left().as_secs_f64()),
        waits_for: shown.readiness.wait_of(&state.name),
    });
    let all = All { time: Timestamp::now(), tasks: tasks.collect() };
    match serde_json::to_string_pretty(&all) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
