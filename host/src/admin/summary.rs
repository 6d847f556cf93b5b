//! What a list of many tasks shows of one: less than a tenth of what `/tasks` has.

use jiff::Timestamp;
use serde::Serialize;

use crate::report::{
    health::Note,
    tasks::{Rejection, Role, TaskState},
};

/// Of [`TaskState`]. Every field is always there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    name: &'a str,
    lease: &'a str,
    namespace: Option<&'a str>,
    identity: Option<&'a str>,
    role: Role,
    holder: Option<&'a str>,
    holder_since: Option<Timestamp>,
    holder_unsure: Option<&'a str>,
    token: Option<u64>,
    step_down_requested: bool,
    running: Option<&'a str>,
    stop_requested: Option<&'a str>,
    progress: Option<&'a str>,
    last_run: Option<LastRun<'a>>,
    refused: Option<&'a Rejection>,
    /// What it waits for before it competes.
    waits_for: Option<&'a str>,
    /// What there is to know of a newer module.
    note: Option<&'a str>,
}

/// The run that ended last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastRun<'a> {
    outcome: &'static str,
    until: Timestamp,
    detail: Option<&'a str>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(state: &'a TaskState, note: Option<&'a Note>) -> Self {
        let words = |waits: bool| note.filter(|note| note.waits == waits).map(|note| note.what.as_str());
        Self {
            name: &state.name,
            lease: &state.lease,
            namespace: state.namespace.as_deref(),
            identity: state.identity.as_deref(),
            role: state.role,
            holder: state.holder.as_deref(),
            holder_since: state.history.holder_since(),
            holder_unsure: state.holder_unsure.as_deref(),
            token: state.term.as_ref().map(|term| term.token),
            step_down_requested: state.term.as_ref().is_some_and(|term| term.step_down_requested),
            running: state.module.running.as_deref(),
            stop_requested: state.run.as_ref().and_then(|run| run.stop_requested.as_deref()),
            progress: state.progress.as_ref().map(|progress| progress.message.as_str()),
            last_run: state.past_runs.back().map(|run| LastRun {
                outcome: run.outcome,
                until: run.until,
                detail: run.detail.as_deref(),
            }),
            refused: state.module.refused.as_ref(),
            waits_for: words(true),
            note: words(false),
        }
    }
}
