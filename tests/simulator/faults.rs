//! What goes wrong, and how it ends.

use std::time::Duration;

use leasehold_core::{lease::LeaseRecord, replica::Input, time::WallTime};

use crate::{
    clock::{SECOND, TrueTime},
    plan::Defect,
    tally::Seen,
    world::{Event, MachineId, World},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    StallWatch,
    WallJumps,
    WallStands,
    EditDelete,
    EditClear,
    EditOverwrite,
    EditAnnotate,
    /// No fault, but as untimely as one.
    SwapModule,
    /// Nor this.
    AskStepDown,
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
        Self::StallWatch,
        Self::WallJumps,
        Self::WallStands,
        Self::EditDelete,
        Self::EditClear,
        Self::EditOverwrite,
        Self::EditAnnotate,
        Self::SwapModule,
        Self::AskStepDown,
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
            Self::Kill | Self::ShutDown | Self::BreakWatch | Self::WallJumps => return None,
            Self::EditDelete | Self::EditClear | Self::EditOverwrite | Self::EditAnnotate => return None,
            Self::SwapModule | Self::AskStepDown => return None,
        })
    }
}

impl World {
    /// One fault, and the next some time later.
    pub(crate) fn fault(&mut self) {
        if self.calm || self.plan.faults.is_empty() {
            return;
        }
        let fault = self.plan.faults[self.rng.usize(..self.plan.faults.len())];
        let machine = self.rng.usize(..self.machines.len());
        let lasts = match self.rng.u32(0..3) {
            0 => self.rng.u64(0..SECOND),
            1 => self.rng.u64(0..15 * SECOND),
            _ => self.rng.u64(0..60 * SECOND),
        };
        self.trace.line(self.now, || format!("fault: {fault:?} on machine {machine} for {} ms", lasts / 1_000_000));
        self.inflict(fault, machine, self.now + lasts);
        if let Some(heal) = fault.heal(machine) {
            self.after(lasts, Event::Heal(heal));
        }
        self.within(self.plan.fault_every_max, Event::Fault);
    }

    fn inflict(&mut self, fault: Fault, machine: MachineId, until: TrueTime) {
        let process = self.machines[machine].process;
        match (fault, process) {
            (Fault::PauseWhole | Fault::Suspend, Some(process)) => {
                self.tally.count(if fault == Fault::Suspend { Seen::Suspended } else { Seen::PausedWhole });
                self.processes[process].paused = true;
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
            (Fault::SwapModule, _) => self.swap_module(),
            (Fault::AskStepDown, _) => self.operator_asks(),
            (Fault::EditDelete | Fault::EditClear | Fault::EditOverwrite | Fault::EditAnnotate, _) => {
                self.edit_by_hand(fault);
            }
            (_, None) => {} // Nothing runs there.
        }
    }

    fn edit_by_hand(&mut self, fault: Fault) {
        let Some(record) = self.store.current().record().cloned() else { return };
        let seen = match fault {
            Fault::EditDelete => {
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
            _ => {
                self.store.put(record);
                Seen::EditAnnotated
            }
        };
        self.tally.count(seen);
        self.trace.line(self.now, || format!("by hand: {:?}", self.store.current()));
        self.store_changed();
    }

    pub(crate) fn heal(&mut self, heal: Heal) {
        if let Heal::Restart(machine) = heal {
            if self.machines[machine].process.is_none() {
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
            _ => {}
        }
        let machines = match heal {
            Heal::Store => 0..self.machines.len(),
            Heal::Resume(machine)
            | Heal::ResumeLoop(machine)
            | Heal::Wake(machine)
            | Heal::Restart(machine)
            | Heal::Reach(machine)
            | Heal::Permit(machine)
            | Heal::Watch(machine)
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
                    self.thaw(process);
                    // Nothing of what was under way has survived.
                    self.processes[process].inbox.retain(|input| !matches!(input, Input::Answered(..)));
                    self.watch_breaks(process);
                    self.go_on(process);
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
