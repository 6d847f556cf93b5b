//! What must hold at every moment, on true time.

use leasehold_core::{
    election::{Leadership, Reply},
    lease::Version,
    ports::WatchEvent,
    replica::Input,
};

use crate::{
    clock::TrueTime,
    guests::tolerance,
    tally::Seen,
    world::{ProcessId, World},
};

#[derive(Debug, Default)]
pub(crate) struct Invariants {
    pub(crate) violation: Option<String>,
    /// The newest term, and whose it was.
    last_term: Option<(u64, ProcessId)>,
    /// Until when each process believes it leads; those that were killed included, unless it was told.
    bounds: Vec<Bound>,
    /// The versions at which somebody took the Lease from its holder by hand, so that others
    /// may have it: who held it cannot know before it is told.
    freed_by_hand: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    process: ProcessId,
    token: u64,
    ends: TrueTime,
}

/// The newest that a process was told of the Lease.
#[derive(Debug, Default)]
pub(crate) struct Told {
    version: Option<Version>,
    holder_is_another: bool,
}

impl Told {
    pub(crate) fn hear(&mut self, input: &Input, identity: &str) {
        let (version, holder_is_another) = match input {
            Input::Watched(WatchEvent::Seen(seen)) | Input::Answered(_, Ok(Reply::Read(seen))) => {
                (seen.version(), seen.holder() != Some(identity))
            }
            Input::Answered(_, Ok(Reply::Written(version))) => (Some(*version), false),
            _ => return,
        };
        if version > self.version {
            *self = Self { version, holder_is_another };
        }
    }
}

impl Invariants {
    /// The first violation of a history is the one to look at.
    pub(crate) fn violated(&mut self, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(what);
    }

    /// The others are told that it has ended: they need not wait.
    pub(crate) fn proven_to_have_ended(&mut self, process: ProcessId) {
        self.bounds.retain(|bound| bound.process != process);
    }

    pub(crate) fn freed_by_hand(&mut self, version: u64) {
        self.freed_by_hand.push(version);
    }

    /// Two terms that are both believed in can be explained by an edit between them, and by nothing else.
    fn excused(&self, one: u64, other: u64) -> bool {
        self.freed_by_hand.iter().any(|freed| (one.min(other)..one.max(other)).contains(freed))
    }
}

impl World {
    /// A term began: its token is higher than that of every term before.
    pub(crate) fn term_begins(&mut self, process: ProcessId, token: u64) {
        self.tally.count(Seen::TermBegan);
        if let Some((last, of)) = self.invariants.last_term {
            if of != process {
                self.tally.count(Seen::Handover);
            }
            if token <= last {
                if self.invariants.excused(token, last) {
                    self.tally.count(Seen::ExcusedByEdit);
                } else {
                    self.invariants.violated(|| format!("a term with token {token} follows one with {last}"));
                }
            }
        }
        let last = self.invariants.last_term.map_or(0, |(last, _)| last);
        self.invariants.last_term = Some((token.max(last), process));
    }

    /// What one process believes has changed: no other may be inside its term.
    pub(crate) fn check_bounds(&mut self, process: ProcessId) {
        let now = self.now;
        let script = self.script_works();
        let target = &self.processes[process];
        let clock = &self.machines[target.machine].clock;
        let invariants = &mut self.invariants;
        invariants.bounds.retain(|bound| bound.process != process && bound.ends > now);
        let Leadership::Leading { term, valid_until, .. } = target.gate.published else { return };
        if target.told.holder_is_another && self.plan.defect.is_none() {
            let who = &target.identity;
            invariants.violated(|| format!("{who} leads, and was told that it does not hold the lease"));
        }
        let bound = Bound { process, token: term.token, ends: clock.when(valid_until) };
        if bound.ends <= now {
            return;
        }
        if let Some(work) = script
            && !invariants.excused(bound.token, work.version.0)
        {
            let who = &target.identity;
            invariants.violated(|| {
                let more_ms = (work.ends.min(bound.ends) - now) / 1_000_000;
                format!("two leaders at once: {who} (token {}) and a script, for up to {more_ms} ms more", bound.token)
            });
        }
        for index in 0..invariants.bounds.len() {
            let other = invariants.bounds[index];
            if invariants.excused(bound.token, other.token) {
                self.tally.count(Seen::ExcusedByEdit);
                continue;
            }
            let (one, two) = (&target.identity, &self.processes[other.process].identity);
            invariants.violated(|| {
                let more_ms = (other.ends.min(bound.ends) - now) / 1_000_000;
                format!(
                    "two leaders at once: {one} (token {}) and {two} (token {}), for up to {more_ms} ms more",
                    bound.token, other.token
                )
            });
        }
        invariants.bounds.push(bound);
    }

    /// No guest runs outside of its replica's term, nor two at the same instant.
    pub(crate) fn check_guests(&mut self) {
        let mut first: Option<(ProcessId, u64)> = None;
        for machine in &self.machines {
            let Some(id) = machine.process else { continue };
            let process = &self.processes[id];
            let Some(guest) = process.guest.as_ref().filter(|guest| guest.executes && !process.paused) else {
                continue;
            };
            let past = machine.clock.boot(self.now).since(guest.bound);
            if past.as_nanos() > u128::from(tolerance()) {
                let who = &process.identity;
                self.invariants.violated(|| format!("the guest of {who} runs {past:?} past the end of its term"));
            }
            if let Some((other, token)) = first {
                if self.invariants.excused(token, guest.token) {
                    self.tally.count(Seen::ExcusedByEdit);
                } else {
                    let (one, two) = (&self.processes[other].identity, &process.identity);
                    self.invariants.violated(|| format!("two guests run at once: those of {one} and {two}"));
                }
            }
            first = Some((id, guest.token));
        }
    }

    /// The process that leads and whose guest runs.
    pub(crate) fn running_leader(&self) -> Option<ProcessId> {
        self.machines.iter().filter_map(|machine| machine.process).find(|process| {
            let process = &self.processes[*process];
            process.guest.as_ref().is_some_and(|guest| guest.executes)
                && matches!(process.gate.published, Leadership::Leading { .. })
        })
    }
}
