//! Mistakes that would have to be in the core itself, planted around it: what it is told and what it says is
//! changed on the way, so that the whole behaves as if it made them.

use leasehold_core::{
    checkpoint::{Answer, Call, Checkpoint},
    election::{Leadership, LossReason, Notice, Reply, Request, RequestId, Term},
    label::LabelInput,
    lease::{LeaseRecord, Observation},
    ports::{StoreFailure, WatchEvent},
    replica::{Action, Input},
    task::{GuestEvent, StopReason},
    timing::FOREIGN_DURATION_MAX,
};

use crate::{
    defect::Defect,
    guests::leads,
    store::Store,
    told::Told,
    world::{Event, ProcessId, World},
};

/// What the planted mistakes remember of a process.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    /// It does nothing any more.
    given_up: bool,
    sent: u64,
    /// This request was never answered.
    unanswered: Option<RequestId>,
    /// What stood there when the term began.
    old_checkpoint: Option<Checkpoint>,
}

/// What sends requests dies after so many.
const SENDS: u64 = 100;

impl World {
    /// What the replica hears in place of this.
    pub(crate) fn planted_inputs(&mut self, process: ProcessId, input: Input) -> Vec<Input> {
        let wall = self.machines[self.processes[process].machine].clock.now(self.now).wall;
        let target = &mut self.processes[process];
        let identity = target.identity.as_str();
        if let Input::Answered(id, _) = &input {
            target.planted.unanswered.take_if(|unanswered| unanswered == id);
        }
        let seen = Told::observation(&input).and_then(Observation::record);
        let another = seen.filter(|record| record.holder.as_deref().is_some_and(|holder| holder != identity));
        match self.plan.defect {
            Some(Defect::NeverCompetesAgain) if target.planted.given_up && !matches!(input, Input::Guest(..)) => {
                Vec::new()
            }
            Some(Defect::LeadsOnBesideAnother) if leads(&target.gate.published) => match &input {
                Input::Answered(id, Ok(_)) if another.is_some() => {
                    vec![Input::Answered(*id, Err(StoreFailure::Unavailable))]
                }
                Input::Answered(id, Err(StoreFailure::Conflict)) => {
                    vec![Input::Answered(*id, Err(StoreFailure::Unavailable))]
                }
                Input::Watched(_) if another.is_some() => Vec::new(),
                _ => vec![input],
            },
            Some(Defect::NullHolderIsAnError) => match (&input, seen) {
                (Input::Answered(id, _), Some(record)) if record.holder.is_none() => {
                    vec![Input::Answered(*id, Err(StoreFailure::Rejected))]
                }
                (Input::Watched(_), Some(record)) if record.holder.is_none() => Vec::new(),
                _ => vec![input],
            },
            Some(Defect::ExpiryByWallClock) => {
                let expired = another.filter(|record| {
                    let lasts = record.duration.unwrap_or_default().as_micros();
                    let until = record.renewed.map_or(0, |at| i128::from(at.as_micros())) + lasts as i128;
                    until < i128::from(wall.as_micros())
                });
                let ended = expired.and_then(|record| record.holder.clone()).map(Input::HolderEnded);
                [Some(input), ended].into_iter().flatten().collect()
            }
            Some(Defect::TrustsThePick) if seen.is_some_and(|record| record.names(identity)) => {
                let before = self.last_holder.as_ref().map(|(holder, _)| Input::HolderEnded(holder.clone()));
                [before, Some(input)].into_iter().flatten().collect()
            }
            Some(Defect::MissingDurationHasExpired) => {
                let expired = another.filter(|record| record.duration.is_none());
                let ended = expired.and_then(|record| record.holder.clone()).map(Input::HolderEnded);
                [Some(input), ended].into_iter().flatten().collect()
            }
            Some(Defect::RefusalsUnheard) => vec![unheard(input)],
            Some(Defect::LabelLooksTrusted) => vec![self.planted_look(process, input)],
            Some(Defect::LabelLeftOnOthers) => vec![others_unseen(input)],
            _ => vec![input],
        }
    }

    /// What becomes of what the replica says.
    pub(crate) fn planted_actions(&mut self, process: ProcessId, mut actions: Vec<Action>) -> Vec<Action> {
        if self.plan.defect == Some(Defect::LeadsWhenPicked) {
            for action in &actions {
                if let Action::Send { id, request: Request::Write { based_on: Some(version), .. } } = action
                    && let Some(before) = self.store.record_of(version.0)
                    && before.names(&self.processes[process].identity)
                {
                    let written = Input::Answered(*id, Ok(Reply::Written(*version)));
                    self.after(0, Event::Deliver(process, written));
                }
            }
        }
        if self.plan.defect == Some(Defect::SwapsStepDown) {
            for action in &actions {
                if let Action::AskToStop(run, StopReason::ModuleReplaced) = action {
                    self.after(0, Event::Deliver(process, Input::Guest(*run, GuestEvent::SteppedDown)));
                }
            }
        }
        let target = &mut self.processes[process];
        let planted = &mut target.planted;
        let lost = actions.iter().any(|action| matches!(action, Action::Tell(Notice::Lost(..))));
        match self.plan.defect {
            Some(Defect::NeverCompetesAgain) => planted.given_up |= lost,
            Some(Defect::ExitsOnLoss) if lost => actions.push(Action::Exit),
            Some(Defect::SendingDies) => actions.retain(|action| {
                planted.sent += u64::from(matches!(action, Action::Send { .. }));
                planted.sent < SENDS || !matches!(action, Action::Send { .. })
            }),
            Some(Defect::WaitsForEveryAnswer) => actions.retain(|action| {
                let Action::Send { id, .. } = action else { return true };
                let waits = planted.unanswered.is_some();
                planted.unanswered.get_or_insert(*id);
                !waits
            }),
            Some(Defect::HugeDurationBelieved) => {
                let store = &self.store;
                actions.retain(|action| {
                    let Action::Send { request: Request::Write { based_on: Some(version), record }, .. } = action
                    else {
                        return true;
                    };
                    let before = store.record_of(version.0);
                    let huge = before.filter(|before| before.duration > Some(FOREIGN_DURATION_MAX));
                    huge.is_none_or(|before| before.holder.is_none() || before.holder == record.holder)
                });
            }
            Some(Defect::RenewalsWriteOldCheckpoint) => {
                let saves = target.guest.as_ref().and_then(|guest| guest.calling.saves());
                for action in &mut actions {
                    match action {
                        Action::Tell(Notice::Leading(term)) => {
                            let record = self.store.record_of(term.token);
                            target.planted.old_checkpoint = record.and_then(|record| record.checkpoint.clone());
                        }
                        Action::Send { request: Request::Write { record, .. }, .. }
                            if record.acquired != record.renewed && record.checkpoint != saves =>
                        {
                            record.checkpoint = target.planted.old_checkpoint.clone();
                        }
                        _ => {}
                    }
                }
            }
            Some(Defect::ReleaseDropsCheckpoint) => {
                for action in &mut actions {
                    if let Action::Send { request: Request::Write { record, .. }, .. } = action
                        && record.holder.is_none()
                    {
                        record.checkpoint = None;
                    }
                }
            }
            Some(Defect::RefusalsUntold) => {
                for action in &mut actions {
                    if let Action::Send { request: Request::Write { record, .. }, .. } = action {
                        record.modules.refused = None;
                    }
                }
            }
            Some(Defect::StartsWhatIsOffered) => {
                for action in &mut actions {
                    if let Action::Start { module, .. } = action
                        && let Some(offered) = target.modules.offered()
                    {
                        *module = offered.into();
                    }
                }
            }
            Some(Defect::TransitionsAsToken) => {
                for action in &mut actions {
                    if let Action::Tell(Notice::Leading(term)) | Action::Start { term, .. } = action {
                        term.token = self.store.record_of(term.token).map_or(0, |record| record.transitions.into());
                    }
                }
            }
            _ => {}
        }
        actions
    }

    /// What a guest is told in place of, or before, what the replica says.
    pub(crate) fn planted_answers(&mut self, process: ProcessId, defect: Defect, input: &Input) {
        let Input::Called(_, id, call) = input else { return };
        let answer = match (defect, call) {
            (Defect::SavesAnsweredUnwritten, Call::Save(_)) => Some(Answer::Saved),
            (Defect::LoadsDoNotWait, Call::Load) => {
                let told = self.processes[process].told.record();
                told.map(|record| Answer::Loaded(record.checkpoint.clone()))
            }
            (Defect::LoadsWhatItAcquired, Call::Load) => {
                let token = self.processes[process].guest.as_ref().map(|guest| guest.token);
                let record = token.and_then(|token| self.store.record_of(token));
                record.map(|record| Answer::Loaded(record.checkpoint.clone()))
            }
            _ => None,
        };
        if let Some(answer) = answer {
            self.answers(process, *id, &answer);
        }
    }

    /// A write that conflicts, because another has the Lease, saves all the same.
    pub(crate) fn planted_patch(&mut self, process: ProcessId, request: &Request) {
        if self.plan.defect == Some(Defect::SavesArePatches)
            && let Request::Write { based_on: Some(based_on), record } = request
            && let Some(current) = self.store.current().record().cloned()
            && self.store.record_of(based_on.0).is_some_and(|known| known.checkpoint != record.checkpoint)
            && current.checkpoint != record.checkpoint
            && current.holder != record.holder
        {
            let patched = LeaseRecord { checkpoint: record.checkpoint.clone(), ..current.clone() };
            let version = self.store.put(patched.clone());
            self.check_written(process, Some(&current), &patched, version.0);
        }
    }

    /// The planted clock has not counted what it slept through.
    pub(crate) fn clock_has_stood(&mut self, process: ProcessId) {
        if self.plan.defect == Some(Defect::ClockStopsInSuspend) {
            let target = &self.processes[process];
            let slept = self.now - target.paused_at;
            self.machines[target.machine].clock.has_stood(slept);
        }
    }
}

/// The same, but for what the Lease says is refused.
fn unheard(mut input: Input) -> Input {
    if let Input::Watched(WatchEvent::Seen(Observation::Present { record, .. }))
    | Input::Answered(_, Ok(Reply::Read(Observation::Present { record, .. }))) = &mut input
    {
        record.modules.refused = None;
    }
    input
}

/// The same, but for other Pods that carry the label.
fn others_unseen(mut input: Input) -> Input {
    if let Input::Label(LabelInput::Seen(labelled)) = &mut input {
        labelled.others.clear();
    }
    input
}

/// The leadership as who counts terms by something else has it.
pub(crate) fn leadership(store: &Store, defect: Option<Defect>, leadership: Leadership) -> Leadership {
    match leadership {
        Leadership::Leading { term, valid_until, certain, step_down } if defect == Some(Defect::TransitionsAsToken) => {
            let token = store.record_of(term.token).map_or(0, |record| record.transitions.into());
            Leadership::Leading { term: Term { token }, valid_until, certain, step_down }
        }
        other => other,
    }
}

/// Whether a term ended because nobody renewed it.
pub(crate) fn is_expiry(action: &Action) -> bool {
    matches!(action, Action::Tell(Notice::Lost(_, LossReason::Expired)))
}
