//! What goes wrong, and how it ends.

use std::time::Duration;

use leasehold_core::{lease::LeaseRecord, replica::Input, time::WallTime};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{MILLISECOND, TrueTime},
    defect::Defect,
    modules::Change,
    plan::Net,
    tally::Seen,
    world::{Event, MachineId, World},
};

/// A fault, when it happens, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedFault {
    pub(crate) at_ms: u64,
    pub(crate) fault: Fault,
    /// The machine, or the foreign elector, counted round.
    pub(crate) whom: usize,
    pub(crate) lasts_ms: u64,
}

impl PlannedFault {
    /// One after the other, each of these kinds.
    pub(crate) fn schedule(rng: &mut fastrand::Rng, kinds: &[Fault], rough_ms: u64) -> Vec<Self> {
        let pause_max_ms = rng.u64(2_000..60_000);
        let mut schedule = Vec::new();
        let mut at_ms = pause_max_ms;
        while at_ms < rough_ms && !kinds.is_empty() {
            let fault = kinds[rng.usize(..kinds.len())];
            let lasts_max_ms = [1_000, 15_000, 60_000][rng.usize(..3)];
            schedule.push(Self { at_ms, fault, whom: rng.usize(..12), lasts_ms: rng.u64(..lasts_max_ms) });
            at_ms += rng.u64(..=pause_max_ms);
        }
        schedule
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    PauseWhole,
    PauseLoop,
    Suspend,
    Kill,
    ShutDown,
    Partition,
    StoreDown,
    StoreSilent,
    Forbid,
    BreakWatch,
    /// The server ends a watch, as it was asked to: it is taken up where it was.
    EndWatch,
    StallWatch,
    /// What the store said before is forgotten: a watch that is behind has to begin anew.
    Compact,
    WallJumps,
    WallStands,
    EditDelete,
    EditClear,
    EditOverwrite,
    EditAnnotate,
    EditCheckpoint,
    /// No fault, but as untimely as one.
    SwapModule,
    /// The new one fails within seconds.
    SwapBadModule,
    /// The source has what it had before.
    RevertModule,
    /// A machine's source of modules cannot be reached.
    SourceDown,
    /// Nobody answers for Pods.
    PodsSilent,
    /// No fault, but as untimely as one.
    AskStepDown,
    ForeignPause,
    ForeignPartition,
    ForeignKill,
    /// A foreign elector is asked to end.
    ForeignCancel,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heal {
    Resume(MachineId),
    ResumeLoop(MachineId),
    Wake(MachineId),
    Restart(MachineId),
    Reach(MachineId),
    Store,
    Permit(MachineId),
    Watch(MachineId),
    Wall(MachineId),
    Source(MachineId),
    Pods,
}

impl Fault {
    pub(crate) const ALL: &[Self] = &[
        Self::PauseWhole,
        Self::PauseLoop,
        Self::Suspend,
        Self::Kill,
        Self::ShutDown,
        Self::Partition,
        Self::StoreDown,
        Self::StoreSilent,
        Self::Forbid,
        Self::BreakWatch,
        Self::EndWatch,
        Self::StallWatch,
        Self::Compact,
        Self::WallJumps,
        Self::WallStands,
        Self::EditDelete,
        Self::EditClear,
        Self::EditOverwrite,
        Self::EditAnnotate,
        Self::EditCheckpoint,
        Self::SwapModule,
        Self::SwapBadModule,
        Self::RevertModule,
        Self::SourceDown,
        Self::PodsSilent,
        Self::AskStepDown,
        Self::ForeignPause,
        Self::ForeignPartition,
        Self::ForeignKill,
        Self::ForeignCancel,
    ];

    /// What ends it, where it lasts.
    pub(crate) fn heal(self, machine: MachineId) -> Option<Heal> {
        Some(match self {
            Self::PauseWhole => Heal::Resume(machine),
            Self::PauseLoop => Heal::ResumeLoop(machine),
            Self::Suspend => Heal::Wake(machine),
            Self::Partition => Heal::Reach(machine),
            Self::StoreDown | Self::StoreSilent => Heal::Store,
            Self::Forbid => Heal::Permit(machine),
            Self::StallWatch => Heal::Watch(machine),
            Self::WallStands => Heal::Wall(machine),
            Self::SourceDown => Heal::Source(machine),
            Self::PodsSilent => Heal::Pods,
            Self::Kill | Self::ShutDown | Self::BreakWatch | Self::EndWatch | Self::Compact => return None,
            Self::WallJumps => return None,
            Self::EditDelete | Self::EditClear | Self::EditOverwrite => return None,
            Self::EditAnnotate | Self::EditCheckpoint => return None,
            Self::SwapModule | Self::SwapBadModule | Self::RevertModule | Self::AskStepDown => return None,
            Self::ForeignPause | Self::ForeignPartition | Self::ForeignKill | Self::ForeignCancel => return None,
        })
    }
}

impl World {
    /// The next of the plan's faults.
    pub(crate) fn fault(&mut self, index: usize) {
        let PlannedFault { fault, whom, lasts_ms, .. } = self.plan.faults[index];
        let lasts = lasts_ms * MILLISECOND;
        let machine = whom % self.machines.len();
        self.trace.line(self.now, || format!("fault: {fault:?} ({whom}) for {lasts_ms} ms"));
        match fault {
            Fault::ForeignPause | Fault::ForeignPartition | Fault::ForeignKill | Fault::ForeignCancel => {
                if !self.foreigners.is_empty() {
                    self.foreign_fault(fault, whom % self.foreigners.len(), self.now + lasts);
                }
            }
            _ => self.inflict(fault, machine, self.now + lasts),
        }
        if let Some(heal) = fault.heal(machine) {
            self.after(lasts, Event::Heal(heal));
        }
    }

    pub(crate) fn inflict(&mut self, fault: Fault, machine: MachineId, until: TrueTime) {
        let process = self.machines[machine].process;
        match (fault, process) {
            (Fault::PauseWhole | Fault::Suspend, Some(process)) => {
                self.tally.count(if fault == Fault::Suspend { Seen::Suspended } else { Seen::PausedWhole });
                self.processes[process].paused = true;
                self.processes[process].paused_at = self.now;
            }
            (Fault::PauseLoop, Some(process)) => {
                self.tally.count(Seen::PausedLoop);
                self.processes[process].loop_paused = true;
            }
            (Fault::Kill, Some(process)) => {
                self.tally.count(Seen::Killed);
                self.end_process(process);
            }
            (Fault::ShutDown, Some(process)) => {
                self.tally.count(Seen::ShutDown);
                self.deliver(process, Input::Shutdown);
            }
            (Fault::BreakWatch, Some(process)) => self.watch_breaks(process),
            (Fault::EndWatch, Some(process)) => self.watch_ends(process),
            (Fault::Compact, _) => self.compact(),
            (Fault::StallWatch, Some(process)) => self.watch_stalls(process, until),
            (Fault::Partition, _) => {
                self.tally.count(Seen::Partitioned);
                self.machines[machine].partitioned = true;
                self.guess_end(machine);
                if let Some(process) = process
                    && self.rng.bool()
                {
                    self.watch_breaks(process);
                }
            }
            (Fault::StoreDown, _) => {
                self.tally.count(Seen::StoreDown);
                self.store_down = true;
                for process in self.machines.iter().filter_map(|machine| machine.process).collect::<Vec<_>>() {
                    self.watch_breaks(process);
                }
            }
            (Fault::StoreSilent, _) => {
                self.tally.count(Seen::StoreSilent);
                self.store_silent = true;
            }
            (Fault::Forbid, _) => {
                self.tally.count(Seen::Forbidden);
                self.machines[machine].forbidden = true;
            }
            (Fault::WallJumps, _) => {
                self.tally.count(Seen::WallJumped);
                let by_us = self.rng.i64(-10_000_000_000..10_000_000_000);
                self.machines[machine].clock.wall_jumps(by_us);
            }
            (Fault::WallStands, _) => {
                self.tally.count(Seen::WallStood);
                self.machines[machine].clock.wall_stands(self.now);
            }
            (Fault::SwapModule, _) => self.source_changes(Change::Good, until - self.now),
            (Fault::SwapBadModule, _) => self.source_changes(Change::Bad, until - self.now),
            (Fault::RevertModule, _) => self.source_changes(Change::Back, until - self.now),
            (Fault::SourceDown, _) => self.source_goes_down(machine),
            (Fault::PodsSilent, _) => {
                self.tally.count(Seen::PodsSilent);
                self.pods.silent = true;
            }
            (Fault::AskStepDown, _) => self.operator_asks(),
            (Fault::EditDelete | Fault::EditClear | Fault::EditOverwrite, _)
            | (Fault::EditAnnotate | Fault::EditCheckpoint, _) => self.edit_by_hand(fault),
            (Fault::ForeignPause | Fault::ForeignPartition | Fault::ForeignKill | Fault::ForeignCancel, _) => {
                unreachable!("they befall no machine of ours")
            }
            (_, None) => {} // Nothing runs there.
        }
    }

    fn edit_by_hand(&mut self, fault: Fault) {
        let Some(record) = self.store.current().record().cloned() else { return };
        if !matches!(fault, Fault::EditAnnotate | Fault::EditCheckpoint) {
            self.invariants.edited_by_hand(self.store.newest_version() + 1);
        }
        let seen = match fault {
            Fault::EditDelete => {
                self.checkpoints.edited();
                let version = self.store.delete();
                self.invariants.freed_by_hand(version.0);
                Seen::EditDeleted
            }
            Fault::EditClear => {
                let version = self.store.put(LeaseRecord { holder: None, ..record });
                self.invariants.freed_by_hand(version.0);
                Seen::EditCleared
            }
            Fault::EditOverwrite => {
                // At least as long as our own: who held it may still believe so for that long.
                let seconds = [None, Some(15), Some(60), Some(1_000_000)][self.rng.usize(..4)];
                self.store.put(LeaseRecord {
                    holder: Some("somebody".to_owned()),
                    duration: seconds.map(Duration::from_secs),
                    renewed: Some(WallTime::from_micros(0)),
                    ..record
                });
                Seen::EditOverwritten
            }
            Fault::EditCheckpoint => {
                let record = self.edited_checkpoint(record);
                self.store.put(record);
                Seen::EditedCheckpoint
            }
            _ => {
                self.store.put(record);
                Seen::EditAnnotated
            }
        };
        self.tally.count(seen);
        self.trace.line(self.now, || format!("by hand: {:?}", self.store.current()));
        self.store_changed();
    }

    /// Every fault that lasts is over, and what ended runs again.
    pub(crate) fn all_heals(&mut self) {
        self.net = Net::calm();
        for machine in 0..self.machines.len() {
            for heal in Fault::ALL.iter().filter_map(|fault| fault.heal(machine)) {
                self.heal(heal);
            }
            self.heal(Heal::Restart(machine));
        }
        for foreign in 0..self.foreigners.len() {
            self.foreign_leaves(foreign);
        }
    }

    pub(crate) fn store_heals(&mut self) {
        self.heal(Heal::Store);
    }

    pub(crate) fn heal(&mut self, heal: Heal) {
        if let Heal::Restart(machine) = heal {
            if self.machines[machine].process.is_none() && self.plan.defect != Some(Defect::ExitsOnLoss) {
                self.tally.count(Seen::NewProcess);
                self.begin_process(machine);
            }
            return;
        }
        if self.plan.defect == Some(Defect::NeverHeals) && self.calm {
            self.store_silent = true;
            return;
        }
        match heal {
            Heal::Store => (self.store_down, self.store_silent) = (false, false),
            Heal::Reach(machine) => self.machines[machine].partitioned = false,
            Heal::Permit(machine) => self.machines[machine].forbidden = false,
            Heal::Wall(machine) => self.machines[machine].clock.wall_goes_on(),
            Heal::Source(machine) => self.source_comes_back(machine),
            Heal::Pods => self.pods.silent = false,
            _ => {}
        }
        let machines = match heal {
            Heal::Store | Heal::Pods => 0..self.machines.len(),
            Heal::Resume(machine)
            | Heal::ResumeLoop(machine)
            | Heal::Wake(machine)
            | Heal::Restart(machine)
            | Heal::Reach(machine)
            | Heal::Permit(machine)
            | Heal::Watch(machine)
            | Heal::Source(machine)
            | Heal::Wall(machine) => machine..machine + 1,
        };
        for machine in machines {
            let Some(process) = self.machines[machine].process else { continue };
            match heal {
                Heal::Resume(_) if self.processes[process].paused => {
                    self.thaw(process);
                    self.go_on(process);
                }
                Heal::Wake(_) if self.processes[process].paused => {
                    self.clock_has_stood(process);
                    self.thaw(process);
                    // Nothing of what was under way has survived.
                    self.processes[process].inbox.retain(|input| !matches!(input, Input::Answered(..)));
                    // What the watch had told before comes before its end, or the core would take it up again by that.
                    self.go_on(process);
                    self.watch_breaks(process);
                }
                Heal::ResumeLoop(_) if self.processes[process].loop_paused => {
                    self.processes[process].loop_paused = false;
                    self.go_on(process);
                }
                Heal::Store | Heal::Reach(_) | Heal::Watch(_) => self.watch_heals(process),
                _ => {}
            }
        }
    }
}
