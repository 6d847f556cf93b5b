//! Drives one task's [`Replica`] with real time, a real store and real guests: one loop a task,
//! on the control thread, where no guest ever runs (invariant 2).
//!
//! The loop decides nothing. It hands each event to the core, publishes the term's bound to the
//! guest's gate, and does what the core says.

mod candidacy;
pub mod modules;

use std::{future::pending, ops::ControlFlow, sync::Arc, time::Instant};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use leasehold_core::{
    election::{ElectionConfig, Leadership, Notice, Reply, Request, RequestId, Term},
    ports::{LeaseStore, StoreError, StoreFailure, WatchEvent, WatchUpdate},
    replica::{Action, Input, Replica},
    task::{Digest, GuestEvent, Outcome, RunId, StopReason, TaskConfig},
};
use tokio::sync::{mpsc, watch};

use self::candidacy::Candidacy;
use crate::{
    clock,
    guest::{
        module::ReadyModule,
        runtime::{GuestConfig, GuestRuntime, GuestTerm, RunEvents, RunningGuest},
    },
    lease::candidate::CandidateStore,
    report::{Chain, Report},
};

/// One task, and what it is run with.
pub struct Supervised<S> {
    /// Where its Lease is.
    pub store: S,
    /// What its guests run on.
    pub guests: Arc<GuestRuntime>,
    /// Where its LeaseCandidate is, in a coordinated election.
    pub candidate: Option<CandidateStore>,
    /// Tells people.
    pub report: Arc<Report>,
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
    /// The election's rules.
    pub election: ElectionConfig,
    /// The task's rules.
    pub policy: TaskConfig,
    /// What its guests get.
    pub guest: GuestConfig,
    /// The module to run, and each that replaces it.
    pub modules: watch::Receiver<Arc<ReadyModule>>,
    /// Who holds the Lease, for those who look for proof that it has ended.
    pub holder: watch::Sender<Option<String>>,
    /// The proof: identities whose process has ended. Need not ever have one.
    pub ended: BoxStream<'static, String>,
    /// Becomes true when the host was asked to end.
    pub shutdown: watch::Receiver<bool>,
}

/// Competes for the Lease, and runs the guest while it is held, until the host is asked to end
/// and the guest has ended and the Lease is released.
///
/// # Cancel safety
/// Dropping it ends the guest where it stands and leaves the Lease to run out.
pub async fn supervise<S: LeaseStore>(task: Supervised<S>) {
    let replica = Replica::new(task.election.clone(), task.policy.clone(), fastrand::u64(..));
    let (events, guest_events) = RunEvents::channel();
    let watch = task.store.watch();
    let store = Arc::new(task.store);
    let supervisor = Supervisor {
        replica,
        store,
        candidacy: Candidacy::new(task.candidate, task.report.clone()),
        guests: task.guests,
        report: task.report,
        namespace: task.namespace,
        lease: task.lease,
        config: task.guest,
        events,
        module: None,
        guest: None,
        last_digest: None,
        last_end: None,
        request: None,
        request_error: None,
        holder: task.holder,
    };
    supervisor.run(watch, guest_events, task.modules, task.ended, task.shutdown).await;
}

/// A store's answer.
type Answer = (RequestId, Result<Reply, StoreError>);

struct Supervisor<S> {
    replica: Replica,
    store: Arc<S>,
    candidacy: Candidacy,
    guests: Arc<GuestRuntime>,
    report: Arc<Report>,
    namespace: String,
    lease: String,
    config: GuestConfig,
    events: RunEvents,
    module: Option<Arc<ReadyModule>>,
    guest: Option<Guest>,
    last_digest: Option<Digest>,
    /// How the last run of this term ended.
    last_end: Option<String>,
    /// Dropped, and with it its connection, when the core gives up on it or sends another.
    request: Option<BoxFuture<'static, Answer>>,
    request_error: Option<StoreError>,
    holder: watch::Sender<Option<String>>,
}

/// The guest that exists.
struct Guest {
    run: RunId,
    term: Term,
    running: RunningGuest,
    /// When it was first asked, or made, to end.
    stopping_since: Option<Instant>,
}

impl<S: LeaseStore> Supervisor<S> {
    async fn run(
        mut self,
        mut watch: BoxStream<'static, WatchUpdate>,
        mut guest_events: mpsc::Receiver<(RunId, GuestEvent)>,
        mut modules: watch::Receiver<Arc<ReadyModule>>,
        mut ended: BoxStream<'static, String>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        self.report.candidate();
        modules.mark_changed();
        let mut next = Input::Tick;
        loop {
            if self.step(next).is_break() {
                return;
            }
            let deadline = self.replica.next_deadline(clock::boot());
            let timer = async {
                match deadline {
                    Some(deadline) => clock::sleep_towards(deadline).await,
                    None => pending().await,
                }
            };
            let answer = async {
                match &mut self.request {
                    Some(request) => request.await,
                    None => pending().await,
                }
            };
            next = tokio::select! {
                biased;
                (id, result) = answer => self.answered(id, result),
                // A watch never ends. If one did, this process ends with it: better than to look alive
                // without hearing of anything.
                update = watch.next() => self.watched(update.expect("a store's watch never ends")),
                input = self.candidacy.next() => Input::Candidate(input),
                Some((run, event)) = guest_events.recv() => self.guest_event(run, event),
                Some(identity) = ended.next() => Input::HolderEnded(identity),
                Ok(()) = shutdown.changed() => Input::Shutdown,
                Ok(()) = modules.changed() => {
                    let module = modules.borrow_and_update().clone();
                    let digest = module.digest.clone();
                    self.module = Some(module);
                    Input::Module(digest)
                }
                () = timer => Input::Tick,
            };
        }
    }

    /// One step of the core, and what it says to do.
    fn step(&mut self, input: Input) -> ControlFlow<()> {
        let now = clock::now();
        let actions = self.replica.step(now, input);
        // First the bound: whatever follows, a guest of a lost term is ended, one of a renewed term goes on.
        let leadership = self.replica.leadership(now.boot);
        if let Some(guest) = &self.guest {
            match leadership {
                Leadership::Leading { term, valid_until, .. } if term == guest.term => {
                    guest.running.gate().extend(valid_until);
                }
                _ => guest.running.end(StopReason::LeadershipLost),
            }
        }
        let holder = match leadership {
            Leadership::Standby { holder } => holder,
            Leadership::Leading { .. } => None,
        };
        self.holder.send_if_modified(|known| {
            let changed = *known != holder;
            *known = holder;
            changed
        });
        for action in actions {
            match action {
                Action::Send { id, request } => self.request = Some(self.send(id, request)),
                Action::SendCandidate { id, request } => self.candidacy.send(id, request),
                Action::Start { run, module, term } => self.start(run, &module, term),
                Action::AskToStop(run, reason) => self.ask_to_stop(run, reason),
                Action::End(run, reason) => self.end(run, reason),
                Action::Tell(notice) => self.tell(notice),
                Action::TellRestart(delay) => self.report.restart_delayed(delay),
                Action::Exit => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// The answer as a future. The core gives up on it by itself, whatever the store does.
    fn send(&self, id: RequestId, request: Request) -> BoxFuture<'static, Answer> {
        let store = self.store.clone();
        async move {
            let result = match request {
                Request::Read => store.read().await.map(Reply::Read),
                Request::Write { based_on, record } => store.write(based_on, &record).await.map(Reply::Written),
            };
            (id, result)
        }
        .boxed()
    }

    fn answered(&mut self, id: RequestId, result: Result<Reply, StoreError>) -> Input {
        self.request = None;
        let result = result.map_err(|error| {
            let failure = error.failure;
            self.request_error = Some(error);
            failure
        });
        Input::Answered(id, result)
    }

    fn watched(&self, update: WatchUpdate) -> Input {
        match update {
            WatchUpdate::Seen(seen) => Input::Watched(WatchEvent::Seen(seen)),
            WatchUpdate::Broken(error) => {
                self.report.watch_broken(&error);
                Input::Watched(WatchEvent::Broken)
            }
        }
    }

    fn start(&mut self, run: RunId, digest: &Digest, term: Term) {
        let now = clock::boot();
        let Leadership::Leading { valid_until, .. } = self.replica.leadership(now) else {
            // The core said so an instant ago; the guest's gate would be closed at once anyway.
            return self.tell_unstarted(run, "the term ended before the component was started");
        };
        let Some(module) = self.module.clone().filter(|module| module.digest == *digest) else {
            return self.tell_unstarted(run, "its module is not at hand");
        };
        self.report.guest_started(term, digest, self.last_digest.as_ref());
        self.last_digest = Some(digest.clone());
        let guest_term =
            GuestTerm { namespace: self.namespace.clone(), lease: self.lease.clone(), token: term.token, valid_until };
        let events = self.events.clone();
        let running = self.guests.start(run, module, &self.config, &self.report.subject, guest_term, events);
        self.guest = Some(Guest { run, term, running, stopping_since: None });
    }

    fn tell_unstarted(&self, run: RunId, why: &str) {
        self.events.tell(run, GuestEvent::Ended(Outcome::NotStarted(why.into())));
    }

    fn ask_to_stop(&mut self, run: RunId, reason: StopReason) {
        if let Some(guest) = self.guest.as_mut().filter(|guest| guest.run == run) {
            guest.stopping_since.get_or_insert_with(Instant::now);
            self.report.stop_requested(guest.term, reason);
            guest.running.ask_to_stop(reason);
        }
    }

    fn end(&mut self, run: RunId, reason: StopReason) {
        if let Some(guest) = self.guest.as_mut().filter(|guest| guest.run == run) {
            guest.stopping_since.get_or_insert_with(Instant::now);
            guest.running.end(reason);
        }
    }

    fn guest_event(&mut self, run: RunId, event: GuestEvent) -> Input {
        if let GuestEvent::Ended(outcome) = &event
            && let Some(guest) = self.guest.take_if(|guest| guest.run == run)
        {
            self.tell_stopped(&guest, outcome);
        }
        Input::Guest(run, event)
    }

    fn tell_stopped(&mut self, guest: &Guest, outcome: &Outcome) {
        let asked = guest.running.gate().stop_requested();
        let reason = match outcome {
            Outcome::Ended(reason) => Some(asked.unwrap_or(*reason)),
            _ => asked,
        };
        self.last_end = Some(match (reason, outcome.detail()) {
            (Some(reason), _) => reason.to_string(),
            (None, None) => format!("the component has {}", outcome.name()),
            (None, Some(detail)) => format!("the component has failed ({}): {detail}", outcome.name()),
        });
        let took = guest.stopping_since.map(|since| since.elapsed());
        self.report.guest_stopped(guest.term, outcome, reason, took);
    }

    fn tell(&mut self, notice: Notice) {
        let report = &self.report;
        match notice {
            Notice::Leading(term) => {
                self.last_end = None;
                report.leading(term);
            }
            Notice::Released(term) => report.released(term, self.last_end.as_deref()),
            Notice::StepDownRequested(term) => report.step_down_requested(term),
            Notice::AnotherPreferred(term, preferred) => report.another_preferred(term, &preferred),
            Notice::Named(wait) => report.named(wait),
            Notice::CandidacyFailed(what, failure) => self.candidacy.tell_failed(what, failure),
            Notice::NewLeader(leader) => report.new_leader(&leader),
            Notice::HolderEnded(holder) => report.holder_ended(&holder),
            Notice::Lost(term, reason) => report.lost(term, reason),
            Notice::OtherTask(other) => report.other_task(&other),
            Notice::RequestFailed(what, failure) => {
                let error = self.request_error.take().filter(|error| error.failure == failure);
                if failure == StoreFailure::Unavailable && self.request.take().is_some() {
                    report.request_failed(what, &"no answer in time");
                } else if let Some(error) = error {
                    report.request_failed(what, &Chain(&error));
                } else {
                    report.request_failed(what, &format_args!("{failure:?}"));
                }
            }
        }
    }
}
