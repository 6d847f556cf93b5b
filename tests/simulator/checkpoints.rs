//! What guests leave for the next leader: each loads when it begins, and saves, now and then or in a loop, states
//! of which no two are the same. Beside them people edit, and scripts replace, what stands there.

use std::collections::BTreeMap;

use leasehold_core::{
    checkpoint::{Answer, Call, CallId, Checkpoint, SaveFailure, SavedState},
    election::Leadership,
    lease::{LeaseRecord, Version},
    replica::Input,
    task::RunId,
};

use crate::{
    clock::{MILLISECOND, SECOND},
    defect::Defect,
    invariants::Rule,
    tally::Seen,
    world::{Event, ProcessId, World},
};

/// A state that a guest has asked to have saved. Its number, in the order in which they were asked for, is the state.
#[derive(Clone, Copy, Debug)]
struct Save {
    process: ProcessId,
    run: RunId,
    token: u64,
    /// The first version that has it.
    landed: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    saves: Vec<Save>,
    calls: u64,
    /// The newest save that a guest was told has succeeded, unless somebody has edited since.
    promised: Option<usize>,
    /// The version that began the newest term, as the store has it.
    acquired: u64,
    /// The newest run of each process that has loaded: what it knows must not change under it.
    loaded: BTreeMap<ProcessId, u64>,
}

/// What a guest does about its checkpoint.
#[derive(Clone, Debug, Default)]
pub(crate) enum Calling {
    #[default]
    NotYet,
    Waits(CallId, Call),
    Works,
}

impl Checkpoints {
    /// Somebody who is no leader of ours has written something else there, or has deleted it.
    pub(crate) fn edited(&mut self) {
        self.promised = None;
    }
}

impl Calling {
    /// What it waits to have saved.
    pub(crate) fn saves(&self) -> Option<Checkpoint> {
        match self {
            Self::Waits(_, Call::Save(state)) => Some(Checkpoint::Saved(state.clone())),
            _ => None,
        }
    }
}

fn state_of(save: usize) -> SavedState {
    SavedState::new(save.to_string().into_bytes()).expect("a number is short")
}

fn save_of(checkpoint: Option<&Checkpoint>) -> Option<usize> {
    let Some(Checkpoint::Saved(state)) = checkpoint else { return None };
    std::str::from_utf8(state.bytes()).ok()?.parse().ok()
}

impl World {
    /// The guest calls `load`, or `save`, and waits.
    pub(crate) fn guest_calls(&mut self, process: ProcessId, run: RunId) {
        if self.freeze(process, Event::GuestCalls(process, run)) {
            return;
        }
        let now = self.boot(process);
        let Some(guest) = self.guest(process, run).filter(|guest| guest.executes && now < guest.bound) else { return };
        let (token, first) = (guest.token, matches!(guest.calling, Calling::NotYet));
        self.checkpoints.calls += 1;
        let id = CallId(self.checkpoints.calls);
        let call = if first || self.rng.u8(..8) == 0 {
            Call::Load
        } else {
            self.checkpoints.saves.push(Save { process, run, token, landed: None });
            Call::Save(state_of(self.checkpoints.saves.len() - 1))
        };
        if let Some(guest) = self.guest(process, run) {
            guest.calling = Calling::Waits(id, call.clone());
        }
        self.within(MILLISECOND, Event::Deliver(process, Input::Called(run, id, call)));
    }

    /// The replica has answered: what it says has to be so, whether or not the guest still is there to hear it.
    pub(crate) fn answers(&mut self, process: ProcessId, id: CallId, answer: &Answer) {
        let Some(guest) = &mut self.processes[process].guest else { return };
        let (run, token) = (guest.run, guest.token);
        let call = match std::mem::replace(&mut guest.calling, Calling::Works) {
            Calling::Waits(waits, call) if waits == id => call,
            other => return guest.calling = other,
        };
        match (answer, call) {
            (Answer::Saved, Call::Save(state)) => {
                self.tally.count(Seen::Saved);
                self.check_saved(save_of(Some(&Checkpoint::Saved(state))).expect("a guest saves numbers"));
            }
            (Answer::NotSaved(SaveFailure::NotLeading), _) => self.tally.count(Seen::SaveOutOfTerm),
            (Answer::NotSaved(SaveFailure::Refused(_)), _) => self.tally.count(Seen::SaveRefused),
            (Answer::Loaded(loaded), _) => self.check_loaded(process, run, token, loaded.as_ref()),
            (Answer::Saved, Call::Load) => unreachable!("nothing was to be saved"),
        }
        let pause = match (self.is_quiet(), self.rng.u8(..4)) {
            (true, _) => 60 * SECOND,
            (false, 0) => SECOND / 5, // In a loop.
            (false, _) => 15 * SECOND,
        };
        self.within(pause, Event::GuestCalls(process, run));
    }

    /// Other planted mistakes are found by what else comes of them.
    fn checkpoint_violated(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.plan.defect.is_none_or(Defect::is_about_checkpoints) {
            self.invariants.violated(rule, what);
        }
    }

    /// It leads in this term, and really holds the Lease: nobody has taken it by an edit that it has yet to hear of.
    fn holds(&self, process: ProcessId, token: u64) -> bool {
        let process = &self.processes[process];
        let in_term = matches!(process.gate.published, Leadership::Leading { term, .. } if term.token == token);
        in_term && self.checkpoints.acquired <= token && self.store.current().holder() == Some(&*process.identity)
    }

    fn check_saved(&mut self, save: usize) {
        if self.checkpoints.saves[save].landed.is_none() {
            self.checkpoint_violated(Rule::SavedUnwritten, || format!("save {save} is not written, and said to be"));
        }
        // Somebody may have edited since it was written, and not be known of.
        if self.store.current().record().is_some_and(|record| save_of(record.checkpoint.as_ref()) == Some(save)) {
            self.checkpoints.promised = Some(save);
        }
    }

    fn check_loaded(&mut self, process: ProcessId, run: RunId, token: u64, loaded: Option<&Checkpoint>) {
        self.tally.count(if loaded.is_some() { Seen::Loaded } else { Seen::LoadedNothing });
        if !self.holds(process, token) {
            return; // What it knows may be out of date, and its guest is about to be ended.
        }
        if let Some(promised) = self.checkpoints.promised
            && save_of(loaded).is_none_or(|save| save < promised)
        {
            self.checkpoint_violated(Rule::SaveLost, || format!("save {promised} was promised, {loaded:?} is loaded"));
        }
        // Read out of what the Lease has said since the term began.
        let mut states = (0..self.store.len()).rev().map(|index| self.store.at(index));
        let stood = states
            .by_ref()
            .take_while(|seen| seen.version() >= Some(Version(token)))
            .any(|seen| seen.record().and_then(|record| record.checkpoint.as_ref()) == loaded);
        if !stood {
            self.checkpoint_violated(Rule::SaveLost, || {
                format!("{loaded:?} is loaded, and never stood there in term {token}")
            });
        }
        self.checkpoints.loaded.insert(process, run.0);
    }

    /// One of our replicas has written this in place of that.
    pub(crate) fn check_written(
        &mut self,
        process: ProcessId,
        before: Option<&LeaseRecord>,
        record: &LeaseRecord,
        version: u64,
    ) {
        let checkpoints = &mut self.checkpoints;
        let acquires = |before: &LeaseRecord| before.holder != record.holder || before.acquired != record.acquired;
        if record.holder.is_some() && before.is_none_or(acquires) {
            checkpoints.acquired = version;
        }
        let was = before.and_then(|before| before.checkpoint.as_ref());
        if was == record.checkpoint.as_ref() {
            return;
        }
        let new = save_of(record.checkpoint.as_ref()).and_then(|save| Some((save, *checkpoints.saves.get(save)?)));
        // One whose answer is lost may be written twice, the second time over an edit.
        let newest = checkpoints.saves.iter().rposition(|save| save.process == process);
        let asked_for = |(number, save): &(usize, Save)| {
            save.process == process && (save.landed.is_none() || newest == Some(*number))
        };
        let Some((number, save)) = new.filter(asked_for) else {
            let who = &self.processes[process].identity;
            let text =
                format!("{who} writes {:?} in place of {was:?}, and no guest has asked for that", record.checkpoint);
            return self.checkpoint_violated(Rule::CheckpointLost, || text);
        };
        checkpoints.saves[number].landed.get_or_insert(version);
        let loaded = checkpoints.loaded.get(&process).copied().unwrap_or(0);
        let newest = checkpoints.acquired;
        if save.token < newest {
            self.checkpoint_violated(Rule::LateSave, || {
                format!("save {number}, of term {}, is written in term {newest}", save.token)
            });
        }
        if loaded > save.run.0 {
            self.checkpoint_violated(Rule::LateSave, || {
                format!("save {number}, of {:?}, is written after run {loaded} has loaded what stood there", save.run)
            });
        }
        self.tally.count(Seen::SaveWritten);
    }

    /// Somebody edits the annotation, or removes it.
    pub(crate) fn edited_checkpoint(&mut self, record: LeaseRecord) -> LeaseRecord {
        self.checkpoints.edited();
        let checkpoint = match self.rng.u8(..3) {
            0 => None,
            1 => Some(Checkpoint::Unreadable(format!("~{}", self.now).into())),
            _ => Some(Checkpoint::Saved(SavedState::new(*b"by hand").expect("it is short"))),
        };
        LeaseRecord { checkpoint, ..record }
    }
}
