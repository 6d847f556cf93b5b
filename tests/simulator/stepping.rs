//! A process hears something, and does what its replica says.

use leasehold_core::{
    checkpoint::Call,
    election::{Leadership, LossReason, Notice, Reply, Request},
    replica::{Action, Input},
    task::StopReason,
};

use crate::{
    clock::MILLISECOND,
    defect::Defect,
    invariants::Rule,
    planted,
    tally::Seen,
    world::{Event, ProcessId, World},
};

impl World {
    pub(crate) fn step(&mut self, process: ProcessId, input: Input) {
        if self.plan.defect != Some(Defect::ReportsHeardLate) || !matches!(input, Input::Tick) {
            self.hand_report_over(process);
        }
        if matches!(input, Input::Module(_)) {
            self.forget_misses(process);
        }
        let now = self.machines[self.processes[process].machine].clock.now(self.now);
        // What comes when it was given up tells nothing: a real host does not even wait for it.
        let target = &mut self.processes[process];
        let asked_for = match &input {
            Input::Answered(id, _) => target.sent.is_some_and(|(sent, _)| sent == *id),
            _ => true,
        };
        if asked_for {
            target.told.hear(&input, &target.identity, now.boot);
        }
        match self.plan.defect {
            None => self.step_replica(process, input),
            Some(defect) => {
                self.planted_answers(process, defect, &input);
                for input in self.planted_inputs(process, input) {
                    if self.processes[process].alive {
                        self.step_replica(process, input);
                    }
                }
            }
        }
    }

    pub(crate) fn step_replica(&mut self, process: ProcessId, input: Input) {
        let target = &mut self.processes[process];
        let clock = &self.machines[target.machine].clock;
        let now = clock.now(self.now);
        if let (Input::Answered(id, Ok(Reply::Written(_))), Some((sent, at))) = (&input, target.sent)
            && *id == sent
        {
            target.last_write_took = self.now - at;
        }
        self.trace.line(self.now, || format!("{} <- {input:?}", target.identity));
        let loads = matches!(input, Input::Called(_, _, Call::Load));
        let mut actions = target.replica.step(now, input);
        if loads && !actions.iter().any(|action| matches!(action, Action::Answer(..))) {
            self.tally.count(Seen::LoadWaited);
        }
        if actions.iter().any(|action| matches!(action, Action::Tell(Notice::RequestFailed(..)))) {
            target.sent = None;
        }
        let leadership = planted::leadership(&self.store, self.plan.defect, target.replica.leadership(now.boot));
        let next = target.replica.next_deadline(now.boot);
        if next.is_some_and(|next| next <= now.boot) {
            self.invariants.violated(Rule::Spins, || format!("{} wants to be called again at once", target.identity));
        }
        target.wake += 1;
        let wake = target.wake;
        let wake_at = next.map(|next| clock.when(next));
        if let Some(wake_at) = wake_at {
            // The process does not get to run on the spot, and now and then not for a while.
            let late = if !self.is_quiet() && self.rng.f64() < 0.01 { 300 * MILLISECOND } else { 2 * MILLISECOND };
            let late = self.rng.u64(0..late);
            self.at(wake_at.saturating_add(late), Event::Wake(process, wake));
        }
        let expired = actions.iter().any(planted::is_expiry);
        if self.plan.defect.is_some() {
            actions = self.planted_actions(process, actions);
        }
        self.publish(process, &leadership, expired);
        let begins = actions.iter().any(|action| matches!(action, Action::Tell(Notice::Leading(_))));
        if begins && actions.iter().any(|action| matches!(action, Action::Tell(Notice::StepDownRequested(_)))) {
            self.tally.count(Seen::StepDownTakenAlong);
        }
        for action in actions {
            self.act(process, action);
        }
        self.watch_labels(process);
    }

    fn act(&mut self, process: ProcessId, action: Action) {
        let identity = &self.processes[process].identity;
        self.trace.line(self.now, || format!("{identity} -> {action:?}"));
        match action {
            Action::Send { id, request, .. } => {
                self.check_takeover(process, &request);
                if matches!(&request, Request::Write { record, .. } if record.holder.is_none()) {
                    self.check_permission(process);
                }
                self.send(process, id, request);
            }
            Action::SendCandidate { id, request } => self.send_candidate(process, id, request),
            Action::SendLabel { id, request } => {
                let leads_in = leading_in(&self.processes[process].gate.published);
                self.check_put_on(process, &request, leads_in);
                self.send_label(process, id, request);
            }
            Action::Start { run, module, term } => {
                self.label_term_is_used(process);
                self.guest_starts(process, run, &module, term.token);
            }
            Action::AskToStop(run, StopReason::Unresponsive) => self.silent_guest_is_asked(process, run),
            Action::AskToStop(run, reason) => self.guest_is_asked(process, run, reason),
            Action::End(run, reason) => self.guest_is_ended(process, run, reason),
            Action::Answer(id, answer) => self.answers(process, id, &answer),
            Action::Call { run, callback, .. } => self.callback_starts(process, run, callback),
            Action::TellSkipped(identity) => self.leader_skipped(process, &identity),
            Action::Tell(notice) => self.tell(process, &notice),
            Action::TellModules(notice) => self.told_of_modules(process, &notice),
            Action::TellLabel(notice) => self.told_of_label(process, &notice),
            Action::TellKept { .. } => self.tally.count(Seen::LeaseKept),
            Action::TellRestart(_) => self.tally.count(Seen::Restarted),
            Action::Exit => self.exit(process),
        }
    }

    fn tell(&mut self, process: ProcessId, notice: &Notice) {
        if let Notice::Lost(..) = notice {
            self.permission_is_anothers(process);
        }
        match notice {
            Notice::Leading(term) => {
                let identity = self.processes[process].identity.clone();
                self.leader_heard(process, &identity);
                self.permission_is_anothers(process);
                self.modules_term_begins(process);
                self.label_term_begins(process);
                self.term_begins(process, term.token);
            }
            Notice::Lost(_, LossReason::Expired) => self.tally.count(Seen::Expired),
            Notice::Lost(_, LossReason::TakenBy(_)) => self.tally.count(Seen::Taken),
            Notice::Lost(_, LossReason::Cleared) => self.tally.count(Seen::Cleared),
            Notice::Lost(_, LossReason::Deleted) => self.tally.count(Seen::Deleted),
            Notice::Released(term) => {
                self.check_end_told(process, term.token);
                self.tally.count(Seen::Released);
            }
            Notice::StepDownRequested(_) => self.hears_request(process),
            Notice::NewLeader(leader) => {
                self.leader_heard(process, leader);
                self.tally.count(Seen::NewLeader);
            }
            Notice::HolderEnded(_) => self.tally.count(Seen::EndBelieved),
            Notice::AnotherPreferred(..) => self.tally.count(Seen::PreferenceHeeded),
            Notice::Named(wait) if !wait.is_zero() => self.tally.count(Seen::NamedAndWaits),
            Notice::Named(_) | Notice::CandidacyFailed(..) | Notice::OtherTask(_) | Notice::RequestFailed(..) => {}
        }
    }
}

pub(crate) fn leading_in(leadership: &Leadership) -> Option<u64> {
    match leadership {
        Leadership::Leading { term, .. } => Some(term.token),
        Leadership::Standby { .. } => None,
    }
}
