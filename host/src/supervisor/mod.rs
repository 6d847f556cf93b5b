//! Drives one task's [`Replica`] with real time, a real store and real guests: one loop a task,
//! on the control thread, where no guest ever runs (invariant 2).
//!
//! The loop decides nothing. It hands each event to the core, publishes the term's bound to the
//! guest's gate, and does what the core says.

mod callbacks;
mod candidacy;
mod checkpoint;
mod giving_up;
mod labelling;
pub mod modules;
pub mod ready;
mod requests;
mod swaps;

use std::{
    future::pending,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use leasehold_core::{
    election::{Contest, ElectionConfig, Leadership, Notice, Term},
    ports::{LeaseStore, StoreError, StoreFailure, WatchEvent, WatchUpdate},
    replica::{Action, Input, Replica},
    task::{Digest, GuestEvent, Outcome, Remaining, RunId, StopReason, TaskConfig},
    time::{BootTime, Now},
};
use tokio::sync::{mpsc, watch};

use self::{
    callbacks::Callbacks,
    candidacy::Candidacy,
    checkpoint::Calls,
    giving_up::GivingUp,
    labelling::Labelling,
    requests::{Told, UnderWay, why_failed},
    swaps::AtHand,
};
use crate::{
    clock,
    guest::{
        imports::{checkpoint::CheckpointCall, progress::Reported},
        module::ReadyModule,
        runtime::{GuestConfig, GuestRuntime, GuestTerm, Run, RunEvents, RunningGuest},
        world::Call,
    },
    lease::{candidate::CandidateStore, leader_label::PodLabels},
    report::{
        Chain, Report,
        farewell::Farewell,
        liveness::Pulse,
        metrics::{Released, RequestResult},
    },
};

/// One task, and what it is run with.
pub struct Supervised<S> {
    /// Where its Lease is.
    pub store: S,
    /// What its guests run on.
    pub guests: Arc<GuestRuntime>,
    /// Where its LeaseCandidate is, in a coordinated election.
    pub candidate: Option<CandidateStore>,
    /// The label on the leader's Pod; where there is none, the policy has none.
    pub labels: Option<PodLabels>,
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
    /// Told by when this task has something to do.
    pub pulse: Pulse,
    /// Told what is waited for when the host was asked to end.
    pub farewell: Arc<Farewell>,
}

/// Competes for the Lease, and runs the guest while it is held, until the host is asked to end
/// and the guest has ended and the Lease is released.
///
/// # Cancel safety
/// Dropping it ends the guest where it stands and leaves the Lease to run out.
pub async fn supervise<S: LeaseStore>(task: Supervised<S>) {
    let replica = Replica::new(task.election.clone(), task.policy.clone(), fastrand::u64(..));
    let (events, guest_events, checkpoint_calls) = RunEvents::channel();
    let tell_every = tell_every(task.policy.progress_deadline);
    let watch = task.store.watch();
    let (pulse, farewell, name) = (task.pulse.clone(), task.farewell.clone(), task.report.subject.task.clone());
    let store = Arc::new(task.store);
    let supervisor = Supervisor {
        replica,
        store,
        candidacy: Candidacy::new(task.candidate, task.report.clone()),
        labelling: Labelling::new(task.labels, task.report.clone()),
        guests: task.guests,
        report: task.report,
        namespace: task.namespace,
        lease: task.lease,
        config: task.guest,
        events,
        calls: Calls::default(),
        at_hand: AtHand::default(),
        tell_every,
        guest: None,
        callbacks: Callbacks::default(),
        last_module: None,
        last_end: None,
        giving_up: GivingUp::default(),
        contest: task.election.contest,
        request: None,
        requests: Told::default(),
        request_error: None,
        watch_error: None,
        holder: task.holder,
        pulse: task.pulse,
        farewell: task.farewell,
        remaining: None,
    };
    supervisor.run(watch, guest_events, checkpoint_calls, task.modules, task.ended, task.shutdown).await;
    pulse.due(None);
    farewell.waits(&name, None);
}

struct Supervisor<S> {
    replica: Replica,
    store: Arc<S>,
    candidacy: Candidacy,
    labelling: Labelling,
    guests: Arc<GuestRuntime>,
    report: Arc<Report>,
    namespace: String,
    lease: String,
    config: GuestConfig,
    events: RunEvents,
    calls: Calls,
    at_hand: AtHand,
    tell_every: Duration,
    guest: Option<Guest>,
    callbacks: Callbacks,
    /// The one that ran last.
    last_module: Option<Digest>,
    /// How the last run of this term ended.
    last_end: Option<String>,
    giving_up: GivingUp,
    contest: Contest,
    request: Option<UnderWay>,
    requests: Told,
    request_error: Option<StoreError>,
    /// Why the watch is broken, while it is, as told.
    watch_error: Option<String>,
    holder: watch::Sender<Option<String>>,
    pulse: Pulse,
    farewell: Arc<Farewell>,
    /// As it was told last.
    remaining: Option<Remaining>,
}

/// The guest that exists.
struct Guest {
    run: RunId,
    term: Term,
    running: RunningGuest,
    /// When it was first asked, or made, to end.
    stopping_since: Option<Instant>,
    /// When the newest report of progress was made that people were told of.
    told: Option<BootTime>,
    /// When they may be told of another.
    tell_at: Instant,
}

impl Guest {
    /// A report that people were not told of.
    fn untold(&mut self) -> Option<Reported> {
        let last = self.running.reported().borrow();
        last.as_ref().filter(|last| Some(last.at) != self.told).cloned()
    }
}

/// A guest may report as often as it likes; the log and the metrics tell of it so often. The core hears of the
/// newest report whenever it decides anything, so that none is missed by that.
fn tell_every(progress_deadline: Option<Duration>) -> Duration {
    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(10);
    progress_deadline.map_or(MAX, |deadline| (deadline / 8).clamp(MIN, MAX))
}

impl<S: LeaseStore> Supervisor<S> {
    async fn run(
        mut self,
        mut watch: BoxStream<'static, WatchUpdate>,
        mut guest_events: mpsc::Receiver<(RunId, GuestEvent)>,
        mut checkpoint_calls: mpsc::Receiver<CheckpointCall>,
        mut modules: watch::Receiver<Arc<ReadyModule>>,
        mut ended: BoxStream<'static, String>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        self.report.candidate();
        modules.mark_changed();
        // A watch that is shared may have seen the Lease already: then it need not be read.
        let mut next = match watch.next().now_or_never().flatten() {
            Some(update) => self.watched(update),
            None => Input::Tick,
        };
        loop {
            let now = clock::now();
            // After the clock: a report that is not there by now was not made by `now`.
            if let Some(report) = self.newest_report(now)
                && self.step(now, report).is_break()
            {
                return;
            }
            if self.step(now, next).is_break() {
                return;
            }
            let deadline = self.replica.next_deadline(clock::boot());
            self.pulse.due(deadline);
            let timer = async {
                match deadline {
                    Some(deadline) => clock::sleep_towards(deadline).await,
                    None => pending().await,
                }
            };
            let answer = async {
                match &mut self.request {
                    Some(request) => (&mut request.answer).await,
                    None => pending().await,
                }
            };
            let reported = async {
                let Some(guest) = &mut self.guest else { return pending().await };
                tokio::time::sleep_until(guest.tell_at.into()).await;
                if guest.untold().is_none() {
                    if guest.running.reported().changed().await.is_err() {
                        pending::<()>().await; // It is gone, and says so by another way.
                    }
                    guest.running.reported().mark_changed(); // It is yet to be taken.
                }
            };
            next = tokio::select! {
                biased;
                (id, result) = answer => self.answered(id, result),
                // A watch never ends. If one did, this process ends with it: better than to look alive
                // without hearing of anything.
                update = watch.next() => self.watched(update.expect("a store's watch never ends")),
                input = self.candidacy.next() => Input::Candidate(input),
                input = self.labelling.next() => Input::Label(input),
                Some((run, event)) = guest_events.recv() => self.guest_event(run, event),
                Some(identity) = ended.next() => Input::HolderEnded(identity),
                Ok(()) = shutdown.changed() => {
                    self.giving_up.asked(Released::Shutdown);
                    Input::Shutdown
                }
                Ok(()) = modules.changed() => {
                    let module = modules.borrow_and_update().clone();
                    self.offered(module)
                }
                () = reported => Input::Tick,
                // After all that is none of the guest's doing.
                Some(call) = checkpoint_calls.recv() => self.calls.called(call),
                () = timer => Input::Tick,
            };
        }
    }

    /// One step of the core, and what it says to do.
    fn step(&mut self, now: Now, input: Input) -> ControlFlow<()> {
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
        self.callbacks.publish(&leadership);
        let (holder, leads) = match leadership {
            Leadership::Standby { holder } => (holder, false),
            Leadership::Leading { valid_until, .. } => {
                self.report.certain_until(valid_until, self.replica.ending(now.boot));
                (None, true)
            }
        };
        self.holder.send_if_modified(|known| {
            let changed = *known != holder;
            known.clone_from(&holder);
            changed
        });
        for action in actions {
            match action {
                Action::Send { id, request } => self.send(id, request),
                Action::SendCandidate { id, request } => self.candidacy.send(id, request),
                Action::SendLabel { id, request } => self.labelling.send(id, request),
                Action::TellLabel(notice) => self.labelling.tell(&notice),
                Action::Start { run, module, term } => self.start(run, &module, term),
                Action::AskToStop(run, reason) => self.ask_to_stop(run, reason),
                Action::End(run, reason) => self.end(run, reason),
                Action::Answer(id, answer) => {
                    self.calls.answer(id, answer, self.request_error.as_ref(), &self.report);
                }
                Action::Call { run, module, callback } => self.call(run, &module, callback),
                Action::TellSkipped(identity) => self.report.new_leader_skipped(&identity),
                Action::Tell(notice) => self.tell(notice),
                Action::TellModules(notice) => self.tell_modules(&notice),
                Action::TellKept { until } => self.report.lease_kept(until.since(clock::boot())),
                Action::TellRestart(delay) => self.report.restart_delayed(delay),
                Action::Exit => return ControlFlow::Break(()),
            }
        }
        self.labelling.watch(self.replica.watches_label());
        // After it was told how a term has ended, if one has.
        if !leads {
            self.report.standing_by(holder.as_deref(), self.replica.holder_until());
        }
        let remaining = self.replica.remaining();
        if remaining != self.remaining {
            self.farewell.waits(&self.report.subject.task, remaining);
            self.remaining = remaining;
        }
        self.keep_what_is_needed();
        ControlFlow::Continue(())
    }

    fn watched(&mut self, update: WatchUpdate) -> Input {
        match update {
            WatchUpdate::Seen(seen) => {
                if self.watch_error.take().is_some() {
                    self.report.watch_mended();
                }
                self.report.lease_seen(seen.record());
                Input::Watched(WatchEvent::Seen(seen))
            }
            WatchUpdate::Broken(error) => {
                // Each try to take it up again may fail in the same way.
                let why = Chain(&error).to_string();
                if self.watch_error.as_ref() != Some(&why) {
                    self.report.watch_broken(&why);
                }
                self.watch_error = Some(why);
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
        let Some(module) = self.at_hand.get(digest) else {
            return self.tell_unstarted(run, "its module is not at hand");
        };
        self.report.guest_started(term, digest, self.last_module.as_ref());
        self.last_module = Some(digest.clone());
        self.giving_up.run_started();
        let term_of_guest = self.guest_term(term.token, valid_until);
        let call = Run { id: run, module, call: Call::StartLeading, term: term_of_guest };
        let running = self.guests.start(call, &self.config, &self.report.subject, self.events.clone());
        self.guest = Some(Guest { run, term, running, stopping_since: None, told: None, tell_at: Instant::now() });
    }

    fn guest_term(&self, token: u64, valid_until: BootTime) -> GuestTerm {
        GuestTerm { namespace: self.namespace.clone(), lease: self.lease.clone(), token, valid_until }
    }

    fn tell_unstarted(&mut self, run: RunId, why: &str) {
        self.last_end = Some(why.to_owned());
        self.giving_up.run_ended(false);
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

    /// What the guest has reported since it was looked at last.
    fn newest_report(&mut self, now: Now) -> Option<Input> {
        let guest = self.guest.as_mut()?;
        if guest.tell_at <= Instant::now()
            && let Some(Reported { at, message }) = guest.untold()
        {
            guest.told = Some(at);
            guest.tell_at = Instant::now() + self.tell_every;
            self.report.guest_progress(guest.term, now.boot.since(at), &message);
        }
        let reported = guest.running.reported();
        if !reported.has_changed().is_ok_and(|changed| changed) {
            return None;
        }
        let at = reported.borrow_and_update().as_ref()?.at;
        Some(Input::Guest(guest.run, GuestEvent::Reported(at)))
    }

    fn guest_event(&mut self, run: RunId, event: GuestEvent) -> Input {
        if let GuestEvent::Ended(outcome) = &event
            && let Some(mut guest) = self.guest.take_if(|guest| guest.run == run)
        {
            if let Some(Reported { at, message }) = guest.untold() {
                self.report.guest_progress(guest.term, clock::boot().since(at), &message);
            }
            self.tell_stopped(&guest, outcome);
        }
        if matches!(event, GuestEvent::SteppedDown) && self.guest.as_ref().is_some_and(|guest| guest.run == run) {
            self.giving_up.asked(Released::SteppedDown);
        }
        if let GuestEvent::Ended(outcome) = &event
            && let Some(called) = self.callbacks.ended(run)
        {
            self.report.callback_ended(&called.callback, outcome, called.begun.elapsed(), self.config.callback_time);
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
        // Whatever it then did: it came to an end for that.
        self.giving_up.run_ended(*outcome == Outcome::Returned && reason != Some(StopReason::Unresponsive));
        let took = guest.stopping_since.map(|since| since.elapsed());
        self.report.guest_stopped(guest.term, outcome, reason, took);
    }

    fn tell(&mut self, notice: Notice) {
        let report = self.report.clone();
        match notice {
            Notice::Leading(term) => {
                self.last_end = None;
                report.leading(term, self.requests.acquired);
            }
            Notice::Released(term) => report.released(term, self.giving_up.why(), self.last_end.as_deref()),
            Notice::StepDownRequested(term) => {
                self.giving_up.asked(Released::Asked);
                report.step_down_requested(term);
            }
            Notice::AnotherPreferred(term, preferred) => {
                self.giving_up.asked(Released::Preferred);
                report.another_preferred(term, &preferred);
            }
            Notice::Named(wait) => report.named(wait),
            Notice::CandidacyFailed(what, failure) => self.candidacy.tell_failed(what, failure),
            Notice::NewLeader(leader) => report.new_leader(&leader),
            Notice::HolderEnded(holder) => {
                report.holder_ended(&holder);
                self.requests.ended = Some(holder);
            }
            Notice::Lost(term, reason) => report.lost(term, reason),
            Notice::OtherTask(other) => report.other_task(&other),
            Notice::RequestFailed(what, failure) => {
                let given_up = failure == StoreFailure::Unavailable && self.request_ended(RequestResult::Failed);
                report.request_failed(what, &why_failed(failure, self.request_error.take(), given_up));
            }
        }
    }
}
