//! Guests' calls of `leasehold:task/checkpoint`, between their asking and the core's answer.

use std::collections::BTreeMap;

use leasehold_core::{
    checkpoint::{Answer, Call, CallId, Checkpoint, SaveFailure, SavedState},
    ports::{StoreError, StoreFailure},
    replica::Input,
};
use tokio::sync::oneshot;

use crate::{
    guest::imports::checkpoint::{Asked, CheckpointCall, NotSaved},
    report::{Chain, Report},
};

/// The calls that wait for an answer: one of the guest that runs, and those of such that are gone.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    waiting: BTreeMap<CallId, Waiting>,
}

#[derive(Debug)]
enum Waiting {
    Load(oneshot::Sender<Option<SavedState>>),
    Save(oneshot::Sender<Result<(), NotSaved>>),
}

impl Waiting {
    fn is_gone(&self) -> bool {
        match self {
            Self::Load(answer) => answer.is_closed(),
            Self::Save(answer) => answer.is_closed(),
        }
    }
}

impl Calls {
    /// What the core is to hear of it.
    pub(super) fn called(&mut self, call: CheckpointCall) -> Input {
        self.waiting.retain(|_, waiting| !waiting.is_gone());
        let (waiting, asked) = match call.asked {
            Asked::Load(answer) => (Waiting::Load(answer), Call::Load),
            Asked::Save(state, answer) => (Waiting::Save(answer), Call::Save(state)),
        };
        self.last += 1;
        let id = CallId(self.last);
        self.waiting.insert(id, waiting);
        Input::Called(call.run, id, asked)
    }

    /// Tells the guest, where it still is there. `why` is the store's word on the last request.
    pub(super) fn answer(&mut self, id: CallId, answer: Answer, why: Option<&StoreError>, report: &Report) {
        match (self.waiting.remove(&id), answer) {
            (Some(Waiting::Load(waiting)), Answer::Loaded(loaded)) => {
                let loaded = loaded.and_then(|loaded| readable(loaded, report));
                // Its guest may be gone.
                let _ = waiting.send(loaded);
            }
            (Some(Waiting::Save(waiting)), Answer::Saved) => tell(waiting, Ok(()), report),
            (Some(Waiting::Save(waiting)), Answer::NotSaved(SaveFailure::NotLeading)) => {
                tell(waiting, Err(NotSaved::NotLeading), report);
            }
            (Some(Waiting::Save(waiting)), Answer::NotSaved(SaveFailure::Refused(failure))) => {
                tell(waiting, Err(NotSaved::Refused(words(failure, why))), report);
            }
            (Some(Waiting::Load(_)), Answer::Saved | Answer::NotSaved(_))
            | (Some(Waiting::Save(_)), Answer::Loaded(_)) => {
                unreachable!("the core answers what it was asked");
            }
            (None, _) => {} // Its guest is gone.
        }
    }
}

fn tell(answer: oneshot::Sender<Result<(), NotSaved>>, saved: Result<(), NotSaved>, report: &Report) {
    report.checkpoint_save(match &saved {
        Ok(()) => "ok",
        Err(NotSaved::NotLeading) => "refused",
        Err(NotSaved::Refused(_)) => "failed",
    });
    // Its guest may be gone.
    let _ = answer.send(saved);
}

fn readable(loaded: Checkpoint, report: &Report) -> Option<SavedState> {
    match loaded {
        Checkpoint::Saved(state) => Some(state),
        Checkpoint::Unreadable(text) => {
            report.checkpoint_unreadable(&text);
            None
        }
    }
}

fn words(failure: StoreFailure, why: Option<&StoreError>) -> String {
    match why.filter(|why| why.failure == failure) {
        Some(why) => Chain(why).to_string(),
        None => format!("{failure:?}"),
    }
}
