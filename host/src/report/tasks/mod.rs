//! The present state of each task, and a little of its past: what `/tasks` on the admin address shows, and whatever else
//! wants to know of now and not of everything that happened.
//!
//! [`Report`](super::Report) writes it, as it hears of things. Readers get a snapshot that nothing changes any more; they
//! may look once ([`Tasks::all`]), wait for the next state of a task ([`Tasks::follow`]), or hear of every change of any
//! ([`Tasks::changes`]). Renewals are no changes: until when a term is certain is read apart from them ([`Bound`]).

mod state;
mod teller;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leasehold_core::time::BootTime;
use tokio::sync::{broadcast, watch};

pub use state::{
    ModuleState, PastRun, PastTerm, Progress, Rejection, Role, RunState, TaskState, TermState, WaitingModule,
};
pub(super) use teller::RunEnd;
pub use teller::TaskTeller;

use crate::{clock, log::Subject};

/// So many changes wait for a reader of them; one that is slower is told how many it has missed.
const CHANGES_MAX: usize = 64;

/// Until when something is certain, shared with who renews it.
#[derive(Clone, Debug, Default)]
pub struct Bound(Arc<AtomicU64>);

impl Bound {
    fn set(&self, until: BootTime) {
        self.0.store(until.as_nanos(), Ordering::SeqCst);
    }

    /// By the boot clock.
    pub fn until(&self) -> BootTime {
        BootTime::from_nanos(self.0.load(Ordering::SeqCst))
    }

    /// For how long from now on; zero where it is not.
    pub fn left(&self) -> Duration {
        self.until().since(clock::boot())
    }
}

/// A task as readers see it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As it is.
    pub state: Arc<TaskState>,
    /// Until when its term is certain.
    pub bound: Bound,
    /// Until when another holder may lead, if it is not seen to renew before.
    pub holder_bound: Bound,
}

struct Told {
    state: watch::Sender<Arc<TaskState>>,
    bound: Bound,
    holder_bound: Bound,
}

impl Told {
    fn new(state: TaskState) -> Arc<Self> {
        let (bound, holder_bound) = (Bound::default(), Bound::default());
        Arc::new(Self { state: watch::Sender::new(Arc::new(state)), bound, holder_bound })
    }

    /// Sets one of its bounds. A renewal is no news to whoever waits for the time that it had. But they have to hear of an
    /// earlier one; and whoever has seen that the time is over waits for nothing more, so they have to hear that it is not.
    fn certain_until(&self, bound: &Bound, until: BootTime) {
        let before = bound.until();
        bound.set(until);
        // After it was set, so that nobody can have looked in between and seen the one before, and that it is over.
        let now = clock::boot();
        if until < before || (before <= now && now < until) {
            self.state.send_modify(|_| {});
        }
    }

    fn seen(&self) -> Seen {
        let (bound, holder_bound) = (self.bound.clone(), self.holder_bound.clone());
        Seen { state: self.state.borrow().clone(), bound, holder_bound }
    }
}

/// See the module's documentation.
pub struct Tasks {
    tasks: BTreeMap<String, Arc<Told>>,
    changes: broadcast::Sender<Arc<TaskState>>,
}

impl Tasks {
    /// None of them, given by their names and those of their Leases, has begun.
    pub fn new<'a>(tasks: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let told = |(name, lease): (&str, &str)| (name.to_owned(), Told::new(TaskState::starting(name, lease)));
        let tasks = tasks.map(told).collect();
        Self { tasks, changes: broadcast::Sender::new(CHANGES_MAX) }
    }

    /// All of them as they are, by name.
    pub fn all(&self) -> Vec<Seen> {
        self.tasks.values().map(|told| told.seen()).collect()
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }

    /// The task of this name as it is.
    pub fn one(&self, name: &str) -> Option<Seen> {
        self.tasks.get(name).map(|told| told.seen())
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
        let told = self.tasks.get(&*subject.task).cloned();
        let told = told.unwrap_or_else(|| Told::new(TaskState::starting(&subject.task, &subject.lease)));
        let teller = TaskTeller { told, changes: self.changes.clone() };
        let namespace = subject.lease.rsplit_once('/').map(|(namespace, _)| namespace.to_owned());
        let identity = subject.identity.to_string();
        teller.change(|state| (state.namespace, state.identity) = (namespace, Some(identity)));
        teller
    }
}
