//! What holds whatever happens, in whatever order.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::{ME, boot, config, record};
use crate::{
    checkpoint::{self, Call, CallId, Checkpoint, SavedState},
    election::{Action, Election, Input, Leadership, Notice, Reply, Request, RequestId, StayOut, Term},
    lease::{LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    time::{BootTime, Now, WallTime},
    timing::Timing,
};

#[derive(Clone, Debug)]
enum Op {
    /// Time passes, and nobody steps in between.
    Sleep(u64),
    /// Time passes up to the next deadline.
    Deadline,
    /// The request under way reaches the store.
    Arrive,
    /// What the store answered reaches the replica.
    Answer,
    /// The request fails before it reaches the store.
    Fail(StoreFailure),
    /// The watch tells of the newest state but this many.
    Watch(usize),
    WatchBreaks,
    /// Somebody else writes.
    Edit(Edit),
    StepDown(StayOut),
    Load,
    Save,
    /// The guest that has called is gone.
    CallDropped,
}

#[derive(Clone, Debug)]
enum Edit {
    Hold(Option<&'static str>, Option<u64>),
    Annotate,
    /// A person asks this one to step down, or nobody any more.
    Ask(Option<&'static str>),
    Checkpoint,
    Delete,
}

fn op() -> impl Strategy<Value = Op> {
    use StoreFailure::{Conflict, Denied, Missing, Rejected, Unavailable};
    let edit = prop_oneof![
        (prop::sample::select(vec![Some("other"), Some("third"), None]), prop::option::of(1u64..1_000))
            .prop_map(|(holder, duration_s)| Edit::Hold(holder, duration_s)),
        Just(Edit::Annotate),
        prop::sample::select(vec![Some(ME), Some(ME), Some("other"), None]).prop_map(Edit::Ask),
        Just(Edit::Checkpoint),
        Just(Edit::Delete),
    ];
    prop_oneof![
        3 => (0u64..4_000).prop_map(Op::Sleep),
        1 => (4_000u64..400_000).prop_map(Op::Sleep),
        6 => Just(Op::Deadline),
        8 => Just(Op::Arrive),
        8 => Just(Op::Answer),
        1 => prop::sample::select(vec![Conflict, Denied, Missing, Rejected, Unavailable]).prop_map(Op::Fail),
        4 => (0usize..4).prop_map(Op::Watch),
        1 => Just(Op::WatchBreaks),
        2 => edit.prop_map(Op::Edit),
        2 => Just(Op::Load),
        3 => Just(Op::Save),
        1 => Just(Op::CallDropped),
        1 => prop_oneof![
            4 => (0u64..40).prop_map(|s| Op::StepDown(StayOut::For(Duration::from_secs(s)))),
            1 => Just(Op::StepDown(StayOut::Forever)),
        ],
    ]
}

/// What the store has answered, once the request has arrived.
type Answer = Option<Result<Reply, StoreFailure>>;

struct World {
    election: Election,
    timing: Timing,
    now_ms: u64,
    version: u64,
    /// What the store has said, oldest first.
    history: Vec<Observation>,
    /// The request under way, when it was sent, and what the store answered if it has arrived.
    under_way: Option<(RequestId, Request, BootTime, Answer)>,
    /// That one was given up: its answer tells nothing any more.
    given_up: Option<RequestId>,
    /// What was told last, and the newest version told.
    told: Observation,
    told_newest: Option<Version>,
    /// When the last write was sent that was answered and made us the holder.
    written_at: Option<BootTime>,
    last_token: u64,
    /// Somebody has asked for a step-down in that term.
    asked: bool,
    calls: u64,
    /// The call that waits for its answer, and what is to be saved, if it is a save.
    waiting: Option<(CallId, Option<Checkpoint>)>,
    /// What a guest of this term has loaded, or has been told that it is saved, and nobody has edited since.
    relied_on: Option<Option<Checkpoint>>,
    withdrawing: bool,
    withdrawn: bool,
}

impl World {
    fn new() -> Self {
        let timing = Timing::default();
        let missing = Observation::Missing { deleted_at: None };
        Self {
            election: Election::new(config(timing), 7),
            timing,
            now_ms: 0,
            version: 0,
            history: vec![missing.clone()],
            under_way: None,
            given_up: None,
            told: missing,
            told_newest: None,
            written_at: None,
            last_token: 0,
            asked: false,
            calls: 0,
            waiting: None,
            relied_on: None,
            withdrawing: false,
            withdrawn: false,
        }
    }

    fn current(&self) -> Observation {
        self.history.last().expect("never empty").clone()
    }

    fn put(&mut self, record: Option<LeaseRecord>) -> Version {
        self.version += 1;
        let version = Version(self.version);
        self.history.push(match record {
            Some(record) => Observation::Present { version, record },
            None => Observation::Missing { deleted_at: Some(version) },
        });
        version
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Sleep(ms) => {
                self.now_ms += ms;
                self.step(Input::Tick);
            }
            Op::Deadline => {
                if let Some(at) = self.election.next_deadline(boot(self.now_ms)) {
                    self.now_ms = at.since(boot(0)).as_nanos().div_ceil(1_000_000).try_into().expect("small");
                }
                self.step(Input::Tick);
            }
            Op::Arrive => self.arrive(),
            Op::Answer => {
                if let Some((id, request, sent_at, Some(result))) = self.under_way.clone() {
                    self.under_way = None;
                    if self.given_up == Some(id) {
                        return self.step(Input::Answered(id, result));
                    }
                    self.answer(id, &request, sent_at, result);
                }
            }
            Op::Fail(failure) => {
                if let Some((id, request, _, None)) = self.under_way.take_if(|(_, _, _, answer)| answer.is_none()) {
                    if failure == StoreFailure::Missing && request != Request::Read {
                        self.tell(&Observation::Missing { deleted_at: None });
                    }
                    self.step(Input::Answered(id, Err(failure)));
                }
            }
            Op::Watch(back) => {
                let at = self.history.len().saturating_sub(1 + back);
                let seen = self.history[at].clone();
                self.tell(&seen);
                self.step(Input::Watched(WatchEvent::Seen(seen)));
            }
            Op::WatchBreaks => self.step(Input::Watched(WatchEvent::Broken)),
            Op::Edit(Edit::Hold(holder, duration_s)) => {
                let renewal = i64::try_from(self.version).expect("small");
                let duration = duration_s.map(Duration::from_secs);
                self.put(Some(LeaseRecord { duration, ..record(holder, renewal) }));
                self.relied_on = None;
            }
            Op::Edit(Edit::Annotate) => {
                let record = self.current().record().cloned();
                if record.is_some() {
                    self.put(record);
                }
            }
            Op::Edit(Edit::Ask(whom)) => {
                if let Some(record) = self.current().record().cloned() {
                    self.put(Some(LeaseRecord { step_down: whom.map(str::to_owned), ..record }));
                }
            }
            Op::Edit(Edit::Checkpoint) => {
                if let Some(record) = self.current().record().cloned() {
                    let checkpoint = Some(Checkpoint::Unreadable(self.version.to_string().into()));
                    self.put(Some(LeaseRecord { checkpoint, ..record }));
                    self.relied_on = None;
                }
            }
            Op::Load => self.call(Call::Load),
            Op::Save => {
                let state = SavedState::new(self.calls.to_string().into_bytes()).expect("it is short");
                self.call(Call::Save(state));
            }
            Op::CallDropped => {
                self.waiting = None;
                self.step(Input::CallDropped);
            }
            Op::Edit(Edit::Delete) => {
                if self.current().record().is_some() {
                    self.put(None);
                    self.relied_on = None;
                }
            }
            Op::StepDown(stay_out) => {
                self.withdrawing |= stay_out == StayOut::Forever;
                self.step(Input::StepDown(stay_out));
            }
        }
    }

    /// As a guest of this term's, if there is a term.
    fn call(&mut self, call: Call) {
        self.calls += 1;
        let id = CallId(self.calls);
        let leads = matches!(self.election.leadership(boot(self.now_ms)), Leadership::Leading { .. });
        let saves = match &call {
            Call::Load => None,
            Call::Save(state) => Some(Checkpoint::Saved(state.clone())),
        };
        if saves.is_some() {
            self.relied_on = None;
        }
        self.waiting = Some((id, saves));
        let term = leads.then_some(Term { token: self.last_token });
        self.step(Input::Called(id, term, call));
    }

    fn check_answer(&mut self, id: CallId, answer: &checkpoint::Answer) {
        let (waiting, saves) = self.waiting.take().expect("somebody waits");
        assert_eq!(id, waiting);
        let leads = matches!(self.election.leadership(boot(self.now_ms)), Leadership::Leading { .. });
        let stands = self.current().record().and_then(|record| record.checkpoint.clone());
        match answer {
            checkpoint::Answer::Saved => {
                let written = |seen: &Observation| seen.record().is_some_and(|record| record.checkpoint == saves);
                assert!(self.history.iter().any(written), "{saves:?} is not written");
                if stands == saves {
                    self.relied_on = Some(stands);
                }
            }
            // Somebody's edit may not be known yet; and out of a term, nobody can rely on anything.
            checkpoint::Answer::Loaded(loaded) if leads && stands == *loaded => self.relied_on = Some(stands),
            checkpoint::Answer::Loaded(_) | checkpoint::Answer::NotSaved(_) => {}
        }
    }

    /// What a write makes of the checkpoint.
    fn check_checkpoint_in(&self, record: &LeaseRecord, leads: bool) {
        let before = self.told.record().and_then(|record| record.checkpoint.clone());
        let saves = self.waiting.as_ref().and_then(|(_, saves)| saves.clone());
        let may_save = leads && record.holder.is_some() && saves.is_some() && record.checkpoint == saves;
        assert!(record.checkpoint == before || may_save, "{:?} in place of {before:?}", record.checkpoint);
    }

    fn arrive(&mut self) {
        let Some((id, request, sent_at, None)) = self.under_way.clone() else { return };
        let result = match &request {
            Request::Read => Ok(Reply::Read(match self.current() {
                Observation::Missing { .. } => Observation::Missing { deleted_at: None },
                present @ Observation::Present { .. } => present,
            })),
            Request::Write { based_on, record } => match (based_on, self.current()) {
                (None, Observation::Missing { .. }) => Ok(Reply::Written(self.put(Some(record.clone())))),
                (Some(based_on), Observation::Present { version, .. }) if *based_on == version => {
                    Ok(Reply::Written(self.put(Some(record.clone()))))
                }
                (Some(_), Observation::Missing { .. }) => Err(StoreFailure::Missing),
                _ => Err(StoreFailure::Conflict),
            },
        };
        if let (Ok(Reply::Written(_)), Request::Write { record, .. }, Some(relied_on)) =
            (&result, &request, &self.relied_on)
        {
            assert_eq!(record.checkpoint, *relied_on, "nobody has saved or edited since");
        }
        self.under_way = Some((id, request, sent_at, Some(result)));
    }

    fn answer(&mut self, id: RequestId, request: &Request, sent_at: BootTime, result: Result<Reply, StoreFailure>) {
        match (&result, request) {
            (Ok(Reply::Read(seen)), _) => self.tell(&seen.clone()),
            (Ok(Reply::Written(version)), Request::Write { record, .. }) => {
                if record.holder.is_some() {
                    self.written_at = Some(sent_at);
                }
                // After a deletion without a version it is open which came first: a read follows.
                self.tell(&Observation::Present { version: *version, record: record.clone() });
            }
            (Err(StoreFailure::Missing), _) => self.tell(&Observation::Missing { deleted_at: None }),
            _ => {}
        }
        self.step(Input::Answered(id, result));
    }

    fn tell(&mut self, seen: &Observation) {
        if seen.version().is_some() && seen.version() < self.told_newest {
            return;
        }
        self.told_newest = self.told_newest.max(seen.version());
        self.told = seen.clone();
    }

    fn step(&mut self, input: Input) {
        let now = Now { boot: boot(self.now_ms), wall: WallTime::from_micros(0) };
        let mut sent = 0;
        let actions = self.election.step(now, input);
        let leads = matches!(self.election.leadership(now.boot), Leadership::Leading { .. });
        for action in actions {
            match action {
                Action::SendCandidate { .. } => panic!("an open contest has no candidates"),
                Action::Send { id, request } => {
                    sent += 1;
                    if let Request::Write { based_on, record } = &request {
                        self.check_request_in(record, leads);
                        let last_told = match &self.told {
                            Observation::Present { version, .. } => Some(*version),
                            Observation::Missing { .. } => None,
                        };
                        // Who wants to be gone for good has dropped a read whose answer this world still told.
                        let dropped = self.withdrawing && record.holder.is_none() && *based_on < last_told;
                        if *based_on == last_told {
                            self.check_checkpoint_in(record, leads);
                        }
                        assert!(*based_on == last_told || dropped, "{based_on:?}, not {last_told:?} as last known");
                    }
                    if let Some((_, request, earlier, _)) = &self.under_way {
                        // Who wants to be gone for good does not wait for what a read may tell.
                        let dropped = self.withdrawing && *request == Request::Read;
                        let given_up = now.boot >= *earlier + self.timing.request_timeout();
                        assert!(given_up || dropped, "the request before it is still under way");
                    }
                    self.under_way = Some((id, request, now.boot, None));
                }
                Action::Tell(Notice::Leading(term)) => {
                    assert!(term.token > self.last_token, "{} after {}", term.token, self.last_token);
                    self.last_token = term.token;
                    self.asked = false;
                    // With its term, a guest's call is gone.
                    self.waiting = None;
                }
                Action::Tell(Notice::StepDownRequested(term)) => {
                    assert!(!self.asked && term.token == self.last_token, "told once a term");
                    self.asked = true;
                }
                Action::Tell(Notice::RequestFailed(_, StoreFailure::Unavailable)) => {
                    self.given_up = self.under_way.as_ref().map(|(id, ..)| *id);
                }
                Action::Tell(_) => {}
                Action::Answer(id, answer) => self.check_answer(id, &answer),
                Action::Withdrawn => {
                    assert!(!self.withdrawn, "withdrawn twice");
                    self.withdrawn = true;
                }
            }
        }
        assert!(sent <= 1, "at most one request is under way");
        assert!(!self.withdrawn || sent == 0, "who has withdrawn asks nothing");
        let next = self.election.next_deadline(now.boot);
        assert!(next.is_none_or(|next| next > now.boot), "a deadline that is not ahead makes the caller spin");
        if let Leadership::Leading { term, valid_until, certain, step_down } = self.election.leadership(now.boot) {
            let written_at = self.written_at.expect("nobody leads without a write that was answered");
            assert!(valid_until <= self.timing.valid_until(written_at), "the term is counted from the last write");
            assert!(now.boot < valid_until);
            assert_eq!(certain, now.boot < written_at + self.timing.renew_deadline());
            assert_eq!(term.token, self.last_token, "every term was told");
            assert_eq!(self.told.holder(), Some(ME), "nobody leads who knows better");
            assert_eq!(step_down, self.asked, "and people know of it");
            assert!(step_down || self.told_request() != Some(ME), "who is asked to step down knows it");
            assert!(next.is_some_and(|next| next <= valid_until), "the end of the term is a deadline");
        }
        assert!(self.withdrawn || next.is_some() || self.asks_nothing_for_good_reason(), "nothing would ever happen");
    }

    fn told_request(&self) -> Option<&str> {
        self.told.record()?.step_down.as_deref()
    }

    /// What a write makes of a request to step down that stands on the Lease.
    fn check_request_in(&self, record: &LeaseRecord, leads: bool) {
        let (before, after) = (self.told_request(), record.step_down.as_deref());
        if record.holder.is_none() {
            assert_eq!(after, None, "a release clears it");
        } else if leads {
            assert_eq!(after, before, "a renewal keeps it");
        } else if after.is_some() {
            let still_his = self.told.holder() == Some(ME) && before == Some(ME);
            assert!(still_his && after == before, "an acquisition clears what was meant for another, or is over");
        }
    }

    /// A watch that works, and a Lease that this replica may not take.
    fn asks_nothing_for_good_reason(&self) -> bool {
        self.told.holder().is_some_and(|holder| holder != ME)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_for_any_sequence_of_inputs(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        world.step(Input::Tick);
        for op in ops {
            world.apply(op);
        }
    }
}
