//! What guests leave for the next leader: each loads when it begins, and saves, now and then or in a loop, states
//! of which no two are the same. Beside them people edit, and scripts replace, what stands there.

use leasehold_core::{
    checkpoint::{Answer, Call, CallId, Checkpoint, SavedState},
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
    /// Runs that have loaded: what they know must not change under them.
    loaded: Vec<(ProcessId, RunId)>,
}

impl Checkpoints {
    /// Somebody who is no leader of ours has written something else there, or has deleted it.
    pub(crate) fn edited(&mut self) {
        self.promised = None;
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
        let (token, first) = (guest.token, guest.waits.is_none());
        self.checkpoints.calls += 1;
        let id = CallId(self.checkpoints.calls);
        let call = if first || self.rng.u8(..8) == 0 {
            Call::Load
        } else {
            self.checkpoints.saves.push(Save { process, run, token, landed: None });
            Call::Save(state_of(self.checkpoints.saves.len() - 1))
        };
        if let Some(guest) = self.guest(process, run) {
            guest.waits = Some((id, call.clone()));
        }
        self.within(MILLISECOND, Event::Deliver(process, Input::Called(run, id, call)));
    }

    /// The replica has answered: what it says has to be so, whether or not the guest still is there to hear it.
    pub(crate) fn answers(&mut self, process: ProcessId, id: CallId, answer: &Answer) {
        let Some((run, token, call)) = self.waiting_call(process, id) else { return };
        match (answer, call) {
            (Answer::Saved, Call::Save(state)) => {
                self.tally.count(Seen::Saved);
                self.check_saved(save_of(Some(&Checkpoint::Saved(state))).expect("a guest saves numbers"));
            }
            (Answer::NotSaved(_), _) => self.tally.count(Seen::NotSaved),
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

    fn waiting_call(&mut self, process: ProcessId, id: CallId) -> Option<(RunId, u64, Call)> {
        let guest = self.processes[process].guest.as_ref()?;
        let (waits, call) = guest.waits.clone()?;
        (waits == id).then_some((guest.run, guest.token, call))
    }

    fn check_saved(&mut self, save: usize) {
        if self.checkpoints.saves[save].landed.is_none() {
            self.invariants.violated(Rule::SavedUnwritten, || format!("save {save} is not written, and said to be"));
        }
        // Somebody may have edited since it was written, and not be known of.
        if self.store.current().record().is_some_and(|record| save_of(record.checkpoint.as_ref()) == Some(save)) {
            self.checkpoints.promised = Some(save);
        }
    }

    fn check_loaded(&mut self, process: ProcessId, run: RunId, token: u64, loaded: Option<&Checkpoint>) {
        self.tally.count(if loaded.is_some() { Seen::Loaded } else { Seen::LoadedNothing });
        if let Some(promised) = self.checkpoints.promised
            && save_of(loaded).is_none_or(|save| save < promised)
        {
            self.invariants.violated(Rule::SaveLost, || format!("save {promised} was promised, {loaded:?} is loaded"));
        }
        // Read out of what the Lease has said since the term began.
        let mut states = (0..self.store.len()).rev().map(|index| self.store.at(index));
        let stood = states
            .by_ref()
            .take_while(|seen| seen.version() >= Some(Version(token)))
            .any(|seen| seen.record().and_then(|record| record.checkpoint.as_ref()) == loaded);
        // A planted token is none of a version.
        if !stood && self.plan.defect != Some(Defect::TransitionsAsToken) {
            self.invariants
                .violated(Rule::SaveLost, || format!("{loaded:?} is loaded, and never stood there in term {token}"));
        }
        self.checkpoints.loaded.push((process, run));
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
        let Some((number, save)) = new.filter(|(_, save)| save.process == process && save.landed.is_none()) else {
            let who = &self.processes[process].identity;
            return self.invariants.violated(Rule::CheckpointLost, || {
                format!("{who} writes {:?} in place of {was:?}, and no guest has asked for that", record.checkpoint)
            });
        };
        checkpoints.saves[number].landed = Some(version);
        if record.holder.is_none() || save.token != checkpoints.acquired && before.is_some() {
            let now = checkpoints.acquired;
            self.invariants.violated(Rule::LateSave, || {
                format!("save {number}, of the term {}, is written in the term {now}", save.token)
            });
        }
        let later = |(of, run): &(ProcessId, RunId)| *of == process && run.0 > save.run.0;
        if let Some((_, run)) = checkpoints.loaded.iter().find(|loaded| later(loaded)) {
            self.invariants.violated(Rule::LateSave, || {
                format!("save {number}, of {:?}, is written after {run:?} has loaded what stood there", save.run)
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
