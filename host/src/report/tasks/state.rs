//! What is known of a task, as `/tasks` shows it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::report::history::History;

/// A task as it is. Its fields are those of `/tasks`; all of them are always there, and null where there is nothing.
/// Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskState {
    /// The task's name.
    pub name: String,
    /// The Lease's name.
    pub lease: String,
    /// The Lease's namespace, once it is known.
    pub namespace: Option<String>,
    /// What this replica calls itself on the Lease.
    pub identity: Option<String>,
    /// What it does about the Lease.
    pub role: Role,
    /// Who holds the Lease, as this replica last saw it; this one itself while it leads. Null: nobody, or it is not known.
    pub holder: Option<String>,
    /// Why `holder` may be old: the Lease cannot be watched for now.
    pub holder_unsure: Option<String>,
    /// This replica's term, while it leads.
    pub term: Option<TermState>,
    /// The last terms of this replica, the newest last; at most 10.
    pub past_terms: VecDeque<PastTerm>,
    /// What is known of modules.
    pub module: ModuleState,
    /// What runs.
    pub run: Option<RunState>,
    /// The last runs, the newest last; at most 10.
    pub past_runs: VecDeque<PastRun>,
    /// The newest report of progress that was told of; of a run that has ended, too.
    pub progress: Option<Progress>,
    /// How many bytes the checkpoint on the Lease has, as last seen.
    pub checkpoint_bytes: Option<usize>,
    /// Whether this Pod carries the leader's label; null where that is not asked for.
    pub leader_label: Option<bool>,
    /// Who has held the Lease, and which modules took over.
    #[serde(flatten)]
    pub history: History,
}

/// What a replica does about its Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It does not compete yet.
    Starting,
    /// It competes.
    Standby,
    /// It leads.
    Leading,
    /// It does not compete: the Lease is marked as another task's.
    OtherTask,
}

/// A term that lasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TermState {
    /// The fencing token.
    pub token: u64,
    /// When it began.
    pub since: Timestamp,
    /// Somebody, or the API server, wants another replica to lead.
    pub step_down_requested: bool,
    /// Why it is about to end, if it is: one of the stop reasons.
    pub ending: Option<String>,
}

/// A term that is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastTerm {
    /// The fencing token.
    pub token: u64,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// Whether by a release; otherwise the Lease was lost.
    pub released: bool,
    /// Why, in words.
    pub why: String,
}

/// Modules, by their digests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleState {
    /// That runs.
    pub running: Option<String>,
    /// That would be started next.
    pub ready: Option<String>,
    /// That is ready, while another one runs.
    pub waiting: Option<WaitingModule>,
    /// The newest that has come through its probation, here or on another replica.
    pub good: Option<String>,
    /// That has failed in its probation, here or on another replica, and is not run where there is another.
    pub refused: Option<Rejection>,
    /// The last one that was not taken at all. It stays here when a later one is taken.
    pub rejected: Option<Rejection>,
}

/// A module that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingModule {
    /// Which.
    pub digest: String,
    /// For what, in words.
    pub why: &'static str,
}

/// A module that is not run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Null where its bytes could not be had.
    pub digest: Option<String>,
    /// In words.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// A run that lasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunState {
    /// Its term's token.
    pub token: u64,
    /// Its module.
    pub digest: String,
    /// When it began.
    pub since: Timestamp,
    /// Why it was asked to stop, if it was.
    pub stop_requested: Option<String>,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRun {
    /// Its term's token.
    pub token: u64,
    /// Its module; null where it is not known.
    pub digest: Option<String>,
    /// When it began.
    pub since: Option<Timestamp>,
    /// When it ended.
    pub until: Timestamp,
    /// How: one of the words of `guest-stopped` in the log.
    pub outcome: &'static str,
    /// Why it was to end, if it was: one of the stop reasons.
    pub reason: Option<String>,
    /// What the component, or the runtime, said about it; at most 1 KiB.
    pub detail: Option<String>,
    /// How long it took to end when it was to, in milliseconds.
    pub stop_millis: Option<f64>,
}

/// A report of progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The component's words; at most 1 KiB.
    pub message: String,
    /// When it reported.
    pub at: Timestamp,
}

impl TaskState {
    /// Before anything is told of it.
    pub(crate) fn starting(name: &str, lease: &str) -> Self {
        Self {
            name: name.to_owned(),
            lease: lease.to_owned(),
            namespace: None,
            identity: None,
            role: Role::Starting,
            holder: None,
            holder_unsure: None,
            term: None,
            past_terms: VecDeque::new(),
            module: ModuleState::default(),
            run: None,
            past_runs: VecDeque::new(),
            progress: None,
            checkpoint_bytes: None,
            leader_label: None,
            history: History::default(),
        }
    }
}
