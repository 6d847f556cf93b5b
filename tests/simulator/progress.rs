//! Guests that report progress, or fall silent.
//!
//! As in the host, a report is left where the control loop finds it, and the loop hands the newest over before
//! anything else.

use std::time::Duration;

use leasehold_core::{
    election::Leadership,
    replica::Input,
    task::{GuestEvent, RunId, StopReason, TaskConfig},
    time::BootTime,
};

use crate::{
    clock::{MILLISECOND, SECOND},
    defect::Defect,
    invariants::Rule,
    tally::Seen,
    world::{Event, ProcessId, World},
};

/// How much later than its deadlines a control loop may get to run, and what it ends be gone: it wakes to ask and to end, each
/// time up to 300 ms late (`stepping.rs`).
const SLACK: Duration = Duration::from_millis(700);

#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// When it last reported, or started.
    last: BootTime,
    /// The control loop has not heard of that.
    unheard: bool,
    /// When it falls silent, if it does.
    silent_from: Option<BootTime>,
    /// It was asked to stop for it.
    missed: bool,
}

impl Progress {
    pub(crate) fn from(start: BootTime) -> Self {
        Self { last: start, unheard: false, silent_from: None, missed: false }
    }
}

impl World {
    /// Guests on this machine report nothing.
    pub(crate) fn is_sick(&self, process: ProcessId) -> bool {
        let sick = self.plan.sick == Some(self.processes[process].machine) && self.plan.progress_deadline_ms.is_some();
        sick && !self.cured && self.lull.is_none()
    }

    /// It begins to run: will it report, and for how long?
    pub(crate) fn guest_may_report(&mut self, process: ProcessId, run: RunId) {
        if self.plan.progress_deadline_ms.is_none() {
            return;
        }
        let (now, sick, quiet) = (self.boot(process), self.is_sick(process), self.is_quiet());
        let silent_from = match sick {
            true => Some(now),
            false if quiet || self.rng.u8(..3) > 0 => None,
            false => Some(now + Duration::from_nanos(self.rng.u64(0..60 * SECOND))),
        };
        if let Some(guest) = self.guest(process, run) {
            guest.progress.silent_from = silent_from;
        }
        self.next_report(process, run);
    }

    /// In time, also where it took its own time to begin.
    fn next_report(&mut self, process: ProcessId, run: RunId) {
        let deadline = self.plan.progress_deadline();
        let pause = self.rng.u64(deadline / 8..deadline / 10 * 7);
        self.after(pause, Event::GuestReports(process, run));
    }

    pub(crate) fn guest_reports(&mut self, process: ProcessId, run: RunId) {
        if self.freeze(process, Event::GuestReports(process, run)) {
            return;
        }
        let now = self.boot(process);
        let Some(guest) = self.guest(process, run).filter(|guest| guest.executes) else { return };
        if guest.progress.silent_from.is_some_and(|from| now >= from) {
            return self.tally.count(Seen::FellSilent);
        }
        (guest.progress.last, guest.progress.unheard) = (now, true);
        self.tally.count(Seen::Reported);
        self.next_report(process, run);
        // For the log, it is looked at now and then.
        if self.rng.u8(..4) == 0 {
            self.within(SECOND, Event::Deliver(process, Input::Tick));
        }
    }

    /// Before the replica hears of anything else.
    pub(crate) fn hand_report_over(&mut self, process: ProcessId) {
        let now = self.boot(process);
        let unnoticed = self.plan.defect == Some(Defect::SilenceUnnoticed);
        let Some(guest) = &mut self.processes[process].guest else { return };
        if std::mem::take(&mut guest.progress.unheard) || unnoticed {
            let at = if unnoticed { now } else { guest.progress.last };
            let run = guest.run;
            self.step_replica(process, Input::Guest(run, GuestEvent::Reported(at)));
        }
    }

    /// Of the guest that its replica asks to stop for want of progress.
    pub(crate) fn silent_guest_is_asked(&mut self, process: ProcessId, run: RunId) {
        let (now, deadline) = (self.boot(process), Duration::from_nanos(self.plan.progress_deadline()));
        if let Some(guest) = self.guest(process, run) {
            guest.progress.missed = true;
            let silent = now.since(guest.progress.last);
            if silent < deadline {
                let who = self.processes[process].identity.clone();
                self.invariants.violated(Rule::StoppedThoughReporting, || {
                    format!(
                        "the guest of {who} has reported {silent:?} ago, and is stopped for silence of {deadline:?}"
                    )
                });
            }
        }
        self.tally.count(Seen::StoppedSilent);
        // However it ends then.
        if let Some(module) = self.guest(process, run).map(|guest| guest.module.clone()) {
            self.module_failed(process, &module);
        }
        self.guest_is_asked(process, run, StopReason::Unresponsive);
    }

    /// Another guest of the process starts: how those before have ended is counted.
    pub(crate) fn count_misses(&mut self, process: ProcessId, token: u64) {
        let target = &self.processes[process];
        let misses = target.misses;
        if misses > 1 {
            self.tally.count(Seen::SilentInARow);
        }
        // In this term. How many there were in the terms before, the core counts, too.
        if misses >= TaskConfig::default().failures_max && target.missed_in == token {
            let who = &target.identity;
            self.invariants.violated(Rule::SilentLeadsOn, || {
                format!("{who} starts another guest after {misses} in a row have fallen silent")
            });
        }
    }

    /// The guest is gone, for want of progress or otherwise.
    pub(crate) fn note_miss(&mut self, process: ProcessId) {
        let target = &mut self.processes[process];
        // Who was asked to step down meanwhile does that, whatever its guest was asked for at first.
        let asked = matches!(target.gate.published, Leadership::Leading { step_down: true, .. });
        let missed = target.guest.as_ref().is_some_and(|guest| guest.progress.missed) && !asked;
        let token = target.guest.as_ref().map_or(0, |guest| guest.token);
        let before = if target.missed_in == token { target.misses } else { 0 };
        target.misses = if missed { before + 1 } else { 0 };
        target.missed_in = token;
    }

    /// A new module is not blamed for those of the one before.
    pub(crate) fn forget_misses(&mut self, process: ProcessId) {
        let target = &mut self.processes[process];
        target.misses = 0;
        if let Some(guest) = &mut target.guest {
            guest.progress.missed = false;
        }
    }

    /// For how long the guest has been silent, if that is longer than anybody lets it be.
    pub(crate) fn silent_too_long(&self, process: ProcessId) -> Option<Duration> {
        let of_interest = matches!(self.plan.defect, None | Some(Defect::SilenceUnnoticed));
        let target = &self.processes[process];
        if !of_interest || target.loop_paused {
            return None;
        }
        let deadline = Duration::from_millis(self.plan.progress_deadline_ms?);
        let guest = target.guest.as_ref()?;
        let now = self.boot(process);
        let goes_on_since = self.machines[target.machine].clock.boot(target.goes_on_since);
        let asked = (guest.progress.last + deadline).max(goes_on_since);
        let gone_by = asked + Duration::from_nanos(self.plan.stop_grace_ms * MILLISECOND) + SLACK;
        (now > gone_by).then(|| now.since(guest.progress.last))
    }
}
