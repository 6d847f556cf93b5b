//! One task, looked at: what to answer now, and when that changes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use leasehold_core::time::BootTime;
use tokio::sync::watch;

use super::answer::{Answer, Leader};
use crate::{
    clock,
    report::tasks::{Bound, Seen, TaskState, Tasks},
};

/// See the module's documentation.
pub(super) struct Watched {
    state: watch::Receiver<Arc<TaskState>>,
    bound: Bound,
    holder_bound: Bound,
    /// The news, as it was when somebody last looked.
    last: Mutex<News>,
}

#[derive(Clone)]
struct News {
    version: u64,
    leader: Leader,
    since: Timestamp,
}

impl Watched {
    /// The task of this name.
    pub(super) fn new(tasks: &Tasks, name: &str) -> Option<Self> {
        let Seen { state, bound, holder_bound } = tasks.one(name)?;
        let leader = Leader::of(&state, Duration::ZERO, Duration::ZERO);
        let since = Timestamp::now();
        // So that it grows over restarts, too: nobody hears of news a thousand times a second.
        let version = u64::try_from(since.as_millisecond()).unwrap_or_default();
        let last = Mutex::new(News { version, leader, since });
        Some(Self { state: tasks.follow(name)?, bound, holder_bound, last })
    }

    /// What there is now, by the clock of now: whoever asks need not have been told that a time is over.
    pub(super) fn answer(&self) -> Answer {
        self.look().0
    }

    /// And when it may become another by time alone.
    fn look(&self) -> (Answer, Option<BootTime>) {
        // One after the other, so that what was seen first does not become the later news.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, certain, believed) = self.consistent();
        let leader = Leader::of(&state, certain, believed);
        if leader != last.leader {
            *last = News { version: last.version + 1, leader, since: Timestamp::now() };
        }
        let until = match &last.leader {
            Leader::Own(_) | Leader::Ending(..) => Some(self.bound.until()),
            Leader::Other(_) => Some(self.holder_bound.until()),
            Leader::Uncertain(_) => None,
        };
        let News { version, leader, since } = last.clone();
        let answer = Answer {
            version,
            leader,
            since,
            task: state.name.clone(),
            lease: state.lease.clone(),
            namespace: state.namespace.clone(),
            identity: state.identity.clone(),
            certain,
        };
        (answer, until)
    }

    /// The state, and the times that belong to it: one term's token is not told with the next one's time.
    fn consistent(&self) -> (Arc<TaskState>, Duration, Duration) {
        loop {
            let state = self.state.borrow().clone();
            let (certain, believed) = (self.bound.left(), self.holder_bound.left());
            if Arc::ptr_eq(&state, &self.state.borrow()) {
                return (state, certain, believed);
            }
        }
    }

    /// The first answer that is not of this version.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(super) async fn after(&self, version: u64) -> Answer {
        let mut state = self.state.clone();
        loop {
            // Before it is looked at, so that no change is missed.
            state.mark_unchanged();
            let (answer, until) = self.look();
            if answer.version != version {
                return answer;
            }
            let over = async {
                match until {
                    Some(until) => clock::sleep_towards(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    // Nobody tells of the task any more: only time may change what there is.
                    match self.look().1 {
                        Some(until) => clock::sleep_towards(until).await,
                        None => std::future::pending().await,
                    }
                },
                () = over => {}
            }
        }
    }

    /// Looks whenever something was told, and when a time is over, so that news has its own time also where nobody asks; it
    /// never ends.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut version = self.answer().version;
        loop {
            version = self.after(version).await.version;
        }
    }
}
