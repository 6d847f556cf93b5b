//! The guests, and the gate between each of them and the world.
//!
//! The gate is as the host's: it knows what was last published, looks at the clock by itself, and
//! needs no control loop for it. A guest that computes is looked at once a tick.

use leasehold_core::{
    election::{Leadership, Term},
    replica::Input,
    task::{GuestEvent, Outcome, RunId, StopReason},
    time::BootTime,
    timing::EPOCH_TICK,
};

use crate::{
    checkpoints::Calling,
    clock::{MILLISECOND, SECOND, TrueTime},
    defect::Defect,
    invariants::Rule,
    modules::is_bad,
    progress::Progress,
    tally::Seen,
    world::{Event, ProcessId, World},
};

#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) published: Leadership,
    /// Grows with each publication.
    publication: u64,
    /// When it closes if nothing else is published.
    closes_at: TrueTime,
    /// Planted: the term is thought to last until then; whether it had ended before.
    stretched: Option<(u64, BootTime, bool)>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { published: Leadership::Standby { holder: None }, publication: 0, closes_at: 0, stretched: None }
    }
}

/// It exists from its start until all of it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) run: RunId,
    pub(crate) token: u64,
    pub(crate) module: String,
    /// Instructions of it run (unless nothing of its process does).
    pub(crate) executes: bool,
    /// The last that its gate was told.
    pub(crate) bound: BootTime,
    pub(crate) calling: Calling,
    pub(crate) progress: Progress,
}

fn tick_ns() -> u64 {
    EPOCH_TICK.as_nanos().try_into().expect("a tick is short")
}

impl World {
    pub(crate) fn boot(&self, process: ProcessId) -> BootTime {
        self.machines[self.processes[process].machine].clock.boot(self.now)
    }

    pub(crate) fn guest(&mut self, process: ProcessId, run: RunId) -> Option<&mut Guest> {
        self.processes[process].guest.as_mut().filter(|guest| guest.run == run)
    }

    /// What the control loop knows reaches the gate, before anything is done about it.
    pub(crate) fn publish(&mut self, process: ProcessId, leadership: &Leadership, expired: bool) {
        let leadership = self.stretch(process, leadership.clone(), expired);
        let machine = self.processes[process].machine;
        let target = &mut self.processes[process];
        target.gate.publication += 1;
        target.gate.published = leadership;
        let publication = target.gate.publication;
        self.check_bounds(process);
        let target = &mut self.processes[process];
        let Some(guest) = &mut target.guest else { return };
        let look = self.rng.u64(0..=tick_ns());
        let at = match target.gate.published {
            Leadership::Leading { term, valid_until, .. } if term.token == guest.token => {
                guest.bound = guest.bound.max(valid_until);
                let clock = &self.machines[machine].clock;
                let late = BootTime::from_nanos(valid_until.as_nanos().saturating_add(look));
                clock.when(late)
            }
            // The tick that is under way is not put off by that.
            _ if target.gate.closes_at >= self.now => target.gate.closes_at.min(self.now + look),
            _ => self.now + look,
        };
        target.gate.closes_at = at;
        self.at(at, Event::GateCloses(process, publication));
    }

    /// Planted mistakes about how long a term lasts.
    fn stretch(&mut self, process: ProcessId, leadership: Leadership, expired: bool) -> Leadership {
        let now = self.boot(process);
        let target = &mut self.processes[process];
        let more = match self.plan.defect {
            Some(Defect::TermCountedFromAnswer) => target.last_write_took,
            Some(Defect::BeliefOutlastsTerm) => 41 * SECOND,
            Some(Defect::NoMargin) => self.plan.timing().margin().as_nanos().try_into().expect("short"),
            _ => return leadership,
        };
        match leadership {
            Leadership::Leading { term, valid_until, certain, step_down } => {
                let valid_until = BootTime::from_nanos(valid_until.as_nanos() + more);
                target.gate.stretched = Some((term.token, valid_until, false));
                Leadership::Leading { term, valid_until, certain, step_down }
            }
            Leadership::Standby { .. } => match target.gate.stretched {
                // The machine knows better, but who counts wrongly does not.
                Some((token, until, over)) if now < until && (expired || over) => {
                    target.gate.stretched = Some((token, until, true));
                    let term = Term { token };
                    Leadership::Leading { term, valid_until: until, certain: false, step_down: false }
                }
                _ => {
                    target.gate.stretched = None;
                    leadership
                }
            },
        }
    }

    pub(crate) fn guest_starts(&mut self, process: ProcessId, run: RunId, module: &str, token: u64) {
        if self.processes[process].guest.is_some() {
            return self
                .invariants
                .violated(Rule::SecondGuest, || "a second guest is started beside the first".to_owned());
        }
        self.tally.count(Seen::GuestStarted);
        self.check_module(process, module, token);
        self.owes_end(process, token);
        self.count_misses(process, token);
        self.processes[process].guest = Some(Guest {
            run,
            token,
            module: module.to_owned(),
            executes: false,
            bound: BootTime::ZERO,
            calling: Calling::NotYet,
            progress: Progress::from(self.boot(process)),
        });
        let leadership = self.processes[process].gate.published.clone();
        self.publish(process, &leadership, false);
        self.within(300 * MILLISECOND, Event::GuestBegins(process, run));
    }

    /// Instantiated: unless the gate is closed by now, instructions run.
    pub(crate) fn guest_begins(&mut self, process: ProcessId, run: RunId) {
        if self.freeze(process, Event::GuestBegins(process, run)) {
            return;
        }
        let (now, quiet, rng) = (self.boot(process), self.is_quiet(), &mut self.rng);
        let Some(guest) = self.processes[process].guest.as_mut().filter(|guest| guest.run == run) else { return };
        if now >= guest.bound {
            return; // The gate is about to end it.
        }
        guest.executes = true;
        if is_bad(&guest.module) {
            return self.bad_module_fails(process, run);
        }
        let what = if quiet { 9 } else { rng.u32(0..10) };
        let lasts = rng.u64(0..60 * SECOND);
        match what {
            0 => self.after(lasts, Event::GuestEnds(process, run, Outcome::Returned)),
            1 => self.after(lasts, Event::GuestEnds(process, run, Outcome::Error("failed".into()))),
            2 => self.after(lasts / 60, Event::GuestEnds(process, run, Outcome::Trap("unreachable".into()))),
            3 => self.after(lasts, Event::GuestStepsDown(process, run)),
            _ => {} // For ever.
        }
        self.within(SECOND, Event::GuestActs(process, run));
        self.within(SECOND, Event::GuestCalls(process, run));
        self.guest_may_report(process, run);
    }

    pub(crate) fn guest_is_asked(&mut self, process: ProcessId, run: RunId, reason: StopReason) {
        self.tally.count(Seen::AskedToStop);
        let takes = match self.rng.u32(0..4) {
            0 | 1 => self.rng.u64(0..SECOND),
            2 => self.rng.u64(0..20 * SECOND),
            _ => return self.declare_gone(process, run, reason), // It does not listen.
        };
        let outcome = if self.rng.bool() { Outcome::Returned } else { Outcome::Error("interrupted".into()) };
        self.after(takes, Event::GuestEnds(process, run, outcome));
        self.declare_gone(process, run, reason);
    }

    /// Planted: the runtime does not wait until the guest is gone.
    fn declare_gone(&mut self, process: ProcessId, run: RunId, reason: StopReason) {
        if self.plan.defect == Some(Defect::GuestDeclaredGone) {
            let ended = Input::Guest(run, GuestEvent::Ended(Outcome::Ended(reason)));
            self.after(0, Event::Deliver(process, ended));
        }
    }

    pub(crate) fn guest_is_ended(&mut self, process: ProcessId, run: RunId, reason: StopReason) {
        if self.processes[process].gate.stretched.is_some_and(|(.., over)| over) {
            return; // Planted: to who counts wrongly, the term is not over.
        }
        self.tally.count(Seen::EndedHard);
        self.within(10 * MILLISECOND, Event::GuestGone(process, run, Outcome::Ended(reason)));
    }

    pub(crate) fn guest_ends(&mut self, process: ProcessId, run: RunId, outcome: Outcome) {
        if self.freeze(process, Event::GuestEnds(process, run, outcome.clone())) {
            return;
        }
        if self.guest(process, run).is_none_or(|guest| !guest.executes) {
            return;
        }
        self.tally.count(if outcome == Outcome::Returned { Seen::GuestReturned } else { Seen::GuestFailed });
        self.guest_gone(process, run, outcome);
    }

    pub(crate) fn guest_steps_down(&mut self, process: ProcessId, run: RunId) {
        if self.freeze(process, Event::GuestStepsDown(process, run)) {
            return;
        }
        if self.guest(process, run).is_some_and(|guest| guest.executes) {
            self.tally.count(Seen::GuestSteppedDown);
            self.forget_misses(process);
            self.deliver(process, Input::Guest(run, GuestEvent::SteppedDown));
        }
    }

    /// Its future and its store are dropped.
    pub(crate) fn guest_gone(&mut self, process: ProcessId, run: RunId, outcome: Outcome) {
        if self.freeze(process, Event::GuestGone(process, run, outcome.clone())) {
            return;
        }
        if self.guest(process, run).is_some() {
            self.note_miss(process);
            if let Some(guest) = self.processes[process].guest.take() {
                self.permission_remains(process, guest.token, guest.bound);
                if outcome != Outcome::Returned {
                    self.module_failed(process, &guest.module);
                }
            }
            self.deliver(process, Input::Guest(run, GuestEvent::Ended(outcome)));
        }
    }

    /// The callback in the guest compares the clock with the bound.
    pub(crate) fn gate_closes(&mut self, process: ProcessId, publication: u64) {
        if self.freeze(process, Event::GateCloses(process, publication)) {
            return;
        }
        let target = &mut self.processes[process];
        if !target.alive || target.gate.publication != publication {
            return;
        }
        if self.plan.defect == Some(Defect::GateTrustsControlLoop) && target.loop_paused {
            return;
        }
        let Some(guest) = &mut target.guest else { return };
        guest.executes = false;
        let run = guest.run;
        self.tally.count(Seen::GateClosed);
        let outcome = Outcome::Ended(StopReason::LeadershipLost);
        self.within(5 * MILLISECOND, Event::GuestGone(process, run, outcome));
    }

    /// Nothing of a process that is paused happens before it goes on.
    pub(crate) fn freeze(&mut self, process: ProcessId, event: Event) -> bool {
        let target = &mut self.processes[process];
        if target.paused {
            target.frozen.push(event);
        }
        target.paused
    }

    /// The process runs again: its gates look first, the rest follows.
    pub(crate) fn thaw(&mut self, process: ProcessId) {
        self.processes[process].paused = false;
        let (gates, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.processes[process].frozen)
            .into_iter()
            .partition(|event| matches!(event, Event::GateCloses(..)));
        for event in gates.into_iter().chain(others) {
            match event {
                Event::GateCloses(process, publication) => self.gate_closes(process, publication),
                other => self.after(0, other),
            }
        }
    }
}

/// How far past its bound a guest may be found running: it is looked at once a tick.
pub(crate) fn tolerance() -> TrueTime {
    tick_ns()
}

pub(crate) fn leads(leadership: &Leadership) -> bool {
    matches!(leadership, Leadership::Leading { .. })
}
