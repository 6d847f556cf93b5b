//! Small state that a task leaves for the next leader. It stands on the Lease, and is written with the
//! very write that renews: a save so succeeds only while leadership does.

use std::{fmt, sync::Arc, time::Duration};

use crate::ports::StoreFailure;

/// The most that a task may save. A Kubernetes object's annotations may have 256 KiB together, and
/// this is 87 KiB of base64.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// A guest's saves are written no more often than this, so that one that saves in a loop does not flood
/// the store. The first is written at once; renewals carry what waits.
pub const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What a task has saved: at most [`STATE_BYTES_MAX`].
#[derive(Clone, PartialEq, Eq)]
pub struct SavedState(Arc<[u8]>);

/// More than [`STATE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {0} bytes; at most {STATE_BYTES_MAX} can be saved")]
pub struct TooLarge(pub usize);

impl SavedState {
    /// Checks the size.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, TooLarge> {
        let bytes = bytes.into();
        if bytes.len() > STATE_BYTES_MAX {
            return Err(TooLarge(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The bytes, as they were saved.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SavedState {
    /// Its size alone: it may be a secret, and this ends in logs and panics.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedState({} bytes)", self.0.len())
    }
}

/// What stands on a Lease as its task's checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// What a leader has saved.
    Saved(SavedState),
    /// Text that no leader has written: somebody has edited it. It is kept as it is until the next save.
    Unreadable(Arc<str>),
}

impl fmt::Debug for Checkpoint {
    /// As that of [`SavedState`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saved(state) => state.fmt(f),
            Self::Unreadable(text) => write!(f, "Unreadable({} bytes)", text.len()),
        }
    }
}

/// Names a guest's call, so that its answer finds it. Grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a guest asks for. It waits for the answer: a run has one call under way at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// What was saved last.
    Load,
    /// To have this saved.
    Save(SavedState),
}

/// What becomes of a [`Call`]. A guest whose run or term ends meanwhile gets none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This stands on the Lease, and stays there until this leader saves something else.
    Loaded(Option<Checkpoint>),
    /// It stands on the Lease.
    Saved,
    /// It is not known to stand there, and nothing more is done about it.
    NotSaved(SaveFailure),
}

/// Why something was not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFailure {
    /// The run that asked is not, or not any more, that of a leader.
    NotLeading,
    /// The store has refused the write, in this way.
    Refused(StoreFailure),
}
