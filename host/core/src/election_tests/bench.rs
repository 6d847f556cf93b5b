//! An election on a bench: the test plays the clock and the store.

use std::time::Duration;

use crate::{
    candidate::CandidateRequest,
    checkpoint::{Answer, Call, CallId, Checkpoint, SavedState},
    election::{
        Action, Contest, Election, ElectionConfig, Input, Leadership, Notice, Reply, Request, RequestId, StayOut, Term,
    },
    lease::{LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    time::{BootTime, Now, WallTime},
    timing::Timing,
};

/// The identity under test.
pub(super) const ME: &str = "me";
/// The task under test.
pub(super) const TASK: &str = "nightly";
/// Where the boot clock stands at the script's 0 ms: not 0, as on any machine.
const BOOTED_MS: u64 = 1_000_000;

pub(super) struct Bench {
    pub(super) election: Election,
    now_ms: u64,
    stepped: bool,
    /// The wall clock is this far ahead of the script, unless it stands still.
    pub(super) wall_offset_us: i64,
    pub(super) wall_stands_at: Option<WallTime>,
    /// The request under way, and when it was sent.
    pub(super) under_way: Option<(u64, RequestId, Request)>,
    /// The request about the candidate that is under way.
    pub(super) candidate: Option<(RequestId, CandidateRequest)>,
    /// The last request that got no answer before its deadline.
    pub(super) given_up: Option<RequestId>,
    /// Since it was last asked for.
    told: Vec<Notice>,
    /// Since they were last asked for.
    answers: Vec<(CallId, Answer)>,
    calls: u64,
    pub(super) withdrawn: bool,
}

pub(super) fn boot(ms: u64) -> BootTime {
    BootTime::from_nanos((BOOTED_MS + ms) * 1_000_000)
}

pub(super) fn config(timing: Timing) -> ElectionConfig {
    ElectionConfig { identity: ME.into(), task: TASK.into(), adopt: false, timing, contest: Contest::Open }
}

/// What a Lease says that `holder` renewed for the `renewal`th time, for the default 15 s.
pub(super) fn record(holder: Option<&str>, renewal: i64) -> LeaseRecord {
    LeaseRecord {
        holder: holder.map(str::to_owned),
        duration: Some(Duration::from_secs(15)),
        acquired: Some(WallTime::from_micros(7)),
        renewed: Some(WallTime::from_micros(1_000 + renewal)),
        transitions: 3,
        task: Some(TASK.into()),
        token: None,
        step_down: None,
        coordination: None,
        checkpoint: None,
        modules: Box::default(),
    }
}

fn state_of(text: &str) -> SavedState {
    SavedState::new(text.as_bytes()).expect("it is short")
}

pub(super) fn saved(text: &str) -> Checkpoint {
    Checkpoint::Saved(state_of(text))
}

/// `seen`, with this as its checkpoint.
pub(super) fn keeping(checkpoint: Checkpoint, seen: Observation) -> Observation {
    match seen {
        Observation::Present { version, record } => {
            present(version.0, LeaseRecord { checkpoint: Some(checkpoint), ..record })
        }
        Observation::Missing { .. } => panic!("a checkpoint stands on a lease"),
    }
}

/// `seen`, and `whom` is asked to step down.
pub(super) fn asking(whom: &str, seen: Observation) -> Observation {
    match seen {
        Observation::Present { version, record } => {
            present(version.0, LeaseRecord { step_down: Some(whom.into()), ..record })
        }
        Observation::Missing { .. } => panic!("a request stands on a lease"),
    }
}

pub(super) fn present(version: u64, record: LeaseRecord) -> Observation {
    Observation::Present { version: Version(version), record }
}

/// Held by `holder`, whose renewals differ as the versions do.
pub(super) fn held_by(holder: &str, version: u64) -> Observation {
    present(version, record(Some(holder), i64::try_from(version).expect("small")))
}

pub(super) fn free(version: u64) -> Observation {
    present(version, record(None, 0))
}

pub(super) fn missing() -> Observation {
    Observation::Missing { deleted_at: None }
}

pub(super) fn deleted(version: u64) -> Observation {
    Observation::Missing { deleted_at: Some(Version(version)) }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config(Timing::default()))
    }

    pub(super) fn with_timing(lease_s: u64, renew_deadline_s: u64, retry_s: u64) -> Self {
        let s = Duration::from_secs;
        Self::with(config(
            Timing::new(s(lease_s), s(renew_deadline_s), s(retry_s)).expect("the test's timing is valid"),
        ))
    }

    /// As a process has it: it waits a moment where others may want the same.
    pub(super) fn with_spread(seed: u64) -> Self {
        Self { election: Election::new(config(Timing::default()), seed), ..Self::new() }
    }

    pub(super) fn with(config: ElectionConfig) -> Self {
        Self {
            election: Election::without_spread(config, 1),
            now_ms: 0,
            stepped: false,
            wall_offset_us: 50_000_000,
            wall_stands_at: None,
            under_way: None,
            candidate: None,
            given_up: None,
            told: Vec::new(),
            answers: Vec::new(),
            calls: 0,
            withdrawn: false,
        }
    }

    /// A bench whose watch works and that leads from 0 ms on with token 10, just told so.
    pub(super) fn leading() -> Self {
        Self::new().made_leading()
    }

    pub(super) fn made_leading(mut self) -> Self {
        self.watch(0, free(9));
        self.written(0, 10);
        assert!(self.leads(), "the bench's own start");
        self.told();
        self
    }

    /// A bench whose watch works and that has seen `other` hold version 9 at 0 ms.
    pub(super) fn standing_by() -> Self {
        let mut bench = Self::new();
        // It is seen to renew.
        bench.watch(0, held_by("other", 8)).watch(0, held_by("other", 9));
        bench.told();
        bench
    }

    /// Steps at every deadline up to and including `ms`.
    pub(super) fn run_until(&mut self, ms: u64) -> &mut Self {
        while self.stepped
            && let Some(at) = self.election.next_deadline(boot(self.now_ms))
            && at <= boot(ms)
        {
            let at_ms = at.as_nanos().div_ceil(1_000_000) - BOOTED_MS;
            assert!(at > boot(self.now_ms), "a deadline that is not ahead makes the caller spin: {at_ms} ms");
            self.step(at_ms, Input::Tick);
        }
        self.step(ms.max(self.now_ms), Input::Tick);
        self
    }

    /// Steps at every deadline until something is under way; when it was sent.
    pub(super) fn run_until_sent(&mut self) -> u64 {
        while self.idle() {
            let at = self.election.next_deadline(boot(self.now_ms)).expect("it is going to ask something");
            self.run_until(at.as_nanos().div_ceil(1_000_000) - BOOTED_MS);
        }
        self.sent_at()
    }

    /// Steps once at `ms`, as a process does that nobody let run before.
    pub(super) fn wake_at(&mut self, ms: u64) -> &mut Self {
        self.step(ms, Input::Tick);
        self
    }

    /// The request under way is answered at `ms`.
    pub(super) fn answer(&mut self, ms: u64, result: Result<Reply, StoreFailure>) -> &mut Self {
        self.run_until(ms);
        let (_, id, _) = self.under_way.take().unwrap_or_else(|| panic!("nothing is under way at {ms} ms"));
        self.step(ms, Input::Answered(id, result));
        self
    }

    /// An answer arrives at `ms`, after its request was given up.
    pub(super) fn answer_late(&mut self, ms: u64, reply: Reply) -> &mut Self {
        self.run_until(ms);
        let id = self.given_up.expect("a request was given up");
        self.step(ms, Input::Answered(id, Ok(reply)));
        self
    }

    pub(super) fn written(&mut self, ms: u64, version: u64) -> &mut Self {
        self.answer(ms, Ok(Reply::Written(Version(version))))
    }

    pub(super) fn read(&mut self, ms: u64, seen: Observation) -> &mut Self {
        self.answer(ms, Ok(Reply::Read(seen)))
    }

    pub(super) fn fail(&mut self, ms: u64, failure: StoreFailure) -> &mut Self {
        self.answer(ms, Err(failure))
    }

    /// The watch tells of this at `ms`. As the first thing in a script it makes the first read needless.
    pub(super) fn watch(&mut self, ms: u64, seen: Observation) -> &mut Self {
        if self.stepped {
            self.run_until(ms);
        }
        self.step(ms, Input::Watched(WatchEvent::Seen(seen)));
        self
    }

    pub(super) fn watch_breaks(&mut self, ms: u64) -> &mut Self {
        self.run_until(ms);
        self.step(ms, Input::Watched(WatchEvent::Broken));
        self
    }

    pub(super) fn step_down(&mut self, ms: u64, stay_out: StayOut) -> &mut Self {
        self.run_until(ms);
        self.step(ms, Input::StepDown(stay_out));
        self
    }

    /// The guest of the term with this token asks for something at `ms`.
    pub(super) fn call(&mut self, ms: u64, token: u64, call: Call) -> CallId {
        self.run_until(ms);
        self.calls += 1;
        let id = CallId(self.calls);
        self.step(ms, Input::Called(id, Some(Term { token }), call));
        id
    }

    /// The guest of the term with token 10 saves at `ms`.
    pub(super) fn save(&mut self, ms: u64, state: &str) -> CallId {
        self.call(ms, 10, Call::Save(state_of(state)))
    }

    pub(super) fn load(&mut self, ms: u64) -> CallId {
        self.call(ms, 10, Call::Load)
    }

    pub(super) fn drop_call(&mut self, ms: u64) -> &mut Self {
        self.run_until(ms);
        self.step(ms, Input::CallDropped);
        self
    }

    /// What guests were told since this was last asked.
    pub(super) fn answers(&mut self) -> Vec<(CallId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// What the write under way says of the checkpoint.
    pub(super) fn writes_checkpoint(&self) -> Option<&Checkpoint> {
        self.writes().expect("a write is under way").1.checkpoint.as_ref()
    }

    pub(super) fn step(&mut self, ms: u64, input: Input) {
        assert!(ms >= self.now_ms, "the script goes back in time");
        self.now_ms = ms;
        self.stepped = true;
        let passed_us = i64::try_from(ms * 1_000).expect("small");
        let wall = self.wall_stands_at.unwrap_or(WallTime::from_micros(passed_us + self.wall_offset_us));
        for action in self.election.step(Now { boot: boot(ms), wall }, input) {
            match action {
                Action::Send { id, request, .. } => self.under_way = Some((ms, id, request)),
                Action::SendCandidate { id, request } => self.candidate = Some((id, request)),
                Action::Tell(notice) => {
                    if let Notice::RequestFailed(_, StoreFailure::Unavailable) = notice
                        && let Some((_, id, _)) = self.under_way.take()
                    {
                        self.given_up = Some(id);
                    }
                    self.told.push(notice);
                }
                Action::Answer(id, answer) => self.answers.push((id, answer)),
                Action::Withdrawn => {
                    assert!(!self.withdrawn, "withdrawn twice");
                    self.withdrawn = true;
                }
            }
        }
    }

    /// What people were told since this was last asked.
    pub(super) fn told(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn leadership(&self) -> Leadership {
        self.election.leadership(boot(self.now_ms))
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.leadership(), Leadership::Leading { .. })
    }

    pub(super) fn token(&self) -> Option<u64> {
        match self.leadership() {
            Leadership::Leading { term, .. } => Some(term.token),
            Leadership::Standby { .. } => None,
        }
    }

    /// How long the term is still valid, in ms of the script.
    pub(super) fn valid_until(&self) -> BootTime {
        match self.leadership() {
            Leadership::Leading { valid_until, .. } => valid_until,
            Leadership::Standby { .. } => panic!("it does not lead"),
        }
    }

    pub(super) fn certain(&self) -> bool {
        matches!(self.leadership(), Leadership::Leading { certain: true, .. })
    }

    /// Whether the leader was asked to step down.
    pub(super) fn asked(&self) -> bool {
        matches!(self.leadership(), Leadership::Leading { step_down: true, .. })
    }

    /// Who is asked to step down by the write under way.
    pub(super) fn keeps_request_to(&self) -> Option<&str> {
        self.writes().expect("a write is under way").1.step_down.as_deref()
    }

    /// When the request under way was sent.
    pub(super) fn sent_at(&self) -> u64 {
        self.under_way.as_ref().expect("something is under way").0
    }

    pub(super) fn reads(&self) -> bool {
        matches!(self.under_way, Some((_, _, Request::Read)))
    }

    /// The write under way: the version it names, and what it writes.
    pub(super) fn writes(&self) -> Option<(Option<u64>, &LeaseRecord)> {
        match &self.under_way {
            Some((_, _, Request::Write { based_on, record })) => Some((based_on.map(|version| version.0), record)),
            _ => None,
        }
    }

    /// The version named by the write under way that makes or keeps us the holder.
    pub(super) fn takes(&self) -> Option<Option<u64>> {
        self.writes().filter(|(_, record)| record.holder.as_deref() == Some(ME)).map(|(based_on, _)| based_on)
    }

    /// The version named by the release under way.
    pub(super) fn releases(&self) -> Option<Option<u64>> {
        self.writes().filter(|(_, record)| record.holder.is_none()).map(|(based_on, _)| based_on)
    }

    pub(super) fn idle(&self) -> bool {
        self.under_way.is_none()
    }
}
