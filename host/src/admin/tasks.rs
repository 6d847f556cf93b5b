//! `/tasks`: each task as it is, for scripts.

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;

use super::Shown;
use crate::report::{
    health::Note,
    tasks::{Role, Seen, TaskState},
};

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
pub(super) struct Task<'a> {
    #[serde(flatten)]
    state: &'a TaskState,
    /// For how long from now on the term is certain, without any further renewal; null while it does not lead.
    certain_for_seconds: Option<f64>,
    /// What it waits for before it competes.
    waits_for: Option<&'a str>,
}

impl<'a> Task<'a> {
    pub(super) fn of(Seen { state, bound, .. }: &'a Seen, note: Option<&'a Note>) -> Self {
        let certain_for_seconds = (state.role == Role::Leading).then(|| bound.left().as_secs_f64());
        let waits_for = note.filter(|note| note.waits).map(|note| note.what.as_str());
        Self { state, certain_for_seconds, waits_for }
    }
}

pub(super) async fn tasks(State(shown): State<Shown>) -> Response {
    // A thousand tasks take milliseconds to write down, which the control thread has better use for.
    let written = tokio::task::spawn_blocking(move || {
        let (seen, notes) = (shown.tasks.all(), shown.readiness.notes());
        let tasks = seen.iter().map(|seen| Task::of(seen, notes.get(&seen.state.name)));
        serde_json::to_string_pretty(&All { time: Timestamp::now(), tasks: tasks.collect() })
    });
    match written.await {
        Ok(Ok(json)) => ([(CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(panicked) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panicked}\n")).into_response(),
    }
}
