//! Whether what has to move by itself still does: each task's loop, which renews its Lease, and the epoch ticker, which
//! ends components. `/livez` tells it; and where it stays so, the process ends ([`Vigil`]): nobody need ask.
//!
//! That the control thread itself is stuck nobody on it can tell. It answers nothing then, and so neither `/livez`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leasehold_core::time::BootTime;
use tokio::task::JoinHandle;

use crate::clock;

/// So much later than it is due something may move on: a machine can be busy.
const LATE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether to give up.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row that find the same thing overdue end the process. Looks are counted and not time: a
/// process that was stopped, and goes on, or a machine that was suspended, has everything overdue at once, for a moment.
const LOOKS_MAX: u32 = 10;

/// By when something has to have moved on, told by itself each time that it does.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<AtomicU64>);

impl Default for Pulse {
    /// Nothing is due yet.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Pulse {
    /// It moves on by `at`; `None`: it has nothing to do by itself.
    pub fn due(&self, at: Option<BootTime>) {
        self.0.store(at.map_or(u64::MAX, BootTime::as_nanos), Ordering::Relaxed);
    }

    /// Whether it has not moved on when it should have.
    pub fn is_late(&self) -> bool {
        self.late(clock::boot()).is_some()
    }

    /// For how long it is overdue; `None` where that is not worth a word.
    fn late(&self, now: BootTime) -> Option<Duration> {
        let late = now.since(BootTime::from_nanos(self.0.load(Ordering::Relaxed)));
        (late > LATE_MAX).then_some(late)
    }
}

/// What has to move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Ticker,
    Loop(String),
}

/// What has not moved, and for how long after it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck(Part, Duration);

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.1.as_secs();
        match &self.0 {
            Part::Ticker => {
                write!(f, "the epoch ticker is {secs} s late: a component might not be stopped in time")
            }
            Part::Loop(task) => write!(f, "task {task}: its loop is {secs} s late: its lease is not renewed"),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Liveness(Mutex<BTreeMap<Part, Pulse>>);

impl Liveness {
    /// With the pulse of the epoch ticker, and no task yet.
    pub fn new(ticker: Pulse) -> Self {
        Self(Mutex::new(BTreeMap::from([(Part::Ticker, ticker)])))
    }

    /// The pulse of this task's loop.
    pub fn of_loop(&self, task: &str) -> Pulse {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry(Part::Loop(task.to_owned())).or_default().clone()
    }

    /// What does not move.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.stuck_at(clock::boot())
    }

    fn stuck_at(&self, now: BootTime) -> Vec<Stuck> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(part, pulse)| Some(Stuck(part.clone(), pulse.late(now)?))).collect()
    }

    /// Looks each `pause`, and ends when something has not moved for so many looks that it will not any more.
    ///
    /// A task of its own, to be spawned on the thread of the loops: it waits in the same queue as they do, behind those
    /// that are due already, so that between two looks each loop has had its turn, however long that takes a machine
    /// that has too much to do.
    pub fn given_up(self: Arc<Self>, pause: Duration) -> JoinHandle<Stuck> {
        tokio::spawn(async move {
            let mut vigil = Vigil::default();
            loop {
                tokio::time::sleep(pause).await;
                if let Some(stuck) = vigil.look(self.stuck()) {
                    return stuck;
                }
            }
        })
    }
}

/// Counts the looks in a row at which something was stuck.
#[derive(Debug, Default)]
struct Vigil(BTreeMap<Part, u32>);

impl Vigil {
    fn look(&mut self, stuck: Vec<Stuck>) -> Option<Stuck> {
        let before = std::mem::take(&mut self.0);
        for Stuck(part, _) in &stuck {
            let looks = before.get(part).map_or(1, |looks| looks + 1);
            self.0.insert(part.clone(), looks);
        }
        stuck.into_iter().find(|Stuck(part, _)| self.0[part] >= LOOKS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(secs: u32) -> BootTime {
        BootTime::ZERO + secs * SECOND
    }

    #[test]
    fn a_loop_that_is_late_is_named_and_one_that_only_waits_is_not() {
        let ticker = Pulse::default();
        let liveness = Liveness::new(ticker.clone());
        let (late, waits) = (liveness.of_loop("late"), liveness.of_loop("waits"));
        ticker.due(Some(at(100)));
        late.due(Some(at(90)));
        waits.due(None);
        assert_eq!(liveness.stuck_at(at(95)), []);
        let [stuck] = &liveness.stuck_at(at(96))[..] else { panic!("one of them is late") };
        assert_eq!(stuck.to_string(), "task late: its loop is 6 s late: its lease is not renewed");
        late.due(Some(at(200)));
        let [stuck] = &liveness.stuck_at(at(110))[..] else { panic!("one of them is late") };
        assert!(stuck.to_string().contains("epoch ticker is 10 s late"), "{stuck}");
    }

    #[test]
    fn only_what_stays_stuck_is_given_up_and_a_process_that_goes_on_is_not() {
        let stuck = || vec![Stuck(Part::Ticker, 60 * SECOND)];
        let mut vigil = Vigil::default();
        for _ in 0..100 {
            // Whatever else is stuck at times.
            for _ in 1..LOOKS_MAX {
                assert_eq!(vigil.look(stuck()), None);
            }
            assert_eq!(vigil.look(vec![Stuck(Part::Loop("a".into()), 6 * SECOND)]), None);
        }
        let given_up = (0..LOOKS_MAX).find_map(|_| vigil.look(stuck()));
        assert_eq!(given_up, Some(Stuck(Part::Ticker, 60 * SECOND)));
    }

    #[tokio::test]
    async fn what_does_not_move_any_more_is_given_up_without_being_asked() {
        let ticker = Pulse::default();
        ticker.due(Some(BootTime::from_nanos(1)));
        let given_up = Arc::new(Liveness::new(ticker)).given_up(Duration::from_millis(1)).await;
        assert_eq!(given_up.expect("it looks").0, Part::Ticker);
    }

    /// A thousand loops that each had to wait for somebody who reads the log, say.
    #[tokio::test]
    async fn loops_that_move_slowly_because_there_are_many_are_not_given_up() {
        let liveness = Arc::new(Liveness::new(Pulse::default()));
        let given_up = liveness.clone().given_up(Duration::from_millis(1));
        let mut loops = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let pulse = liveness.of_loop(&number.to_string());
            pulse.due(Some(BootTime::from_nanos(1)));
            loops.spawn(async move {
                std::thread::sleep(Duration::from_millis(2));
                pulse.due(None);
            });
        }
        loops.join_all().await;
        assert!(!given_up.is_finished(), "{:?}", given_up.await);
    }
}
