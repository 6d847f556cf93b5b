//! A person with `leasehold step-down`, who reads the Lease and writes onto it, by compare-and-swap,
//! whom it is to leave.

use leasehold_core::{
    election::Request,
    lease::{LeaseRecord, Observation, Version},
    replica::Input,
    task::{GuestEvent, Outcome, StopReason},
};

use crate::{
    clock::SECOND,
    defect::Defect,
    tally::Seen,
    world::{Event, ProcessId, World},
};

/// How often the command tries to write.
const TRIES: u32 = 5;

/// On its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct OperatorWrite {
    based_on: Version,
    record: LeaseRecord,
    tries_left: u32,
}

impl World {
    /// The command is run: whoever holds the Lease now is asked to give it up.
    pub(crate) fn operator_asks(&mut self) {
        self.operator_reads(TRIES);
    }

    fn operator_reads(&mut self, tries: u32) {
        let Some(tries_left) = tries.checked_sub(1) else { return };
        if self.store_down || self.store_silent {
            return;
        }
        let Observation::Present { version, record } = self.store.current().clone() else { return };
        if record.holder.is_none() || record.step_down == record.holder {
            return;
        }
        let record = match self.plan.defect {
            Some(Defect::OperatorClears) if !self.is_quiet() => LeaseRecord { holder: None, ..record },
            _ => LeaseRecord { step_down: record.holder.clone(), ..record },
        };
        let write = OperatorWrite { based_on: version, record, tries_left };
        // A person's machine may be far away, but the command waits no longer than this.
        let within = if self.is_quiet() { SECOND / 20 } else { 5 * SECOND };
        self.within(within, Event::OperatorWrites(write));
    }

    pub(crate) fn operator_writes(&mut self, write: OperatorWrite) {
        if self.store_down || self.store_silent {
            return;
        }
        let OperatorWrite { based_on, record, tries_left } = write;
        let written = self.store.serve(&Request::Write { based_on: Some(based_on), record });
        self.trace.line(self.now, || format!("operator: {written:?}: {:?}", self.store.current()));
        match written {
            Ok(_) => {
                self.tally.count(Seen::StepDownAsked);
                self.store_changed();
            }
            Err(_) => {
                self.tally.count(Seen::StepDownRaced);
                self.operator_reads(tries_left);
            }
        }
    }

    /// A leader has heard that it is to step down.
    pub(crate) fn hears_request(&mut self, process: ProcessId) {
        self.tally.count(Seen::StepDownHeard);
        if self.plan.defect == Some(Defect::ReleasesOnRequest)
            && let Some(guest) = &self.processes[process].guest
        {
            // Planted: it does not wait until the guest is gone.
            let ended = GuestEvent::Ended(Outcome::Ended(StopReason::SteppedDown));
            let ended = Input::Guest(guest.run, ended);
            self.after(0, Event::Deliver(process, ended));
        }
    }
}
