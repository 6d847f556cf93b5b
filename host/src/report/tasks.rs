//! The present state of each task, and a little of its past: what `/tasks` on the admin address shows, and whatever else
//! wants to know of now and not of everything that happened.
//!
//! [`Report`](super::Report) writes it, as it hears of things. Readers get a snapshot that nothing changes any more; they
//! may look once ([`Tasks::all`]), wait for the next state of a task ([`Tasks::follow`]), or hear of every change of any
//! ([`Tasks::changes`]). Renewals are no changes: until when a term is certain is read apart from them ([`Bound`]).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use leasehold_core::{election::Term, task::Digest, time::BootTime};
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use crate::{clock, log::Subject};

/// So many of the last runs, and of the last terms, are remembered.
const REMEMBERED_MAX: usize = 10;
/// Of what a component or a module's error says, so much.
const TEXT_BYTES_MAX: usize = 1024;
/// So many changes wait for a reader of them; one that is slower is told how many it has missed.
const CHANGES_MAX: usize = 64;

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
    /// The last one that was not taken. It stays here when a later one is taken.
    pub rejected: Option<Rejection>,
}

/// A module that was not taken.
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

/// Until when a term is certain, shared with who renews it.
#[derive(Clone, Debug, Default)]
pub struct Bound(Arc<AtomicU64>);

impl Bound {
    fn set(&self, until: BootTime) {
        self.0.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// For how long from now on; zero where it is not.
    pub fn left(&self) -> Duration {
        BootTime::from_nanos(self.0.load(Ordering::Relaxed)).since(clock::boot())
    }
}

/// A task as readers see it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As it is.
    pub state: Arc<TaskState>,
    /// Until when its term is certain.
    pub bound: Bound,
}

struct Told {
    state: watch::Sender<Arc<TaskState>>,
    bound: Bound,
}

/// See the module's documentation.
pub struct Tasks {
    tasks: BTreeMap<String, Arc<Told>>,
    changes: broadcast::Sender<Arc<TaskState>>,
}

impl Tasks {
    /// None of them, given by their names and those of their Leases, has begun.
    pub fn new<'a>(tasks: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let told = |name: &str, lease: &str| {
            let state = TaskState::starting(name, lease);
            Arc::new(Told { state: watch::Sender::new(Arc::new(state)), bound: Bound::default() })
        };
        let tasks = tasks.map(|(name, lease)| (name.to_owned(), told(name, lease))).collect();
        Self { tasks, changes: broadcast::Sender::new(CHANGES_MAX) }
    }

    /// All of them as they are, by name.
    pub fn all(&self) -> Vec<Seen> {
        self.tasks.values().map(|told| Seen { state: told.state.borrow().clone(), bound: told.bound.clone() }).collect()
    }

    /// The task of this name, as it is and as it becomes.
    pub fn follow(&self, name: &str) -> Option<watch::Receiver<Arc<TaskState>>> {
        Some(self.tasks.get(name)?.state.subscribe())
    }

    /// Each change of any of them from now on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<TaskState>> {
        self.changes.subscribe()
    }

    /// Who tells of the task of this subject; of one that this was not made with, nobody hears.
    pub fn of_task(&self, subject: &Subject) -> TaskTeller {
        let told = self.tasks.get(&*subject.task).cloned().unwrap_or_else(|| {
            let state = Arc::new(TaskState::starting(&subject.task, &subject.lease));
            Arc::new(Told { state: watch::Sender::new(state), bound: Bound::default() })
        });
        let teller = TaskTeller { told, changes: self.changes.clone() };
        let namespace = subject.lease.rsplit_once('/').map(|(namespace, _)| namespace.to_owned());
        let identity = subject.identity.to_string();
        teller.change(|state| (state.namespace, state.identity) = (namespace, Some(identity)));
        teller
    }
}

impl TaskState {
    fn starting(name: &str, lease: &str) -> Self {
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
        }
    }
}

/// Tells of one task.
pub struct TaskTeller {
    told: Arc<Told>,
    changes: broadcast::Sender<Arc<TaskState>>,
}

impl TaskTeller {
    fn change(&self, change: impl FnOnce(&mut TaskState)) {
        let before = self.told.state.borrow().clone();
        let mut after = TaskState::clone(&before);
        change(&mut after);
        if *before != after {
            let after = Arc::new(after);
            self.told.state.send_replace(after.clone());
            // Nobody need listen.
            let _ = self.changes.send(after);
        }
    }

    pub(super) fn role(&self, role: Role) {
        self.change(|state| state.role = role);
    }

    /// The Lease is not, or not any more, another task's.
    pub(super) fn may_compete_again(&self) {
        // Told with each renewal.
        if self.told.state.borrow().role == Role::OtherTask {
            self.role(Role::Standby);
        }
    }

    pub(super) fn leading(&self, term: Term) {
        let term = TermState { token: term.token, since: Timestamp::now(), step_down_requested: false };
        self.change(|state| {
            state.role = Role::Leading;
            state.holder.clone_from(&state.identity);
            state.term = Some(term);
        });
    }

    pub(super) fn step_down_requested(&self) {
        self.change(|state| {
            if let Some(term) = &mut state.term {
                term.step_down_requested = true;
            }
        });
    }

    pub(super) fn term_ended(&self, term: Term, released: bool, why: &str) {
        self.change(|state| {
            state.role = Role::Standby;
            let until = Timestamp::now();
            let since = state.term.take().map_or(until, |term| term.since);
            if state.holder == state.identity {
                state.holder = None;
            }
            let ended = PastTerm { token: term.token, since, until, released, why: shortened(why) };
            remember(&mut state.past_terms, ended);
        });
    }

    pub(super) fn certain_until(&self, until: BootTime) {
        self.told.bound.set(until);
    }

    pub(super) fn holder(&self, holder: Option<&str>) {
        // Told with each step.
        if self.told.state.borrow().holder.as_deref() != holder {
            self.change(|state| state.holder = holder.map(str::to_owned));
        }
    }

    pub(super) fn holder_unsure(&self, why: Option<&str>) {
        self.change(|state| state.holder_unsure = why.map(shortened));
    }

    pub(super) fn module_ready(&self, digest: &Digest) {
        self.change(|state| state.module.ready = Some(digest.to_string()));
    }

    pub(super) fn module_rejected(&self, digest: Option<&str>, why: &str) {
        let rejected = Rejection { digest: digest.map(str::to_owned), why: shortened(why), at: Timestamp::now() };
        self.change(|state| state.module.rejected = Some(rejected));
    }

    pub(super) fn run_started(&self, term: Term, digest: &Digest) {
        let digest = digest.to_string();
        let run = RunState { token: term.token, digest: digest.clone(), since: Timestamp::now(), stop_requested: None };
        self.change(|state| {
            state.module.running = Some(digest);
            state.run = Some(run);
        });
    }

    pub(super) fn stop_requested(&self, reason: &str) {
        self.change(|state| {
            if let Some(run) = &mut state.run {
                run.stop_requested = Some(reason.to_owned());
            }
        });
    }

    pub(super) fn run_ended(&self, term: Term, ended: RunEnd<'_>) {
        let RunEnd { outcome, reason, detail, took } = ended;
        self.change(|state| {
            let run = state.run.take();
            let ended = PastRun {
                token: term.token,
                digest: run.as_ref().map(|run| run.digest.clone()),
                since: run.map(|run| run.since),
                until: Timestamp::now(),
                outcome,
                reason: reason.map(str::to_owned),
                detail: detail.map(shortened),
                stop_millis: took.map(|took| took.as_secs_f64() * 1e3),
            };
            state.module.running = None;
            remember(&mut state.past_runs, ended);
        });
    }

    pub(super) fn progress(&self, ago: Duration, message: &str) {
        let at = Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH);
        self.change(|state| state.progress = Some(Progress { message: shortened(message), at }));
    }

    pub(super) fn checkpoint_bytes(&self, bytes: Option<usize>) {
        // Told with each renewal.
        if self.told.state.borrow().checkpoint_bytes != bytes {
            self.change(|state| state.checkpoint_bytes = bytes);
        }
    }
}

/// How a run has ended.
pub(super) struct RunEnd<'a> {
    pub(super) outcome: &'static str,
    pub(super) reason: Option<&'a str>,
    pub(super) detail: Option<&'a str>,
    pub(super) took: Option<Duration>,
}

fn remember<T>(past: &mut VecDeque<T>, newest: T) {
    if past.len() == REMEMBERED_MAX {
        past.pop_front();
    }
    past.push_back(newest);
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> (Tasks, TaskTeller) {
        let tasks = Tasks::new([("nightly", "night"), ("other", "other")].into_iter());
        let subject = Subject { task: "nightly".into(), lease: "jobs/night".into(), identity: "pod-1_0a".into() };
        let teller = tasks.of_task(&subject);
        (tasks, teller)
    }

    const TERM: Term = Term { token: 7 };

    #[test]
    fn a_term_and_its_run_are_shown_while_they_last_and_remembered_after() {
        let (tasks, teller) = tasks();
        let state = || tasks.all()[0].state.clone();
        assert_eq!((state().role, state().namespace.as_deref()), (Role::Starting, Some("jobs")));
        teller.role(Role::Standby);
        teller.may_compete_again();
        teller.role(Role::OtherTask);
        assert_eq!(state().role, Role::OtherTask);
        teller.may_compete_again();
        assert_eq!(state().role, Role::Standby);
        teller.holder(Some("pod-2_0b"));
        assert_eq!(state().holder.as_deref(), Some("pod-2_0b"));
        teller.leading(TERM);
        teller.run_started(TERM, &"sha256:a".into());
        teller.stop_requested("shutdown");
        let now = state();
        assert_eq!((now.role, now.holder.as_deref()), (Role::Leading, Some("pod-1_0a")));
        assert_eq!(now.run.as_ref().and_then(|run| run.stop_requested.as_deref()), Some("shutdown"));
        assert_eq!(now.module.running.as_deref(), Some("sha256:a"));
        let took = Some(Duration::from_millis(20));
        teller.run_ended(TERM, RunEnd { outcome: "returned", reason: Some("shutdown"), detail: None, took });
        teller.term_ended(TERM, true, "shutdown");
        let now = state();
        assert_eq!((now.role, &now.term, &now.run, &now.holder), (Role::Standby, &None, &None, &None));
        assert_eq!((now.past_terms.len(), now.past_terms[0].released), (1, true));
        assert_eq!((now.past_runs[0].digest.as_deref(), now.past_runs[0].stop_millis), (Some("sha256:a"), Some(20.0)));
        assert_eq!(tasks.all()[1].state.role, Role::Starting);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_is_kept() {
        let (tasks, teller) = tasks();
        for token in 0..100 {
            let detail = "ü".repeat(TEXT_BYTES_MAX);
            let ended = RunEnd { outcome: "error", reason: None, detail: Some(&detail), took: None };
            teller.run_ended(Term { token }, ended);
            teller.term_ended(Term { token }, false, &detail);
        }
        let state = tasks.all()[0].state.clone();
        assert_eq!((state.past_runs.len(), state.past_terms.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert_eq!((state.past_runs[9].token, state.past_terms[9].token), (99, 99));
        assert_eq!(state.past_runs[0].detail.as_ref().map(String::len), Some(TEXT_BYTES_MAX));
    }

    #[test]
    fn a_reader_hears_of_each_change_once_and_of_no_renewal() {
        let (tasks, teller) = tasks();
        let (mut changes, one) = (tasks.changes(), tasks.follow("nightly").expect("it is there"));
        teller.certain_until(clock::boot() + Duration::from_secs(100));
        teller.holder(None);
        assert!(changes.is_empty() && !one.has_changed().expect("it lasts"));
        assert!(tasks.all()[0].bound.left() > Duration::from_secs(50));
        teller.checkpoint_bytes(Some(8));
        assert_eq!(changes.try_recv().map(|state| state.checkpoint_bytes), Ok(Some(8)));
        assert!(changes.is_empty() && one.has_changed().expect("it lasts"));
        assert!(tasks.follow("nobody").is_none());
    }
}
