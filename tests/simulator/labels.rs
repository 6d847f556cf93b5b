//! The Pods, and which of them carries the leader's label.
//!
//! A process that begins on a machine after another is started again in the same Pod, which may carry the label yet,
//! or in a new one, and the one before is gone, or stays as it is: with nobody in it who could take the label off.
//! The kubelet writes into a Pod's status now and then, so that its version is another.

use std::collections::BTreeMap;

use leasehold_core::{
    election::RequestId,
    label::{LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled, Mark, OwnPod, PodId},
    lease::{LeaseRecord, Version},
    ports::StoreFailure,
    replica::Input,
};

use crate::{
    clock::{MILLISECOND, SECOND},
    defect::Defect,
    invariants::{Rule, Violation},
    tally::Seen,
    world::{Event, MachineId, ProcessId, World},
};

/// How long the label may take to follow the leader, where all is calm.
const FOLLOWS_WITHIN: u64 = 10 * SECOND;

#[derive(Debug, Default)]
pub(crate) struct Pods {
    /// By their uids.
    pods: BTreeMap<u64, OwnPod>,
    /// The newest of each machine.
    of_machine: BTreeMap<MachineId, u64>,
    /// The newest; of uids as well.
    version: u64,
    /// What asks about Pods gets no answer, while the Lease is answered for.
    pub(crate) silent: bool,
}

/// What a process has to do with the label.
#[derive(Debug, Default)]
pub(crate) struct OfLabel {
    /// Its Pod.
    uid: u64,
    /// It watches those that carry the label, on this connection.
    watches: bool,
    connection: u64,
    /// The newest that was on its way on that connection, and that was told.
    flows: u64,
    told: u64,
    /// The newest request.
    sent: Option<RequestId>,
    /// The token of the first request to put it on,
    first: Option<u64>,
    /// the mark of the last one,
    asked_for: Option<Mark>,
    /// and the token of those before the last release: they must not come on any more.
    released: Option<u64>,
    /// It has given the Lease up without, and not asked for it again.
    left_on: bool,
    /// In its term it has neither asked for the label nor started a guest: it may have won the Lease when it did not want
    /// it any more, and gives that back.
    in_vain: bool,
}

impl World {
    /// In the Pod of the process before, or in another. When all is calm, the successor is to clear up.
    pub(crate) fn pod_for(&mut self, machine: MachineId) -> OfLabel {
        if !self.plan.labels {
            return OfLabel::default();
        }
        let (again, is_gone) = (self.rng.bool() && !self.is_quiet(), self.rng.bool() && !self.is_quiet());
        let Pods { pods, of_machine, version, .. } = &mut self.pods;
        let before = of_machine.get(&machine).copied();
        let uid = before.filter(|_| again).unwrap_or_else(|| {
            *version += 1;
            pods.insert(*version, OwnPod { version: Version(*version), labelled: false, mark: None });
            *version
        });
        of_machine.insert(machine, uid);
        if let Some(before) = before
            && before != uid
            && is_gone
        {
            pods.remove(&before);
        }
        OfLabel { uid, ..OfLabel::default() }
    }

    pub(crate) fn send_label(&mut self, process: ProcessId, id: RequestId, request: LabelRequest) {
        let target = &mut self.processes[process];
        target.label.sent = Some(id);
        if let LabelRequest::PutOn { mark, .. } = request {
            (target.label.asked_for, target.label.left_on) = (Some(mark), false);
            target.label.first.get_or_insert(mark.token);
            target.label.in_vain = false;
        }
        if let LabelRequest::TakeOff { based_on, .. } = request
            && self.plan.defect == Some(Defect::LabelDeclaredOff)
        {
            let written = LabelInput::Answered(id, Ok(LabelReply::Written(Version(based_on.0 + 1))));
            self.after(0, Event::Deliver(process, Input::Label(written)));
        }
        let machine = self.processes[process].machine;
        let travels = self.travels_for(Seen::RequestDelayed).filter(|_| !self.machines[machine].partitioned);
        let Some(delay) = travels else { return self.tally.count(Seen::RequestLost) };
        if self.happens(self.net.duplicated) {
            let again = self.rng.u64(0..=self.net.slow_max_ms * MILLISECOND);
            self.after(delay + again, Event::LabelArrives(process, id, request.clone()));
        }
        self.after(delay, Event::LabelArrives(process, id, request));
    }

    pub(crate) fn label_arrives(&mut self, process: ProcessId, id: RequestId, request: &LabelRequest) {
        let machine = self.processes[process].machine;
        if self.machines[machine].partitioned || self.store_silent || self.pods.silent {
            return;
        }
        let writes = *request != LabelRequest::Look;
        let result = if self.store_down {
            Err(StoreFailure::Unavailable)
        } else if writes && self.machines[machine].forbidden {
            Err(StoreFailure::Denied)
        } else {
            self.kubelet_writes();
            self.serve_label(process, id, request)
        };
        self.trace.line(self.now, || format!("pods: {} {request:?}: {result:?}", self.processes[process].identity));
        if let Some(delay) = self.travels_for(Seen::AnswerDelayed) {
            self.after(delay, Event::Deliver(process, Input::Label(LabelInput::Answered(id, result))));
        }
    }

    /// Into some Pod's status.
    fn kubelet_writes(&mut self) {
        if self.rng.u8(..8) == 0 {
            let nth = self.rng.usize(..self.pods.pods.len());
            self.pods.version += 1;
            if let Some(pod) = self.pods.pods.values_mut().nth(nth) {
                pod.version = Version(self.pods.version);
            }
            self.labels_changed();
        }
    }

    fn serve_label(
        &mut self,
        process: ProcessId,
        id: RequestId,
        request: &LabelRequest,
    ) -> Result<LabelReply, StoreFailure> {
        let blind = self.plan.defect == Some(Defect::LabelPatchesBlind);
        let sender = &self.processes[process];
        let uid = match request {
            LabelRequest::TakeOffOther { pod, .. } => pod.uid.parse().expect("a number"),
            _ => sender.label.uid,
        };
        let pod = self.pods.pods.get_mut(&uid).ok_or(StoreFailure::Missing)?;
        let (based_on, labelled, mark) = match request {
            LabelRequest::Look => return Ok(LabelReply::Looked(*pod)),
            LabelRequest::PutOn { based_on, mark } => (based_on, true, Some(*mark)),
            LabelRequest::TakeOff { based_on, mark } => (based_on, false, mark.or(pod.mark)),
            LabelRequest::TakeOffOther { based_on, .. } => (based_on, false, pod.mark),
        };
        if *based_on != pod.version && !blind {
            self.tally.count(Seen::LabelConflict);
            return Err(StoreFailure::Conflict);
        }
        // What changes nothing makes no new version.
        if (labelled, mark) == (pod.labelled, pod.mark) {
            return Ok(LabelReply::Written(pod.version));
        }
        let only_marked = !labelled && !pod.labelled;
        self.pods.version += 1;
        let version = Version(self.pods.version);
        *pod = OwnPod { version, labelled, mark };
        if only_marked {
            self.tally.count(Seen::LabelMarkedOff);
        }
        if sender.label.sent != Some(id) {
            self.tally.count(Seen::LabelWrittenLate);
        }
        if let LabelRequest::PutOn { mark: Mark { token, .. }, .. } = request
            && sender.label.released.is_some_and(|released| *token <= released)
        {
            let who = &sender.identity;
            self.invariants.violated(Rule::LabelAfterRelease, || {
                format!("the label comes on {who}'s Pod for term {token}, which it has given back")
            });
        }
        self.labels_changed();
        Ok(LabelReply::Written(version))
    }

    /// Whoever watches is going to hear of it.
    fn labels_changed(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].alive && self.processes[process].label.watches {
                self.labels_flow(process);
            }
        }
    }

    fn labels_flow(&mut self, process: ProcessId) {
        let seen = self.labelled_for(process);
        let latency = self.latency();
        let label = &mut self.processes[process].label;
        label.flows += 1;
        let (connection, number) = (label.connection, label.flows);
        self.after(latency, Event::LabelsTold { process, connection, number, seen });
    }

    /// Those that carry the label now, as this process sees them.
    fn labelled_for(&self, process: ProcessId) -> Labelled {
        let own = self.processes[process].label.uid;
        let mut labelled = Labelled::default();
        for (uid, pod) in self.pods.pods.iter().filter(|(_, pod)| pod.labelled) {
            if *uid == own {
                labelled.own = Some(*pod);
            } else {
                let (name, uid) = ("pod".to_owned(), uid.to_string());
                labelled.others.insert(PodId { name, uid }, pod.version);
            }
        }
        labelled
    }

    pub(crate) fn labels_told(&mut self, process: ProcessId, connection: u64, number: u64, seen: Labelled) {
        let target = &self.processes[process];
        let label = &target.label;
        if !target.alive || !label.watches || label.connection != connection || number <= label.told {
            return;
        }
        if self.store_down || self.store_silent || self.pods.silent || self.machines[target.machine].partitioned {
            // The watch breaks, and lists again.
            let seen = self.labelled_for(process);
            return self.within(2 * SECOND, Event::LabelsTold { process, connection, number, seen });
        }
        self.processes[process].label.told = number;
        self.deliver(process, Input::Label(LabelInput::Seen(seen)));
    }

    /// After each step: it watches, or does not any more.
    pub(crate) fn watch_labels(&mut self, process: ProcessId) {
        let target = &mut self.processes[process];
        let watches = target.alive && target.replica.watches_label();
        if watches != target.label.watches {
            let label = &mut target.label;
            (label.watches, label.connection) = (watches, label.connection + 1);
            if watches {
                self.labels_flow(process);
            }
        }
    }

    pub(crate) fn told_of_label(&mut self, process: ProcessId, notice: &LabelNotice) {
        self.tally.count(match notice {
            LabelNotice::On(_) => Seen::LabelOn,
            LabelNotice::Off => Seen::LabelOff,
            LabelNotice::TakenFrom(_) => Seen::LabelTakenFrom,
            LabelNotice::Failed(..) => Seen::LabelFailed,
            LabelNotice::LeftOn => Seen::LabelLeftOn,
        });
        if *notice == LabelNotice::LeftOn {
            self.processes[process].label.left_on = true;
        }
    }

    /// Where it asks for the label only in its term.
    pub(crate) fn check_put_on(&mut self, process: ProcessId, request: &LabelRequest, leads_in: Option<u64>) {
        if let LabelRequest::PutOn { mark: Mark { token, .. }, .. } = request
            && leads_in != Some(*token)
        {
            let who = &self.processes[process].identity;
            self.invariants.violated(Rule::LabelOutOfTerm, || {
                format!("{who} asks for the label of term {token}, and leads in {leads_in:?}")
            });
        }
    }

    pub(crate) fn label_term_begins(&mut self, process: ProcessId) {
        self.processes[process].label.in_vain = true;
    }

    pub(crate) fn label_term_is_used(&mut self, process: ProcessId) {
        self.processes[process].label.in_vain = false;
    }

    /// The process's write of the Lease was taken.
    pub(crate) fn check_label_off(&mut self, process: ProcessId, before: Option<&LeaseRecord>, record: &LeaseRecord) {
        // Who was picked and declines has not led, nor has who gives back what it won too late.
        let declines = before.is_some_and(LeaseRecord::is_picked) || self.processes[process].label.in_vain;
        if !self.plan.labels || record.holder.is_some() || declines || self.processes[process].label.left_on {
            return;
        }
        if self.carries(process) {
            let who = &self.processes[process].identity;
            self.invariants
                .violated(Rule::ReleasedUnderLabel, || format!("{who} releases the lease while its Pod has the label"));
        }
        let label = &mut self.processes[process].label;
        label.released = label.asked_for.map(|mark| mark.token);
    }

    /// A host that ends has taken off what it put on.
    pub(crate) fn check_label_at_exit(&mut self, process: ProcessId) {
        let label = &self.processes[process].label;
        if !label.left_on && self.carries(process) {
            self.invariants.violated(Rule::EndsTooEarly, || "a host ends and leaves the label on".to_owned());
        }
    }

    /// What a process before it in the same Pod has asked for, and comes on late, is left by one that has died.
    fn carries(&self, process: ProcessId) -> bool {
        let label = &self.processes[process].label;
        let Some(pod) = self.pods.pods.get(&label.uid).filter(|pod| pod.labelled) else { return false };
        label.first.is_some_and(|first| pod.mark.is_none_or(|mark| mark.token >= first))
    }

    /// Where all is calm: the leader's Pod has the label, and no other.
    ///
    /// # Errors
    /// It does not follow the leader in time.
    pub(crate) fn label_follows(&mut self, from: u64) -> Result<u64, Violation> {
        let mut now = from;
        while self.plan.labels && !self.only_the_leader_carries() {
            if now >= from + FOLLOWS_WITHIN {
                let text = format!("{:?} leads, and these are the Pods: {:?}", self.running_leader(), self.pods);
                return Err(Violation::new(Rule::LabelAstray, text));
            }
            now += SECOND / 10;
            self.run_until(now)?;
        }
        Ok(now)
    }

    fn only_the_leader_carries(&self) -> bool {
        let leader = self.running_leader().map(|leader| self.processes[leader].label.uid);
        let carry = self.pods.pods.iter().filter(|(_, pod)| pod.labelled);
        leader.is_some() && carry.map(|(uid, _)| Some(*uid)).eq([leader])
    }

    /// The planted mistake: to see no label is taken for proof that none comes.
    pub(crate) fn planted_look(&self, process: ProcessId, mut input: Input) -> Input {
        if let Input::Label(LabelInput::Answered(_, Ok(LabelReply::Looked(own)))) = &mut input
            && !own.labelled
        {
            own.mark = self.processes[process].label.asked_for;
        }
        input
    }
}
