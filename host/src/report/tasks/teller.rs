//! Writes down what becomes of a task.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use leasehold_core::{
    election::Term,
    lease::LeaseRecord,
    task::{Digest, ModulesView, StopReason},
    time::BootTime,
};
use tokio::sync::broadcast;

use super::{
    Told,
    state::{PastRun, PastTerm, Progress, Rejection, Role, RunState, TaskState, TermState, WaitingModule},
};

/// So many of the last runs, and of the last terms, are remembered.
const REMEMBERED_MAX: usize = 10;
/// Of what a component or a module's error says, so much.
const TEXT_BYTES_MAX: usize = 1024;

/// Tells of one task.
pub struct TaskTeller {
    pub(super) told: Arc<Told>,
    pub(super) changes: broadcast::Sender<Arc<TaskState>>,
}

impl TaskTeller {
    pub(super) fn change(&self, change: impl FnOnce(&mut TaskState)) {
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

    pub(in crate::report) fn role(&self, role: Role) {
        self.change(|state| state.role = role);
    }

    /// The Lease is not, or not any more, another task's.
    pub(in crate::report) fn may_compete_again(&self) {
        // Told with each renewal.
        if self.told.state.borrow().role == Role::OtherTask {
            self.role(Role::Standby);
        }
    }

    pub(in crate::report) fn leading(&self, term: Term) {
        let term = TermState { token: term.token, since: Timestamp::now(), step_down_requested: false, ending: None };
        self.change(|state| {
            state.role = Role::Leading;
            state.holder.clone_from(&state.identity);
            state.history.leading(state.identity.as_deref().unwrap_or_default(), term.token);
            state.term = Some(term);
        });
    }

    pub(in crate::report) fn step_down_requested(&self) {
        self.change(|state| {
            if let Some(term) = &mut state.term {
                term.step_down_requested = true;
            }
        });
    }

    pub(in crate::report) fn term_ended(&self, term: Term, released: bool, why: &str) {
        self.change(|state| {
            state.role = Role::Standby;
            let until = Timestamp::now();
            let since = state.term.take().map_or(until, |term| term.since);
            if state.holder == state.identity {
                state.holder = None;
            }
            state.history.ended();
            let ended = PastTerm { token: term.token, since, until, released, why: shortened(why) };
            remember(&mut state.past_terms, ended);
        });
    }

    /// Told with each step.
    pub(in crate::report) fn certain_until(&self, until: BootTime, ending: Option<StopReason>) {
        self.told.certain_until(&self.told.bound, until);
        self.ending(ending);
    }

    /// The same while this replica does not lead, or has begun to give the Lease back.
    pub(in crate::report) fn standing_by(&self, holder: Option<&str>, until: BootTime) {
        self.told.certain_until(&self.told.bound, BootTime::ZERO);
        // Its work has ended by itself, and it is given back.
        if self.told.state.borrow().term.as_ref().is_some_and(|term| term.ending.is_none()) {
            self.ending(Some(StopReason::SteppedDown));
        }
        if self.told.state.borrow().holder.as_deref() != holder {
            // Never the new one until the old one's time.
            self.told.holder_bound.set(BootTime::ZERO);
            self.change(|state| {
                state.holder = holder.map(str::to_owned);
                // Of this replica's own terms, it is told when they begin and end.
                if state.holder.is_none() || state.holder != state.identity {
                    state.history.holder(holder);
                }
            });
        }
        self.told.certain_until(&self.told.holder_bound, until);
    }

    /// What the Lease says of its holder, where that is another.
    pub(in crate::report) fn lease_seen(&self, record: Option<&LeaseRecord>) {
        let state = self.told.state.borrow().clone();
        let of_another = record.filter(|record| record.holder != state.identity);
        // Told with each renewal.
        if state.history.is_news(of_another) {
            self.change(|state| state.history.written(of_another));
        }
    }

    fn ending(&self, ending: Option<StopReason>) {
        let ending = ending.map(|reason| reason.to_string());
        if self.told.state.borrow().term.as_ref().is_some_and(|term| term.ending != ending) {
            self.change(|state| {
                if let Some(term) = &mut state.term {
                    term.ending = ending;
                }
            });
        }
    }

    pub(in crate::report) fn holder_unsure(&self, why: Option<&str>) {
        self.change(|state| state.holder_unsure = why.map(shortened));
    }

    /// The first module, before there is anything that could run it; of later ones, [`TaskTeller::modules`] tells.
    pub(in crate::report) fn module_ready(&self, digest: &Digest) {
        self.change(|state| state.module.ready = state.module.ready.take().or_else(|| Some(digest.to_string())));
    }

    /// What there is now. `elsewhere` is why something is refused that has not failed here.
    pub(in crate::report) fn modules(&self, view: &ModulesView, waiting: Option<WaitingModule>, elsewhere: &str) {
        let ModulesView { runs: _, next, waits: _, good, refused } = view;
        self.change(|state| {
            let module = &mut state.module;
            let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string);
            (module.ready, module.good, module.waiting) = (text(next), text(good), waiting);
            let known = module.refused.take().filter(|known| known.digest.as_deref() == refused.as_deref());
            module.refused = known.or_else(|| refused.as_ref().map(|refused| Rejection::now(Some(refused), elsewhere)));
        });
    }

    /// It has failed here, in this way.
    pub(in crate::report) fn module_refused(&self, digest: &Digest, why: &str) {
        self.change(|state| state.module.refused = Some(Rejection::now(Some(digest), why)));
    }

    pub(in crate::report) fn module_rejected(&self, digest: Option<&str>, why: &str) {
        self.change(|state| state.module.rejected = Some(Rejection::now(digest, why)));
    }

    pub(in crate::report) fn run_started(&self, term: Term, digest: &Digest) {
        let digest = digest.to_string();
        let run = RunState { token: term.token, digest: digest.clone(), since: Timestamp::now(), stop_requested: None };
        self.change(|state| {
            let before = state.past_runs.back().and_then(|run| run.digest.as_deref());
            state.history.run_started(run.token, before, &digest);
            state.module.running = Some(digest);
            state.run = Some(run);
        });
    }

    pub(in crate::report) fn stop_requested(&self, reason: &str) {
        self.change(|state| {
            if let Some(run) = &mut state.run {
                run.stop_requested = Some(reason.to_owned());
            }
        });
    }

    pub(in crate::report) fn run_ended(&self, term: Term, ended: RunEnd<'_>) {
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

    pub(in crate::report) fn progress(&self, ago: Duration, message: &str) {
        let at = Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH);
        self.change(|state| state.progress = Some(Progress { message: shortened(message), at }));
    }

    pub(in crate::report) fn leader_label(&self, on: bool) {
        self.change(|state| state.leader_label = Some(on));
    }

    pub(in crate::report) fn checkpoint_bytes(&self, bytes: Option<usize>) {
        // Told with each renewal.
        if self.told.state.borrow().checkpoint_bytes != bytes {
            self.change(|state| state.checkpoint_bytes = bytes);
        }
    }
}

/// How a run has ended.
pub(in crate::report) struct RunEnd<'a> {
    pub(in crate::report) outcome: &'static str,
    pub(in crate::report) reason: Option<&'a str>,
    pub(in crate::report) detail: Option<&'a str>,
    pub(in crate::report) took: Option<Duration>,
}

fn remember<T>(past: &mut VecDeque<T>, newest: T) {
    if past.len() == REMEMBERED_MAX {
        past.pop_front();
    }
    past.push_back(newest);
}

impl Rejection {
    fn now(digest: Option<&str>, why: &str) -> Self {
        Self { digest: digest.map(str::to_owned), why: shortened(why), at: Timestamp::now() }
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Bound, Seen, Tasks},
        *,
    };
    use crate::{clock, log::Subject};

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
        teller.standing_by(Some("pod-2_0b"), BootTime::ZERO);
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
        teller.standing_by(None, BootTime::ZERO);
        teller.certain_until(clock::boot() + Duration::from_secs(90), None);
        let (mut changes, one) = (tasks.changes(), tasks.follow("nightly").expect("it is there"));
        teller.certain_until(clock::boot() + Duration::from_secs(100), None);
        assert!(changes.is_empty() && !one.has_changed().expect("it lasts"));
        assert!(tasks.all()[0].bound.left() > Duration::from_secs(50));
        teller.checkpoint_bytes(Some(8));
        assert_eq!(changes.try_recv().map(|state| state.checkpoint_bytes), Ok(Some(8)));
        assert!(changes.is_empty() && one.has_changed().expect("it lasts"));
        assert!(tasks.follow("nobody").is_none());
    }

    #[test]
    fn a_term_that_is_to_end_says_why_and_one_that_is_given_back_is_not_certain_any_more() {
        let (tasks, teller) = tasks();
        let ending = || tasks.all()[0].state.term.as_ref().and_then(|term| term.ending.clone());
        let far = clock::boot() + Duration::from_secs(100);
        teller.leading(TERM);
        teller.certain_until(far, None);
        assert_eq!(ending(), None);
        teller.certain_until(far, Some(StopReason::Shutdown));
        assert_eq!(ending().as_deref(), Some("shutdown"));
        // Its guest is gone, and the Lease is being given back.
        teller.standing_by(Some("pod-1_0a"), BootTime::ZERO);
        assert_eq!(ending().as_deref(), Some("shutdown"));
        assert_eq!(tasks.all()[0].bound.left(), Duration::ZERO);
    }

    #[test]
    fn who_waits_for_a_holders_time_hears_when_it_becomes_shorter_and_when_it_is_not_over_after_all() {
        let (tasks, teller) = tasks();
        let (now, second) = (clock::boot(), Duration::from_secs(1));
        teller.standing_by(Some("pod-2_0b"), now + 100 * second);
        let mut state = tasks.follow("nightly").expect("it is there");
        teller.standing_by(Some("pod-2_0b"), now + 105 * second);
        assert!(!state.has_changed().expect("it lasts"), "a renewal is no change");
        teller.standing_by(Some("pod-2_0b"), now);
        assert!(state.has_changed().expect("it lasts"));
        state.mark_unchanged();
        assert_eq!(tasks.all()[0].holder_bound.left(), Duration::ZERO);
        // Whoever has seen that knows of no time to look again. The same holder is seen to have renewed.
        teller.standing_by(Some("pod-2_0b"), clock::boot() + 100 * second);
        assert!(state.has_changed().expect("it lasts"));
    }

    #[test]
    fn who_waits_hears_of_the_time_of_a_holder_that_is_new_and_of_an_own_term() {
        let (tasks, teller) = tasks();
        let (far, mut state) =
            (clock::boot() + Duration::from_secs(100), tasks.follow("nightly").expect("it is there"));
        // The last that is told of is that it may be believed.
        let mut believed_when_told = |bound: fn(&Seen) -> &Bound| {
            let told = state.has_changed().expect("it lasts");
            state.mark_unchanged();
            told && bound(&tasks.all()[0]).left() > Duration::ZERO
        };
        teller.standing_by(Some("pod-2_0b"), far);
        assert!(believed_when_told(|seen| &seen.holder_bound));
        teller.leading(TERM);
        assert!(!believed_when_told(|seen| &seen.bound));
        teller.certain_until(far, None);
        assert!(believed_when_told(|seen| &seen.bound));
    }
}
