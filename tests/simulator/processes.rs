//! How processes begin, get to run, and end.

use std::collections::VecDeque;

use leasehold_core::{
    election::{Contest, ElectionConfig, Leadership},
    replica::{Input, Replica},
};

use crate::{
    callbacks::Calls,
    clock::SECOND,
    defect::Defect,
    faults::Heal,
    guests::Gate,
    invariants::Rule,
    modules::{self, Change},
    network::Watch,
    planted::Planted,
    tally::Seen,
    told::Told,
    world::{Event, MachineId, Process, ProcessId, World},
};

impl World {
    pub(crate) fn begin_process(&mut self, machine: MachineId) {
        let process = self.processes.len();
        let identity = match self.plan.defect {
            Some(Defect::SharedIdentity) => "replica".to_owned(),
            _ => format!("m{machine}-p{process}"),
        };
        let config = ElectionConfig {
            identity: identity.clone(),
            task: "task".to_owned(),
            adopt: false,
            timing: self.plan.timing(),
            contest: if self.is_coordinated(machine) { Contest::Coordinated } else { Contest::Open },
        };
        self.trace.line(self.now, || format!("{identity} begins"));
        let seed = self.rng.u64(..);
        let label = self.pod_for(machine);
        self.processes.push(Process {
            machine,
            identity,
            replica: Replica::new(config, self.plan.task(), seed),
            alive: true,
            loop_paused: false,
            paused: false,
            goes_on_since: 0,
            misses: 0,
            missed_in: 0,
            inbox: VecDeque::new(),
            frozen: Vec::new(),
            wake: 0,
            watch: Watch::default(),
            gate: Gate::default(),
            guest: None,
            calls: Calls::default(),
            sent: None,
            last_write_took: 0,
            told: Told::default(),
            modules: modules::Told::default(),
            label,
            paused_at: 0,
            asked_to_end: false,
            planted: Planted::default(),
        });
        self.machines[machine].process = Some(process);
        self.within(SECOND, Event::Wake(process, 0));
        self.within(SECOND, Event::WatchConnects(process));
        if self.is_coordinated(machine) {
            self.within(SECOND, Event::CandidateTold(process, true));
        }
        self.within(3 * SECOND, Event::SourceTells(process));
    }

    /// Something reaches the process, and waits there while nothing of it runs.
    pub(crate) fn deliver(&mut self, process: ProcessId, input: Input) {
        let target = &mut self.processes[process];
        if !target.alive {
            return;
        }
        if target.paused || target.loop_paused {
            if !matches!(input, Input::Tick) {
                target.inbox.push_back(input);
            }
            return;
        }
        if matches!(input, Input::Shutdown) {
            self.processes[process].asked_to_end = true;
        }
        self.step(process, input);
    }

    /// The control loop of the process runs again.
    pub(crate) fn go_on(&mut self, process: ProcessId) {
        if self.processes[process].paused || self.processes[process].loop_paused {
            return; // By something else.
        }
        self.processes[process].goes_on_since = self.now;
        if self.rng.bool() {
            self.deliver(process, Input::Tick);
        }
        while let Some(input) = self.processes[process].inbox.pop_front() {
            self.deliver(process, input);
        }
        self.deliver(process, Input::Tick);
    }

    /// The host ends by itself: nothing may be left of its guest.
    pub(crate) fn exit(&mut self, process: ProcessId) {
        self.tally.count(Seen::Withdrawn);
        if !self.processes[process].asked_to_end {
            let who = &self.processes[process].identity;
            self.invariants.violated(Rule::EndsUnasked, || format!("{who} ends, though nobody has asked it to"));
        }
        if self.processes[process].guest.is_some() {
            self.invariants.violated(Rule::EndsTooEarly, || "a host ends while its guest exists".to_owned());
        }
        if self.processes[process].calls.stopping.is_some() {
            self.invariants.violated(Rule::EndsTooEarly, || "a host ends while it tells of a term's end".to_owned());
        }
        if let Leadership::Leading { .. } = self.processes[process].gate.published {
            self.invariants.violated(Rule::EndsTooEarly, || "a host ends while it leads".to_owned());
        }
        self.check_label_at_exit(process);
        self.end_process(process);
    }

    pub(crate) fn end_process(&mut self, process: ProcessId) {
        let target = &mut self.processes[process];
        target.alive = false;
        target.guest = None;
        target.calls = Calls::default();
        target.inbox.clear();
        let machine = target.machine;
        self.machines[machine].process = None;
        if self.is_quiet() {
            self.begin_process(machine);
        } else {
            self.within(30 * SECOND, Event::Heal(Heal::Restart(machine)));
        }
        self.kubelet_sees_end(process);
    }

    /// The last fault is over, and a new module gets everybody's guest going again.
    pub(crate) fn calm_down(&mut self) {
        self.trace.line(self.now, || "calm: the last fault is over".to_owned());
        self.calm = true;
        self.all_heals();
        self.source_changes(Change::Good, SECOND);
    }
}
