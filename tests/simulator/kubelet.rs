//! The kubelet, which may tell the others that a process has ended.

use leasehold_core::{election::Leadership, replica::Input};

use crate::{
    clock::SECOND,
    defect::Defect,
    invariants::Owner,
    tally::Seen,
    world::{Event, MachineId, ProcessId, World},
};

impl World {
    /// The process has ended: its status says so some time later, to all that run by now.
    pub(crate) fn kubelet_sees_end(&mut self, process: ProcessId) {
        if self.plan.kubelet_tells {
            self.tally.count(Seen::EndProven);
            self.invariants.believes_no_more(Owner::Ours(process));
            self.tell_of_end(process);
        }
    }

    /// The node has not been heard of: no proof of anything, and no kubelet says so.
    pub(crate) fn guess_end(&mut self, machine: MachineId) {
        if self.plan.defect == Some(Defect::SilenceTakenForProof)
            && let Some(process) = self.machines[machine].process
            && let Leadership::Leading { .. } = self.processes[process].gate.published
        {
            self.tell_of_end(process);
        }
    }

    fn tell_of_end(&mut self, ended: ProcessId) {
        let identity = self.processes[ended].identity.clone();
        self.trace.line(self.now, || format!("kubelet: {identity} has ended"));
        for process in 0..self.processes.len() {
            if process != ended && self.processes[process].alive {
                self.within(2 * SECOND, Event::Deliver(process, Input::HolderEnded(identity.clone())));
            }
        }
    }
}
