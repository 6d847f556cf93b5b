//! Modules: what their source has, when each replica hears of it, and which of them fail; and what must hold when one
//! takes over from another.
//!
//! A module whose name ends in `-bad` fails within half its probation, wherever it runs and however calm it is. Others
//! may fail, too, as guests do here, and are rolled back then as well.

use std::collections::BTreeSet;

use leasehold_core::{
    replica::Input,
    task::{Module, Outcome, RunId, SwapNotice, SwapPolicy},
};

use crate::{
    clock::{MILLISECOND, SECOND, TrueTime},
    defect::Defect,
    invariants::{Rule, Violation},
    tally::Seen,
    world::{Event, MachineId, ProcessId, World},
};

/// What all machines' source has.
#[derive(Debug)]
pub(crate) struct Source {
    made: u64,
    now: String,
    before: String,
    /// They have come through their probation somewhere, or have failed in it.
    worked: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Default for Source {
    fn default() -> Self {
        let first = "1".to_owned();
        Self { made: 1, before: first.clone(), now: first, worked: BTreeSet::new(), refused: BTreeSet::new() }
    }
}

/// How the source changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Good,
    Bad,
    /// Back to what it had before.
    Back,
}

/// What a process was told by its source, and has done about it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    offered: Option<String>,
    before: Option<String>,
    /// They have failed here.
    failed: BTreeSet<String>,
    /// Its guest has failed, and the source has told nothing since; and to what it went back.
    rolled_back: Option<(String, String)>,
    /// The source has told something since its term began: who then has again what was refused wants that.
    news_in_term: bool,
    /// What it started last, and in which term.
    started: Option<(String, u64)>,
}

impl Told {
    /// What its source has, as far as it knows.
    pub(crate) fn offered(&self) -> Option<&str> {
        self.offered.as_deref()
    }
}

pub(crate) fn is_bad(module: &str) -> bool {
    module.ends_with("-bad")
}

impl World {
    /// The source changes; each replica hears of it within this time.
    pub(crate) fn source_changes(&mut self, change: Change, within: TrueTime) {
        let Source { made, now, before, .. } = &mut self.source;
        let next = match change {
            Change::Back => before.clone(),
            Change::Good | Change::Bad => {
                *made += 1;
                if matches!(change, Change::Bad) { format!("{made}-bad") } else { made.to_string() }
            }
        };
        *before = std::mem::replace(now, next);
        self.trace.line(self.now, || format!("the source has {} in place of {}", self.source.now, self.source.before));
        for process in 0..self.processes.len() {
            self.within(within, Event::SourceTells(process));
        }
    }

    /// What it has now, unless the replica cannot reach it.
    pub(crate) fn source_tells(&mut self, process: ProcessId) {
        let machine = self.processes[process].machine;
        if !self.processes[process].alive {
            return;
        }
        if self.machines[machine].source_down {
            return self.tally.count(Seen::SourceUnheard);
        }
        let digest = self.source.now.clone();
        let told = &mut self.processes[process].modules;
        if told.offered.as_ref() != Some(&digest) {
            told.before = told.offered.replace(digest.clone());
            (told.rolled_back, told.news_in_term) = (None, true);
        }
        let module = Module { digest: digest.into(), observes: self.plan.callbacks_ms.is_some() };
        self.deliver(process, Input::Module(module));
    }

    pub(crate) fn source_goes_down(&mut self, machine: MachineId) {
        self.tally.count(Seen::SourceDown);
        self.machines[machine].source_down = true;
    }

    pub(crate) fn source_comes_back(&mut self, machine: MachineId) {
        if std::mem::take(&mut self.machines[machine].source_down)
            && let Some(process) = self.machines[machine].process
        {
            self.within(SECOND, Event::SourceTells(process));
        }
    }

    pub(crate) fn modules_term_begins(&mut self, process: ProcessId) {
        self.processes[process].modules.news_in_term = false;
    }

    /// One that was told that it is refused, and has another, starts that.
    pub(crate) fn check_module(&mut self, process: ProcessId, module: &str, token: u64) {
        let told = &mut self.processes[process].modules;
        let before = told.started.replace((module.to_owned(), token));
        let new_term = before.as_ref().is_none_or(|(_, of)| *of != token);
        let another = before.is_some_and(|(before, _)| before != module);
        // What it went back to may have failed as well.
        let rolled_back = told.rolled_back.as_ref();
        let rolled_back = rolled_back.is_some_and(|(refused, to)| refused == module && !told.failed.contains(to));
        let has_other = told.offered.as_deref() == Some(module)
            && told
                .before
                .as_ref()
                .is_some_and(|before| !self.source.refused.contains(before) && !told.failed.contains(before));
        if another {
            self.tally.count(Seen::Swapped);
            self.forget_misses(process);
        }
        let on_lease = self.store.record_before(token).and_then(|record| record.modules.refused.clone());
        let told = &self.processes[process].modules;
        let refused = new_term && !told.news_in_term && on_lease.as_deref() == Some(module);
        if refused && !has_other {
            self.tally.count(Seen::RefusedTried);
        }
        let of_interest = self.plan.defect.is_none_or(Defect::is_about_modules);
        let wrong = (refused && has_other || rolled_back) && !self.source.worked.contains(module);
        if of_interest && wrong {
            let who = &self.processes[process].identity;
            self.invariants.violated(Rule::RefusedStarted, || {
                format!("{who} starts module {module} in term {token}, which was refused, though it has another")
            });
        }
    }

    /// Its guest has come to an end otherwise than by returning, or was silent for too long.
    pub(crate) fn module_failed(&mut self, process: ProcessId, module: &str) {
        self.processes[process].modules.failed.insert(module.to_owned());
    }

    pub(crate) fn told_of_modules(&mut self, process: ProcessId, notice: &SwapNotice) {
        match notice {
            SwapNotice::Worked(digest) => {
                self.tally.count(Seen::ModuleWorked);
                self.source.worked.insert(digest.to_string());
            }
            SwapNotice::RolledBack { refused, to } => {
                self.tally.count(Seen::RolledBack);
                self.source.refused.insert(refused.to_string());
                let told = &mut self.processes[process].modules;
                told.failed.remove(&**to);
                told.rolled_back = Some((refused.to_string(), to.to_string()));
            }
            SwapNotice::Refused { instead: Some(_), .. } => self.tally.count(Seen::RefusalHeard),
            SwapNotice::Refused { instead: None, .. } => self.tally.count(Seen::NothingElse),
            SwapNotice::Waits { .. } => self.tally.count(Seen::ModuleWaited),
        }
    }

    /// When and how a guest of a bad module fails.
    pub(crate) fn bad_module_fails(&mut self, process: ProcessId, run: RunId) {
        let after = self.rng.u64(0..self.plan.probation_ms * MILLISECOND / 2);
        let outcome = match self.rng.u8(..4) {
            0 => Outcome::Error("failed".into()),
            1 => Outcome::OutOfMemory("64Mi".into()),
            2 => {
                // Not one instruction ran.
                if let Some(guest) = self.guest(process, run) {
                    guest.executes = false;
                }
                return self.guest_gone(process, run, Outcome::NotStarted("it imports what there is not".into()));
            }
            _ => Outcome::Trap("unreachable".into()),
        };
        self.after(after, Event::GuestEnds(process, run, outcome));
    }

    /// When all is well: a good module takes over everywhere, and then a bad one fails, and is gone everywhere.
    ///
    /// # Errors
    /// The replicas do not end with the good one, or the swap costs a term.
    pub(crate) fn run_swaps(&mut self, from: TrueTime) -> Result<TrueTime, Violation> {
        let at_once = self.plan.swap == SwapPolicy::Now;
        let picked = if self.plan.coordinated.is_some() { 60 } else { 0 };
        let handover = self.plan.grace() + (5 + picked + 2 * self.plan.stay_out_s + self.plan.lease_s) * SECOND;
        let told = 2 * SECOND;
        let proven = self.plan.probation_ms * MILLISECOND + self.plan.lease_s * SECOND;
        let mut now = from;
        let mut leader = None;
        for change in [Change::Good, Change::Bad] {
            self.source_changes(change, SECOND);
            now += told + self.plan.grace();
            self.run_until(now)?;
            if !at_once {
                self.operator_asks();
                now += handover;
                self.run_until(now)?;
            }
            now += proven + SECOND;
            self.run_until(now)?;
            let good = if matches!(change, Change::Bad) { &self.source.before } else { &self.source.now };
            let (good, refused) = (good.clone(), is_bad(&self.source.now).then(|| self.source.now.clone()));
            self.check_all_have(&good, refused.as_deref())?;
            let leads = self.running_leader().and_then(|leader| {
                let guest = self.processes[leader].guest.as_ref()?;
                (guest.module == good).then_some((leader, guest.token))
            });
            if leads.is_none() {
                return Err(Violation::new(Rule::NotTheSame, format!("nobody leads and runs module {good}")));
            }
            if at_once && matches!(change, Change::Bad) && leads != leader {
                let text = format!("a swap has cost the term: {leader:?} led, {leads:?} does");
                return Err(Violation::new(Rule::SwapEndsTerm, text));
            }
            leader = leads;
        }
        Ok(now)
    }

    /// Everybody would run this one, and knows what has failed.
    fn check_all_have(&self, good: &str, refused: Option<&str>) -> Result<(), Violation> {
        for process in self.machines.iter().filter_map(|machine| machine.process) {
            let process = &self.processes[process];
            let modules = process.replica.modules();
            if modules.next.as_deref() != Some(good) || (refused.is_some() && modules.refused.as_deref() != refused) {
                let text = format!("{} is to run {good}, {refused:?} being refused: {modules:?}", process.identity);
                return Err(Violation::new(Rule::NotTheSame, text));
            }
        }
        Ok(())
    }
}
