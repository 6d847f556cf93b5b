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
