//! One replica of one task: the election and the task, wired together.
//!
//! ```text
//! LeaseStore --Answered, Watched--> Election --Leadership--> Task --Start, AskToStop, End--> guest
//!     ^                                | ^                   |  ^                              |
//!     +--------------Send--------------+ +-----StepDown------+  +-------SteppedDown, Ended-----+
//!                                      ^                                                       |
//!                                      +-----------------Called (Answer goes back)-------------+
//! ```
//!
//! The supervisor drives this with real time and real stores, the simulator with made-up ones;
//! the order in which the two machines hear of things is decided here, and so is the same in both.

use crate::{
    candidate::{CandidateInput, CandidateRequest},
    checkpoint::{Answer, Call, CallId},
    election::{self, Election, ElectionConfig, Leadership, Notice, Reply, Request, RequestId, Term},
    label::{LabelInput, LabelNotice, LabelRequest},
    ports::{StoreFailure, WatchEvent},
    task::{
        Callback, Command, Digest, GuestEvent, Module, ModulesView, Remaining, RunId, StopReason, SwapNotice, Task,
        TaskConfig,
    },
    time::{BootTime, Now},
};

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A request was answered, or has failed.
    Answered(RequestId, Result<Reply, StoreFailure>),
    /// The watch told something.
    Watched(WatchEvent),
    /// It is proven that the process with this identity has ended.
    HolderEnded(String),
    /// Something happened to this replica's LeaseCandidate, in a coordinated election.
    Candidate(CandidateInput),
    /// This module is ready to be instantiated.
    Module(Module),
    /// This run's guest did something.
    Guest(RunId, GuestEvent),
    /// This run's guest asks for something about its checkpoint.
    Called(RunId, CallId, Call),
    /// Something became of the leader's label.
    Label(LabelInput),
    /// The host was asked to end.
    Shutdown,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to the store, and drop the request before. When to give up is told by the next
    /// [`Notice::RequestFailed`].
    Send {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        request: Request,
    },
    /// Send this about the LeaseCandidate, and drop the request before. When to give up is told by the next
    /// [`Notice::CandidacyFailed`].
    SendCandidate {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        request: CandidateRequest,
    },
    /// Send this about the leader's label, and drop the request before. When to give up is told by the next
    /// [`LabelNotice::Failed`].
    SendLabel {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        request: LabelRequest,
    },
    /// Instantiate the module and call `on-start-leading`.
    Start {
        /// To be given back with its events.
        run: RunId,
        /// What to instantiate.
        module: Digest,
        /// The term it runs in.
        term: Term,
    },
    /// Make `subscribe-stop` ready.
    AskToStop(RunId, StopReason),
    /// End the guest where it stands.
    End(RunId, StopReason),
    /// Tell the guest that waits for it.
    Answer(CallId, Answer),
    /// Instantiate the module beside what else runs, and make this call. It has a time limit, which whoever
    /// calls sees to.
    Call {
        /// To be given back with its end.
        run: RunId,
        /// What to instantiate.
        module: Digest,
        /// What to call.
        callback: Callback,
    },
    /// Tell people that nobody calls `on-new-leader` with this identity, because too many others wait.
    TellSkipped(String),
    /// Tell people about the election.
    Tell(Notice),
    /// Tell people that the guest will be started again after this delay.
    TellRestart(std::time::Duration),
    /// Tell people that the Lease is given up no earlier than this, because `on-stop-leading` has failed.
    TellKept {
        /// When whatever the term has permitted is over.
        until: BootTime,
    },
    /// Tell people what becomes of modules.
    TellModules(SwapNotice),
    /// Tell people about the leader's label.
    TellLabel(LabelNotice),
    /// No guest runs and the Lease is not held: the host may end.
    Exit,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Replica {
    election: Election,
    task: Task,
}

impl Replica {
    /// A replica that knows nothing and runs nothing. `seed` is for the jitter of retries.
    pub fn new(election: ElectionConfig, task: TaskConfig, seed: u64) -> Self {
        Self { election: Election::new(election, seed), task: Task::new(task) }
    }

    /// Takes in one input and returns what to do.
    ///
    /// The caller publishes [`Replica::leadership`] to the guest's gate *before* it acts.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Action> {
        use crate::{election::Input as ToElection, task::Input as ToTask};
        let (to_election, to_task) = match input {
            Input::Tick => (ToElection::Tick, ToTask::Tick),
            Input::Answered(id, result) => (ToElection::Answered(id, result), ToTask::Tick),
            Input::Watched(event) => (ToElection::Watched(event), ToTask::Tick),
            Input::HolderEnded(identity) => (ToElection::HolderEnded(identity), ToTask::Tick),
            Input::Candidate(input) => (ToElection::Candidate(input), ToTask::Tick),
            Input::Module(module) => (ToElection::Tick, ToTask::Module(module)),
            // It is gone: nothing more is written for it, not even by this step.
            Input::Guest(run, event @ GuestEvent::Ended(_)) if self.task.run() == Some(run) => {
                (ToElection::CallDropped, ToTask::Guest(run, event))
            }
            Input::Guest(run, event) => (ToElection::Tick, ToTask::Guest(run, event)),
            Input::Called(run, id, call) => {
                let acting = self.task.acting().filter(|(acting, _)| *acting == run);
                (ToElection::Called(id, acting.map(|(_, term)| term), call), ToTask::Tick)
            }
            Input::Label(input) => (ToElection::Tick, ToTask::Label(input)),
            Input::Shutdown => (ToElection::Tick, ToTask::Shutdown),
        };
        let mut actions = Vec::new();
        self.step_election(now, to_election, &mut actions);
        let acting = self.task.acting();
        self.step_task(now, to_task, &mut actions);
        if acting.is_some() && self.task.acting() != acting {
            self.step_election(now, election::Input::CallDropped, &mut actions);
        }
        for leader in self.new_leaders(&actions) {
            self.step_task(now, ToTask::NewLeader(leader), &mut actions);
        }
        actions
    }

    /// When [`Replica::step`] has to be called next if nothing else happens; after `now`.
    pub fn next_deadline(&self, now: BootTime) -> Option<BootTime> {
        [self.election.next_deadline(now), self.task.next_deadline()].into_iter().flatten().min()
    }

    /// Whether this replica leads at `now`.
    pub fn leadership(&self, now: BootTime) -> Leadership {
        self.election.leadership(now)
    }

    /// Why this replica's term is about to end, if it is: whoever works in it is to come to an end.
    pub fn ending(&self, now: BootTime) -> Option<StopReason> {
        let Leadership::Leading { certain, step_down, .. } = self.election.leadership(now) else { return None };
        self.task.giving_up().or(match (step_down, certain) {
            (true, _) => Some(StopReason::SteppedDown),
            (false, false) => Some(StopReason::LeadershipLost),
            (false, true) => None,
        })
    }

    /// Until when the holder that was last seen may lead: see [`Election::holder_until`].
    pub fn holder_until(&self) -> BootTime {
        self.election.holder_until()
    }

    /// What a replica that was asked to end waits for.
    pub fn remaining(&self) -> Option<Remaining> {
        self.task.remaining().or_else(|| self.election.remaining())
    }

    /// The run whose guest exists.
    pub fn run(&self) -> Option<RunId> {
        self.task.run()
    }

    /// Which modules there are.
    pub fn modules(&self) -> ModulesView {
        self.task.modules()
    }

    /// Whether all that carry the leader's label are to be watched: from the beginning each time that this becomes true.
    pub fn watches_label(&self) -> bool {
        self.task.watches_label()
    }

    /// Whether this module may yet be started, or called: it has to be at hand.
    pub fn needs(&self, module: &Digest) -> bool {
        self.task.needs(module)
    }

    /// Who leads, as the election has just told: another, or this replica.
    fn new_leaders(&self, actions: &[Action]) -> Vec<String> {
        let identity = |action: &Action| match action {
            Action::Tell(Notice::NewLeader(identity)) => Some(identity.clone()),
            Action::Tell(Notice::Leading(_)) => Some(self.election.identity().to_owned()),
            _ => None,
        };
        actions.iter().filter_map(identity).collect()
    }

    fn step_election(&mut self, now: Now, input: election::Input, actions: &mut Vec<Action>) {
        actions.extend(self.election.step(now, input).into_iter().map(|action| match action {
            election::Action::Send { id, request } => Action::Send { id, request },
            election::Action::SendCandidate { id, request } => Action::SendCandidate { id, request },
            election::Action::Tell(notice) => Action::Tell(notice),
            election::Action::Answer(id, answer) => Action::Answer(id, answer),
            election::Action::Withdrawn => Action::Exit,
        }));
    }

    fn step_task(&mut self, now: Now, input: crate::task::Input, actions: &mut Vec<Action>) {
        let leadership = self.election.leadership(now.boot);
        if let Some(on_lease) = self.election.seen_modules() {
            self.task.hear(&leadership, on_lease);
        }
        let commands = self.task.step(now.boot, &leadership, input);
        // Before anything is given up: the write that does that says it, too.
        if self.election.set_modules(self.task.on_lease(&leadership)) {
            self.step_election(now, election::Input::Tick, actions);
        }
        for command in commands {
            match command {
                Command::Start { run, module, term } => actions.push(Action::Start { run, module, term }),
                Command::AskToStop(run, reason) => actions.push(Action::AskToStop(run, reason)),
                Command::End(run, reason) => actions.push(Action::End(run, reason)),
                Command::Call { run, module, callback } => actions.push(Action::Call { run, module, callback }),
                Command::TellSkipped(identity) => actions.push(Action::TellSkipped(identity)),
                Command::TellRestart(delay) => actions.push(Action::TellRestart(delay)),
                Command::TellKept { until } => actions.push(Action::TellKept { until }),
                Command::TellModules(notice) => actions.push(Action::TellModules(notice)),
                Command::SendLabel { id, request } => actions.push(Action::SendLabel { id, request }),
                Command::TellLabel(notice) => actions.push(Action::TellLabel(notice)),
                // Nothing of the guest runs any more: the task's state says so, and is not asked again.
                Command::StepDown(stay_out) => self.step_election(now, election::Input::StepDown(stay_out), actions),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        election::Contest,
        lease::{Observation, Version},
        time::WallTime,
        timing::Timing,
    };

    fn at(boot: BootTime) -> Now {
        Now { boot, wall: WallTime::from_micros(1) }
    }

    /// The first request that is sent from `now` on, and when.
    fn sent(replica: &mut Replica, mut now: BootTime, input: Input) -> (RequestId, BootTime) {
        let mut actions = replica.step(at(now), input);
        loop {
            let send = actions.iter().find_map(|action| match action {
                Action::Send { id, .. } => Some(*id),
                _ => None,
            });
            match send {
                Some(id) => return (id, now),
                None => now = replica.next_deadline(now).expect("it has something to do"),
            }
            actions = replica.step(at(now), Input::Tick);
        }
    }

    /// One that leads, and when it has sent its last write.
    fn leading() -> (Replica, BootTime) {
        let (identity, task, timing) = ("me".into(), "nightly".into(), Timing::default());
        let election = ElectionConfig { identity, task, adopt: false, timing, contest: Contest::Open };
        let mut replica = Replica::new(election, TaskConfig::default(), 1);
        let (read, now) = sent(&mut replica, BootTime::ZERO + Duration::from_secs(1), Input::Tick);
        let missing = Reply::Read(Observation::Missing { deleted_at: None });
        let (write, now) = sent(&mut replica, now, Input::Answered(read, Ok(missing)));
        replica.step(at(now), Input::Answered(write, Ok(Reply::Written(Version(5)))));
        (replica, now)
    }

    #[test]
    fn a_term_is_to_end_from_its_renew_deadline_on_whether_a_guest_runs_or_not() {
        let (replica, written) = leading();
        let second = Duration::from_secs(1);
        assert_eq!(replica.ending(written + 9 * second), None);
        assert_eq!(replica.ending(written + 10 * second), Some(StopReason::LeadershipLost));
        assert_eq!(replica.ending(written + 60 * second), None, "there is no term any more");
    }

    #[test]
    fn a_term_that_is_given_back_is_none_and_nobody_is_believed_to_lead() {
        let (mut replica, now) = leading();
        // Nothing runs, so that nothing is waited for.
        replica.step(at(now), Input::Shutdown);
        assert_eq!(replica.leadership(now), Leadership::Standby { holder: Some("me".into()) });
        assert!(replica.ending(now).is_none() && replica.holder_until() <= now);
        // No answer comes: the term's end is what is waited for in the end.
        assert!(matches!(replica.remaining(), Some(Remaining::Release { until }) if until > now));
    }

    #[test]
    fn a_replica_that_is_to_end_says_what_it_waits_for() {
        let (mut replica, now) = leading();
        replica.step(at(now), Input::Module(Module { digest: "sha256:a".into(), observes: true }));
        assert_eq!(replica.remaining(), None);
        replica.step(at(now), Input::Shutdown);
        assert_eq!(replica.remaining(), Some(Remaining::Grace { until: now + TaskConfig::default().stop_grace }));
        let later = now + Duration::from_secs(5);
        replica.step(at(later), Input::Tick);
        assert_eq!(replica.remaining(), Some(Remaining::Ended));
        let stopped = GuestEvent::Ended(crate::task::Outcome::Ended(StopReason::Shutdown));
        let run = replica.run().expect("it is not gone yet");
        let actions = replica.step(at(later), Input::Guest(run, stopped));
        assert_eq!(replica.remaining(), Some(Remaining::Callback));
        let called = actions.iter().find_map(|action| match action {
            Action::Call { run, callback: Callback::StopLeading { .. }, .. } => Some(*run),
            _ => None,
        });
        let returned = Input::Guest(called.expect("it is told"), GuestEvent::Ended(crate::task::Outcome::Returned));
        let (release, sent_at) = sent(&mut replica, later, returned);
        assert!(matches!(replica.remaining(), Some(Remaining::Release { .. })));
        replica.step(at(sent_at), Input::Answered(release, Ok(Reply::Written(Version(9)))));
        assert_eq!(replica.remaining(), None);
    }
}
