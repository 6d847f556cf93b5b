//! `leasehold:task/checkpoint`: asked of the task's loop, which is the one writer of the Lease. The
//! guest waits for the answer; where it is ended meanwhile, its call is dropped with it. What needs no
//! asking is answered here, on the guest's own thread, so that one that calls in a loop keeps nobody else
//! from that thread's work.

use leasehold_core::{
    checkpoint::{STATE_BYTES_MAX, SavedState},
    task::{RunId, StopReason},
};
use tokio::sync::{mpsc, oneshot};

use super::bindings::leasehold::task::checkpoint::{self, SaveError};
use crate::guest::{gate::Closed, state::State};

/// Calls that wait to be taken: a guest has one at a time, and one whose guest is gone may be before it.
const CALLS_MAX: usize = 16;

/// Where guests' calls go.
#[derive(Clone, Debug)]
pub struct CheckpointCalls(mpsc::Sender<CheckpointCall>);

impl CheckpointCalls {
    /// A queue, and its reading end.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<CheckpointCall>) {
        let (sender, receiver) = mpsc::channel(CALLS_MAX);
        (Self(sender), receiver)
    }

    /// Nobody asks, and nobody answers, when the task's loop is gone: then its guests are ended, too.
    async fn ask<T>(&self, run: RunId, asked: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Result<T, Closed> {
        let (answer, answered) = oneshot::channel();
        let gone = Closed::Stopped(StopReason::Shutdown);
        self.0.send(CheckpointCall { run, asked: asked(answer) }).await.map_err(|_| gone)?;
        answered.await.map_err(|_| gone)
    }
}

/// What a guest asks for. Its answer may find nobody there any more.
#[derive(Debug)]
pub struct CheckpointCall {
    /// Whose guest.
    pub run: RunId,
    /// What, and where the answer goes.
    pub asked: Asked,
}

/// See [`CheckpointCall`].
#[derive(Debug)]
pub enum Asked {
    /// `load`
    Load(oneshot::Sender<Option<SavedState>>),
    /// `save`
    Save(SavedState, oneshot::Sender<Result<(), NotSaved>>),
}

/// Why something was not saved, for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSaved {
    /// Its run is not that of a leader.
    NotLeading,
    /// The store has refused it, in these words.
    Refused(String),
}

/// What a run knows of its checkpoint.
#[derive(Debug, Default)]
pub(in crate::guest) enum Known {
    /// Nothing; or a save has failed, so that it may stand there or not.
    #[default]
    Unknown,
    /// This stands there until this run saves something else.
    Stands(Option<SavedState>),
}

impl checkpoint::Host for State {
    async fn load(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        if let Known::Unknown = self.checkpoint {
            self.checkpoint = Known::Stands(self.events.checkpoint().ask(self.run, Asked::Load).await?);
        }
        Ok(match &self.checkpoint {
            Known::Stands(Some(state)) => Some(state.bytes().to_vec()),
            Known::Stands(None) | Known::Unknown => None,
        })
    }

    async fn save(&mut self, state: Vec<u8>) -> wasmtime::Result<Result<(), SaveError>> {
        let Ok(state) = SavedState::new(state) else { return Ok(Err(SaveError::TooLarge(STATE_BYTES_MAX as u32))) };
        self.checkpoint = Known::Unknown;
        let saved = self.events.checkpoint().ask(self.run, |answer| Asked::Save(state.clone(), answer)).await?;
        if saved.is_ok() {
            self.checkpoint = Known::Stands(Some(state));
        }
        Ok(saved.map_err(|why| match why {
            NotSaved::NotLeading => SaveError::NotLeading,
            NotSaved::Refused(words) => SaveError::Refused(words),
        }))
    }
}
