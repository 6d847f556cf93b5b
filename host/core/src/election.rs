//! One replica's part in the race for one Lease.
//!
//! Pure: [`Election::step`] takes the time and one input and returns what to do; nothing happens
//! in here. Invariants (the numbers are those of the README's table):
//!
//! - **1** A term ends at [`valid_until`](crate::timing::Timing::valid_until) of the last write that
//!   is *known* to have succeeded, counted from when it was sent. A write whose answer was lost
//!   does not count, nor does one that the watch has told to be undone before its answer came.
//! - **6** Another holder, seen in any way, ends the term at once.
//! - **8** A record expires by how long *this* process has seen it unchanged, on its boot clock;
//!   also one that somebody deleted.
//!   Only proof that its holder has ended makes that shorter.
//! - **9** Every write names the version it was decided on.
//!
//! A request to step down stands on the Lease until the Lease has left the holder it names: renewals keep
//! it, and so does that holder's next acquisition where it has not stepped down since; a release and
//! everybody else's acquisition clear it. So it is neither forgotten in a term's hiccup nor does it hit a
//! later leadership of the same process.
//!
//! A guest's checkpoint is saved by the next renewal, which is then sent at once (`checkpoint.rs`): there
//! is one writer of the Lease, so that a renewal and a save cannot undo each other, and what is to be
//! saved belongs to the term, and goes with it. The same write says which modules the task has (`modules.rs`).
//!
//! Where the API server picks the holder ([`Contest::Coordinated`]), nobody takes the Lease unless it has been named
//! in it: see the module `coordinated`.
//!
//! At most one request is under way; a later one replaces it. Its deadline is kept here, so that
//! an edge that never answers cannot stop the election.

mod candidacy;
mod checkpoint;
mod coordinated;
mod failures;
mod giving_up;
mod known;
mod modules;
mod next_request;
mod spread;
mod vocabulary;

use std::time::Duration;

use crate::{
    lease::{LeaseModules, LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    task::Remaining,
    time::{BootTime, Now, WallTime},
};

pub use self::vocabulary::{
    Action, Contest, ElectionConfig, Input, Leadership, LossReason, Notice, Reply, Request, RequestId, StayOut, Term,
};
use self::{
    checkpoint::GuestCalls,
    coordinated::{Asked, Coordinated},
    known::Known,
    modules::Refusal,
    spread::Spread,
};

#[derive(Clone, Debug)]
enum State {
    Standby,
    Leading(Leading),
}

#[derive(Clone, Debug)]
struct Leading {
    term: Term,
    /// When the last write that is known to have succeeded was sent.
    written_at: BootTime,
    /// How long after that the next one is.
    renew_after: Duration,
    /// The guest is gone; the Lease is to be given back.
    releasing: bool,
    /// Who asked for that.
    asked: Asked,
    calls: GuestCalls,
    refusal: Refusal,
}

#[derive(Clone, Debug)]
struct InFlight {
    id: RequestId,
    request: Request,
    sent_at: BootTime,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Election {
    config: ElectionConfig,
    spread: Spread,
    state: State,
    known: Option<Known>,
    in_flight: Option<InFlight>,
    /// The last one, or 0.
    last_request: RequestId,
    /// The `renewed` of the last write that was sent.
    last_stamp: Option<WallTime>,
    /// No request goes out before this (set by failures, cleared by news).
    quiet_until: BootTime,
    /// The last write conflicted: no write goes out before this.
    contended_until: Option<BootTime>,
    /// A write got no answer: it may have arrived, or arrive yet.
    lost_write: bool,
    /// The next read while no watch tells of changes; `None` while one does.
    poll_at: Option<BootTime>,
    /// Set by stepping down, until the next term begins: others go first until then.
    out_until: Option<BootTime>,
    /// Set by stepping down for ever: when to leave even if the store has not answered.
    withdraw_by: Option<BootTime>,
    withdrawn: bool,
    /// A read is needed before anything can be decided, at this time, unless the watch tells before.
    must_read_at: Option<BootTime>,
    told_other_task: bool,
    /// The last one that was proven to have ended. Identities are those of one boot: it never comes back.
    ended: Option<String>,
    /// Until then somebody may lead whom the API server has displaced.
    displaced_until: BootTime,
    /// Where the API server picks the holder.
    coordinated: Option<Coordinated>,
    /// What the Lease is to say about modules, where this replica leads.
    modules: LeaseModules,
}

impl Election {
    /// An election that knows nothing yet. `seed` is for the jitter of retries.
    pub fn new(config: ElectionConfig, seed: u64) -> Self {
        let coordinated = (config.contest == Contest::Coordinated).then(Coordinated::default);
        Self {
            config,
            coordinated,
            spread: Spread::new(seed),
            state: State::Standby,
            known: None,
            in_flight: None,
            last_request: RequestId(0),
            last_stamp: None,
            quiet_until: BootTime::ZERO,
            contended_until: None,
            lost_write: false,
            poll_at: Some(BootTime::ZERO),
            out_until: None,
            withdraw_by: None,
            withdrawn: false,
            must_read_at: Some(BootTime::ZERO),
            told_other_task: false,
            ended: None,
            displaced_until: BootTime::ZERO,
            modules: LeaseModules::default(),
        }
    }

    /// One that waits for nobody, for scripts to the millisecond.
    #[cfg(test)]
    pub(crate) fn without_spread(config: ElectionConfig, seed: u64) -> Self {
        Self { spread: Spread::of_retries_only(seed), ..Self::new(config, seed) }
    }

    /// Takes in one input and returns, in order, what to do. To be called with [`Input::Tick`]
    /// at [`Election::next_deadline`]; a `now` that has jumped far ahead (a suspended machine)
    /// is a `now` like any other.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.withdrawn {
            return actions;
        }
        // Whatever the input says, a term that time has ended is over first.
        self.end_expired_term(now, &mut actions);
        match input {
            Input::Tick => {}
            Input::Answered(id, result) => self.on_answer(now, id, result, &mut actions),
            Input::Watched(WatchEvent::Seen(seen)) => self.on_watched(now, seen, &mut actions),
            Input::Watched(WatchEvent::Broken) => {
                // With everybody else's, where it was the store that went away.
                let poll_at = now.boot + self.spread.first_retry(self.config.timing.retry_period());
                self.poll_at.get_or_insert(poll_at);
            }
            Input::StepDown(stay_out) => self.on_step_down(now, stay_out),
            Input::Candidate(input) => self.on_candidate(now, input, &mut actions),
            Input::HolderEnded(identity) => self.on_holder_ended(now, identity, &mut actions),
            Input::Called(id, term, call) => self.on_call(id, term, call, &mut actions),
            Input::CallDropped => self.drop_call(),
        }
        self.heed_request(&mut actions);
        self.heed_preference(&mut actions);
        self.give_up_overdue_request(now, &mut actions);
        self.answer_by_what_is_known(&mut actions);
        self.advance_candidacy(now, &mut actions);
        self.finish_withdrawing(now, &mut actions);
        self.send_what_is_due(now, &mut actions);
        actions
    }

    /// When [`Election::step`] has to be called next if nothing else happens; after `now`.
    pub fn next_deadline(&self, now: BootTime) -> Option<BootTime> {
        if self.withdrawn {
            return None;
        }
        let timing = &self.config.timing;
        let request = match &self.in_flight {
            Some(in_flight) => Some(in_flight.sent_at + timing.request_timeout()),
            None => self.next_request().map(|(at, _)| at),
        };
        // At both of these `leadership` changes by itself.
        let written_at = self.leading().map(|leading| leading.written_at);
        let renew_deadline = written_at.map(|at| at + timing.renew_deadline()).filter(|at| *at > now);
        let valid_until = written_at.map(|at| timing.valid_until(at));
        let withdraw_by = self.withdraw_by.filter(|_| self.leading().is_none());
        let candidacy = self.next_candidacy_deadline(now);
        [request, renew_deadline, valid_until, withdraw_by, candidacy].into_iter().flatten().min()
    }

    /// Whether this replica leads at `now`.
    pub fn leadership(&self, now: BootTime) -> Leadership {
        let timing = &self.config.timing;
        match self.leading() {
            Some(leading) if !leading.releasing && now < timing.valid_until(leading.written_at) => {
                Leadership::Leading {
                    term: leading.term,
                    valid_until: timing.valid_until(leading.written_at),
                    certain: now < leading.written_at + timing.renew_deadline(),
                    step_down: leading.asked != Asked::No,
                }
            }
            _ => Leadership::Standby { holder: self.holder().map(str::to_owned) },
        }
    }

    /// Who holds the Lease, as last seen.
    pub fn holder(&self) -> Option<&str> {
        self.known.as_ref()?.observation.holder()
    }

    /// Until when the holder that was last seen may lead, as far as can be known here: its record runs out then, if it
    /// is not seen to change before. Has passed where nobody holds the Lease, where this replica does, and where it is proven that
    /// its holder has ended. However well the Lease can be watched: who does not renew does not lead.
    pub fn holder_until(&self) -> BootTime {
        self.known.as_ref().map_or(BootTime::ZERO, Known::free_at)
    }

    /// What an election that was told to leave for ever waits for.
    pub fn remaining(&self) -> Option<Remaining> {
        let withdraw_by = self.withdraw_by.filter(|_| !self.withdrawn)?;
        Some(match self.leading() {
            Some(leading) => Remaining::Release { until: self.config.timing.valid_until(leading.written_at) },
            None => Remaining::Withdrawal { until: withdraw_by },
        })
    }

    /// This election's identity, as it is written on the Lease.
    pub fn identity(&self) -> &str {
        &self.config.identity
    }

    fn leading(&self) -> Option<&Leading> {
        match &self.state {
            State::Leading(leading) => Some(leading),
            State::Standby => None,
        }
    }

    fn end_expired_term(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let State::Leading(leading) = &self.state
            && now.boot >= self.config.timing.valid_until(leading.written_at)
        {
            actions.push(Action::Tell(Notice::Lost(leading.term, LossReason::Expired)));
            self.state = State::Standby;
        }
    }

    fn on_answer(&mut self, now: Now, id: RequestId, result: Result<Reply, StoreFailure>, actions: &mut Vec<Action>) {
        let Some(InFlight { request, sent_at, .. }) = self.in_flight.take_if(|in_flight| in_flight.id == id) else {
            return; // It came after its deadline: what it says was treated as unknown, and stays so.
        };
        if let Err(failure @ (StoreFailure::Denied | StoreFailure::Rejected)) = result {
            self.refuse_save(id, failure, actions);
        }
        match (request, result) {
            (Request::Read, Ok(Reply::Read(seen))) => self.on_read(now, id, seen, actions),
            (Request::Write { based_on, record }, Ok(Reply::Written(version))) => {
                self.on_written(now, sent_at, based_on, version, record, actions);
                self.finish_save(id, actions);
            }
            (Request::Write { based_on, .. }, Err(StoreFailure::Conflict)) => self.on_conflict(now, sent_at, based_on),
            (Request::Write { based_on, .. }, Err(StoreFailure::Missing)) => {
                // It was made again since, as the watch has told already. Who is not picked makes nothing, and would not
                // find out; if it is gone again, the watch tells of that as well.
                let replaced = |known: &Known| known.has_replaced(based_on);
                if self.coordinated.is_some() && self.known.as_ref().is_some_and(replaced) {
                    return self.on_conflict(now, sent_at, based_on);
                }
                self.contend(now, sent_at);
                self.observe(now, Observation::Missing { deleted_at: None }, false, actions);
            }
            (request, Err(StoreFailure::Conflict | StoreFailure::Missing) | Ok(_)) => {
                self.on_failure(now, &request, sent_at, StoreFailure::Rejected, actions);
            }
            (request, Err(failure)) => self.on_failure(now, &request, sent_at, failure, actions),
        }
    }

    fn on_read(&mut self, now: Now, id: RequestId, seen: Observation, actions: &mut Vec<Action>) {
        // This was asked because the watch had not told what a write conflicted with; nor has it since.
        let watch_is_silent = self.must_read_at.is_some_and(|at| at > BootTime::ZERO)
            && self.known.as_ref().is_some_and(|known| known.observation != seen);
        self.must_read_at = None;
        self.lost_write = false;
        self.quiet_until = BootTime::ZERO;
        if self.poll_at.is_some() || watch_is_silent {
            self.poll_at = Some(now.boot + self.jittered_retry());
        }
        // Where others make what is missing, and so find out, nobody does here: of a deletion since, the watch will tell.
        let overtaken = self.known.as_ref().is_some_and(|known| {
            known.has_overtaken_read(id, &seen)
                || self.coordinated.is_some() && known.may_have_overtaken_read(id, &seen)
        });
        if !overtaken {
            let told_all = self.known.as_ref().is_some_and(|known| known.observation.version() == seen.version());
            self.observe(now, seen, told_all, actions);
        }
    }

    fn on_written(
        &mut self,
        now: Now,
        sent_at: BootTime,
        based_on: Option<Version>,
        version: Version,
        record: LeaseRecord,
        actions: &mut Vec<Action>,
    ) {
        let after_failure = self.quiet_until > BootTime::ZERO;
        self.quiet_until = BootTime::ZERO;
        self.contended_until = None;
        self.lost_write = false;
        let ours = record.holder.is_some();
        let record_modules = record.modules.clone();
        match &mut self.known {
            // The watch has overtaken the answer: what was written counts as long as it still stands.
            Some(known) if known.is_newer_than(version) => {
                let stands = known.observation.holder() == Some(&self.config.identity);
                if !ours || !stands || self.coordinated.is_some() && known.observation.names(&self.config.identity) {
                    return;
                }
            }
            // Was it deleted before this was written, or after? Only a read can tell.
            Some(known) if known.observation.record().is_none() && based_on.is_some() => {
                known.hear_of(version);
                self.must_read_at = Some(BootTime::ZERO);
                return;
            }
            _ => self.learn(now, Observation::Present { version, record }, true),
        }
        match &mut self.state {
            State::Leading(leading) if ours => {
                let every = self.config.timing.renew_every();
                leading.written_at = sent_at;
                leading.renew_after = if after_failure { self.spread.first_renewal(every) } else { every };
                leading.calls.settle();
                leading.refusal.written(*record_modules, sent_at);
            }
            State::Leading(leading) => {
                actions.push(Action::Tell(Notice::Released(leading.term)));
                self.state = State::Standby;
            }
            // An answer so late that the term it began has ended: the next write begins another.
            State::Standby if !ours || now.boot >= self.config.timing.valid_until(sent_at) => {}
            State::Standby => {
                let term = Term { token: version.0 };
                let releasing = self.is_out(now.boot);
                if !releasing {
                    self.out_until = None;
                }
                let renew_after = self.spread.first_renewal(self.config.timing.renew_every());
                self.state = State::Leading(Leading {
                    term,
                    written_at: sent_at,
                    renew_after,
                    releasing,
                    asked: Asked::No,
                    calls: GuestCalls::default(),
                    refusal: Refusal::of(*record_modules),
                });
                actions.push(Action::Tell(Notice::Leading(term)));
            }
        }
    }

    fn on_watched(&mut self, now: Now, seen: Observation, actions: &mut Vec<Action>) {
        let told_all = self.poll_at.take().is_none();
        if self.known.as_ref().is_some_and(|known| known.has_overtaken_watch(&seen)) {
            return;
        }
        self.quiet_until = BootTime::ZERO;
        self.must_read_at = None;
        self.lost_write = false;
        self.observe(now, seen, told_all, actions);
    }

    /// `told_all`: nothing happened between what is known and this.
    fn observe(&mut self, now: Now, seen: Observation, told_all: bool, actions: &mut Vec<Action>) {
        if let Some(holder) = seen.holder()
            && holder != self.config.identity
            && self.holder() != Some(holder)
        {
            self.spread.race_over();
            actions.push(Action::Tell(Notice::NewLeader(holder.to_owned())));
        }
        let loss = match seen.record() {
            Some(record) => match record.holder.as_deref() {
                Some(holder) if holder == self.config.identity => self.names_me(&seen).then_some(LossReason::Cleared),
                Some(holder) => Some(LossReason::TakenBy(holder.to_owned())),
                None => Some(LossReason::Cleared),
            },
            None => Some(LossReason::Deleted),
        };
        if let (State::Leading(leading), Some(reason)) = (&self.state, loss) {
            actions.push(Action::Tell(match leading.releasing {
                // Our own release, whose answer was lost; or somebody did the same for us.
                true => Notice::Released(leading.term),
                false => Notice::Lost(leading.term, reason),
            }));
            self.state = State::Standby;
        }
        // The race that was lost has its winner.
        if seen.holder().is_some_and(|holder| holder != self.config.identity) {
            self.contended_until = None;
        }
        self.tell_other_task(seen.record(), actions);
        self.learn(now, seen, told_all);
        self.tell_named(now, actions);
    }

    /// Also of a holder that is yet to be seen: the proof may come before the record.
    fn on_holder_ended(&mut self, now: Now, identity: String, actions: &mut Vec<Action>) {
        if let Some(known) = &mut self.known
            && known.observation.holder() == Some(&identity)
            && identity != self.config.identity
            && self.ended.as_ref() != Some(&identity)
        {
            known.free(now.boot);
            actions.push(Action::Tell(Notice::HolderEnded(identity.clone())));
        }
        self.ended = Some(identity);
    }

    fn learn(&mut self, now: Now, seen: Observation, told_all: bool) {
        self.note_displaced(now, &seen, told_all);
        // Nobody races for what is ours.
        let take_after = match seen.holder() == Some(&self.config.identity) {
            true => Duration::ZERO,
            false => self.spread.takeover(),
        };
        let ElectionConfig { identity, timing, .. } = &self.config;
        let may_lead = |holder: &str| holder != identity && self.ended.as_deref() != Some(holder);
        self.known =
            Some(Known::next(self.known.as_ref(), seen, now.boot, self.last_request, may_lead, timing, take_after));
    }

    fn tell_other_task(&mut self, record: Option<&LeaseRecord>, actions: &mut Vec<Action>) {
        let other = record.and_then(|record| self.other_task(record)).map(str::to_owned);
        if let Some(other) = &other
            && !self.told_other_task
        {
            actions.push(Action::Tell(Notice::OtherTask(other.clone())));
        }
        self.told_other_task = other.is_some();
    }

    fn send_what_is_due(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.in_flight.is_some() || self.withdrawn {
            return;
        }
        let Some((at, want)) = self.next_request() else { return };
        if at > now.boot {
            return;
        }
        let stamp = next_request::differing_from(self.last_stamp, now.wall);
        let request = self.request(want, stamp);
        if let Request::Write { .. } = request {
            self.last_stamp = Some(stamp);
        }
        let id = RequestId(self.last_request.0 + 1);
        self.last_request = id;
        self.note_save(id, now.boot, want, &request);
        self.in_flight = Some(InFlight { id, request: request.clone(), sent_at: now.boot });
        actions.push(Action::Send { id, request });
    }
}
