//! What must hold at every moment, on true time.

use leasehold_core::election::{Leadership, Request};

use crate::{
    clock::TrueTime,
    defect::Defect,
    foreign::Foreign,
    guests::{leads, tolerance},
    tally::Seen,
    world::{ProcessId, World},
};

/// What must hold. A history that violates one of these has found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// No two replicas are inside their terms at the same instant.
    OneLeader,
    /// No replica is inside its term while a foreign elector may correctly believe that it leads.
    NoneBesideForeign,
    /// No two guests run at the same instant.
    OneGuest,
    /// No guest runs past the end of its term.
    GuestInTerm,
    /// A process starts no guest beside another.
    SecondGuest,
    /// The Lease is not released while the guest exists.
    ReleasedUnderGuest,
    /// Nor while its module is being told of the term's end,
    ReleasedUnderCallback,
    /// and no guest starts before that is over;
    StartedUnderCallback,
    /// nor, where the module has not come to its end with that, while what its guest has permitted others may last.
    ReleasedUnderPermission,
    /// Nor while the leader's label is on the Pod,
    ReleasedUnderLabel,
    /// which does not come on any more afterwards,
    LabelAfterRelease,
    /// and is asked for only in a term.
    LabelOutOfTerm,
    /// Where all is calm, the leader's Pod has it, and no other.
    LabelAstray,
    /// The module is told of the end of each term in which it ran, once.
    EndToldOnce,
    /// It hears of each new leader, in order.
    LeadersInOrder,
    /// Who was told of another holder does not lead.
    ToldOfAnother,
    /// A record that was not seen to run out is not taken over.
    TakenTooEarly,
    /// Tokens grow from term to term.
    TokensGrow,
    /// No effect of a term is accepted after one of a later term; those of the newest are.
    EffectOrder,
    /// A guest that is told that its state is saved: it is written.
    SavedUnwritten,
    /// Only saves, and people, change the checkpoint.
    CheckpointLost,
    /// What was saved last is loaded.
    SaveLost,
    /// No save is written in a later term than its own, nor after a later run has loaded.
    LateSave,
    /// A host ends only when it is asked to,
    EndsUnasked,
    /// and leaves no guest and no term behind.
    EndsTooEarly,
    /// A guest that does not report progress is stopped.
    SilentGuest,
    /// One that does is not, for that.
    StoppedThoughReporting,
    /// Who has missed its progress deadline too often in a row gives the Lease up.
    SilentLeadsOn,
    /// Somebody leads.
    NobodyLeads,
    /// Who knows that a module was refused, and has another, does not start it.
    RefusedStarted,
    /// All end with the same module, the last one that works.
    NotTheSame,
    /// A swap costs no term: neither the Lease nor the token.
    SwapEndsTerm,
    /// Who was asked to step down does.
    LeadsOn,
    /// Nobody wants to be called again at once.
    Spins,
    /// The core does not panic.
    Panicked,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

impl Violation {
    pub(crate) fn new(rule: Rule, text: impl Into<String>) -> Self {
        Self { rule, text: text.into() }
    }
}

/// Who believes to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Ours(ProcessId),
    Foreign(usize),
    Script,
}

#[derive(Debug, Default)]
pub(crate) struct Invariants {
    pub(crate) violation: Option<Violation>,
    /// The newest term, and whose it was.
    last_term: Option<(u64, ProcessId)>,
    /// Until when each one believes it leads; those that were killed included, unless it was told.
    bounds: Vec<Bound>,
    /// The versions at which somebody took the Lease from its holder by hand, so that others
    /// may have it: who held it cannot know before it is told.
    freed_by_hand: Vec<u64>,
    /// Those at which it was written by hand at all: a foreign elector may have asked for a longer time than that.
    edited_by_hand: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    owner: Owner,
    token: u64,
    ends: TrueTime,
}

impl Invariants {
    /// The first violation of a history is the one to look at.
    pub(crate) fn violated(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation::new(rule, what()));
    }

    /// The others are told that it has ended; or it knows that it does not lead: they need not wait.
    pub(crate) fn believes_no_more(&mut self, owner: Owner) {
        self.bounds.retain(|bound| bound.owner != owner);
    }

    pub(crate) fn freed_by_hand(&mut self, version: u64) {
        self.freed_by_hand.push(version);
    }

    pub(crate) fn edited_by_hand(&mut self, version: u64) {
        self.edited_by_hand.push(version);
    }

    /// Two terms that are both believed in can be explained by an edit between them, and by nothing else.
    fn excused(&self, one: u64, other: u64) -> bool {
        is_between(&self.freed_by_hand, one, other)
    }
}

fn is_between(edits: &[u64], one: u64, other: u64) -> bool {
    edits.iter().any(|edit| (one.min(other)..one.max(other)).contains(edit))
}

impl World {
    /// A term began: its token is higher than that of every term before.
    pub(crate) fn term_begins(&mut self, process: ProcessId, token: u64) {
        self.tally.count(Seen::TermBegan);
        let mut late = false;
        if let Some((last, of)) = self.invariants.last_term {
            if of != process {
                self.tally.count(Seen::Handover);
            }
            if token <= last {
                if self.invariants.excused(token, last) {
                    late = true;
                    self.tally.count(Seen::ExcusedByEdit);
                } else {
                    self.invariants
                        .violated(Rule::TokensGrow, || format!("a term with token {token} follows one with {last}"));
                }
            }
        }
        self.receiver.term_begins(token, late);
        let last = self.invariants.last_term.map_or(0, |(last, _)| last);
        self.invariants.last_term = Some((token.max(last), process));
    }

    /// What one process believes has changed: no other may be inside its term.
    pub(crate) fn check_bounds(&mut self, process: ProcessId) {
        let now = self.now;
        let target = &self.processes[process];
        let clock = &self.machines[target.machine].clock;
        let Leadership::Leading { term, valid_until, .. } = target.gate.published else {
            return self.invariants.believes_no_more(Owner::Ours(process));
        };
        // Those who are planted to hear or to count wrongly are found by what comes of it.
        let planted = self.plan.defect.is_some_and(|defect| defect != Defect::LeadsOnBesideAnother);
        if target.told.holder_is_another && !planted {
            let who = &target.identity;
            self.invariants
                .violated(Rule::ToldOfAnother, || format!("{who} leads, and was told that it does not hold the lease"));
        }
        let ends = clock.when(valid_until);
        self.invariants.bounds.retain(|bound| bound.ends > now);
        self.check_bound(Owner::Ours(process), term.token, ends);
    }

    /// This one now may believe to lead until then.
    pub(crate) fn check_bound(&mut self, owner: Owner, token: u64, ends: TrueTime) {
        let now = self.now;
        let bound = Bound { owner, token, ends };
        self.invariants.believes_no_more(owner);
        if bound.ends <= now {
            return;
        }
        for index in 0..self.invariants.bounds.len() {
            let other = self.invariants.bounds[index];
            let ours = [owner, other.owner].map(|owner| matches!(owner, Owner::Ours(_)));
            let rule = match ours {
                [true, true] => Rule::OneLeader,
                [false, false] => continue, // Theirs.
                _ => Rule::NoneBesideForeign,
            };
            let excused = match rule {
                Rule::OneLeader => self.invariants.excused(token, other.token),
                _ => is_between(&self.invariants.edited_by_hand, token, other.token),
            };
            if other.ends <= now {
                continue;
            }
            if excused {
                self.tally.count(Seen::ExcusedByEdit);
                continue;
            }
            let [one, two] = [owner, other.owner].map(|owner| self.name(owner).to_owned());
            self.invariants.violated(rule, || {
                let more_ms = (other.ends.min(bound.ends) - now) / 1_000_000;
                format!(
                    "two leaders at once: {one} (token {token}) and {two} (token {}), for up to {more_ms} ms more",
                    other.token
                )
            });
        }
        self.invariants.bounds.push(bound);
    }

    /// A write that takes the Lease is only sent once the record of who held it has run out, as far as this
    /// process was told.
    pub(crate) fn check_takeover(&mut self, process: ProcessId, request: &Request) {
        let now = self.boot(process);
        let target = &self.processes[process];
        if let Some(left) = target.told.takes_too_early(request, &target.identity, now, self.plan.timing()) {
            let who = &target.identity;
            self.invariants.violated(Rule::TakenTooEarly, || {
                format!("{who} takes a lease over whose record has {left:?} left by its own observation: {request:?}")
            });
        }
    }

    fn name(&self, owner: Owner) -> &str {
        match owner {
            Owner::Ours(process) => &self.processes[process].identity,
            Owner::Foreign(foreign) => &self.foreigners[foreign].identity,
            Owner::Script => "a script",
        }
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
                self.invariants.violated(Rule::GuestInTerm, || {
                    format!("the guest of {who} runs {past:?} past the end of its term")
                });
            }
            if let Some(silent) = self.silent_too_long(id) {
                let who = &process.identity;
                self.invariants
                    .violated(Rule::SilentGuest, || format!("the guest of {who} runs on, silent for {silent:?}"));
            }
            if let Some((other, token)) = first {
                if self.invariants.excused(token, guest.token) {
                    self.tally.count(Seen::ExcusedByEdit);
                } else {
                    let (one, two) = (&self.processes[other].identity, &process.identity);
                    self.invariants
                        .violated(Rule::OneGuest, || format!("two guests run at once: those of {one} and {two}"));
                }
            }
            first = Some((id, guest.token));
        }
        if first.is_some() {
            for seen in self.foreigners.iter_mut().filter_map(Foreign::overstays) {
                self.tally.count(seen);
            }
        }
    }

    /// The process that leads and whose guest runs.
    pub(crate) fn running_leader(&self) -> Option<ProcessId> {
        self.machines.iter().filter_map(|machine| machine.process).find(|process| {
            let process = &self.processes[*process];
            process.guest.as_ref().is_some_and(|guest| guest.executes) && leads(&process.gate.published)
        })
    }

    /// Some process is inside its term.
    pub(crate) fn somebody_leads(&self) -> bool {
        self.machines.iter().any(|machine| {
            machine.process.is_some_and(|process| match self.processes[process].gate.published {
                Leadership::Leading { valid_until, .. } => machine.clock.boot(self.now) < valid_until,
                Leadership::Standby { .. } => false,
            })
        })
    }
}
