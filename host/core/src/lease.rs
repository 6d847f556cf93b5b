//! What a Lease says, in the terms of `coordination.k8s.io/v1`, and what was seen of it.

use std::{fmt, time::Duration};

use crate::{checkpoint::Checkpoint, task::Digest, time::WallTime};

/// A store's version of a Lease: it grows with every write, and goes on growing when the Lease
/// is deleted and made again.
///
/// Kubernetes: `metadata.resourceVersion`, documented as comparable since 1.35 (KEP-5504).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a Lease that electors read and write.
///
/// Two records that differ in nothing but what others may write beside a holder (`step_down`, `checkpoint`, `modules`,
/// `coordination`), seen one after the other, mean that the holder did not renew in between, if it renews at all: every
/// renewal changes `renewed`, and so does every save. What scripts write may say the same each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `spec.holderIdentity`. `None` is free, and so is `""` in the API: stores make `None` of it.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`, as the holder wrote it; `None` where it is missing or not positive.
    pub duration: Option<Duration>,
    /// `spec.acquireTime`
    pub acquired: Option<WallTime>,
    /// `spec.renewTime`
    pub renewed: Option<WallTime>,
    /// `spec.leaseTransitions`. For people; restarts when the Lease is made again.
    pub transitions: u32,
    /// Annotation `leasehold.dev/task`: the one task this Lease is for.
    pub task: Option<String>,
    /// Annotation `leasehold.dev/token`: the fencing token of the holder's term, from its first
    /// renewal on (the write that acquires cannot know its own version).
    pub token: Option<u64>,
    /// Annotation `leasehold.dev/step-down`: the holder that a person asks to give the Lease up. Not
    /// written by holders, but kept by their renewals until the Lease has left them.
    pub step_down: Option<String>,
    /// Annotation `leasehold.dev/checkpoint`: what the task has left for its next leader. Whoever writes the
    /// Lease keeps it, but for a leader that saves.
    pub checkpoint: Option<Checkpoint>,
    /// Which modules the task has, as its leader wrote it.
    pub modules: Box<LeaseModules>,
    /// What the API server's controller has written, where it picks the holder. Kept.
    pub coordination: Option<Box<Coordination>>,
}

/// Which of a task's modules runs, has worked, has failed: written by its leader with what it writes anyway, for those
/// that stand by. What is no digest is read as absent, and so is gone with the leader's next write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseModules {
    /// Annotation `leasehold.dev/module`: what runs in the holder's term.
    pub module: Option<Digest>,
    /// Annotation `leasehold.dev/waiting-module`: what is ready on the holder, while another one runs. For people alone.
    pub waiting: Option<Digest>,
    /// Annotation `leasehold.dev/good-module`: the newest that has come through its probation.
    pub good: Option<Digest>,
    /// Annotation `leasehold.dev/refused-module`: one that has failed in its probation, and is not to be run by
    /// whoever has another.
    pub refused: Option<Digest>,
}

/// What the controller of a coordinated election (KEP-4355) writes into a Lease beside the holder that it picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// `spec.strategy`: by what rule it picks.
    pub strategy: String,
    /// `spec.preferredHolder`: whom it would rather have than the holder there is. Never `""`.
    pub preferred_holder: Option<String>,
}

impl LeaseRecord {
    /// `me` was written as the holder by the API server, which stamps no time of acquiring, and not by itself.
    pub fn names(&self, me: &str) -> bool {
        self.acquired.is_none() && self.holder.as_deref() == Some(me)
    }

    /// The API server has picked the holder, who has not written since.
    pub fn is_picked(&self) -> bool {
        self.coordination.is_some() && self.holder.is_some() && self.acquired.is_none()
    }

    /// Who is to have the Lease instead of `me`.
    pub fn prefers_another_than(&self, me: &str) -> Option<&str> {
        self.coordination.as_ref()?.preferred_holder.as_deref().filter(|preferred| *preferred != me)
    }

    /// Of electors that renew, none has acquired, renewed or released between the two.
    pub fn is_as_old_as(&self, other: &Self) -> bool {
        let by_holder = |record: &Self| Self {
            step_down: None,
            checkpoint: None,
            modules: Box::default(),
            coordination: None,
            ..record.clone()
        };
        by_holder(self) == by_holder(other)
    }
}

/// What was seen of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It is there.
    Present {
        /// The version that the next write has to name.
        version: Version,
        /// What it says.
        record: LeaseRecord,
    },
    /// It is not there.
    Missing {
        /// The version of the deletion, where a watch told it.
        deleted_at: Option<Version>,
    },
}

impl Observation {
    /// Where in the Lease's history this stands, if that is known.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Present { version, .. } => Some(*version),
            Self::Missing { deleted_at } => *deleted_at,
        }
    }

    /// The record, if there is one.
    pub fn record(&self) -> Option<&LeaseRecord> {
        match self {
            Self::Present { record, .. } => Some(record),
            Self::Missing { .. } => None,
        }
    }

    /// [`LeaseRecord::names`] this replica.
    pub fn names(&self, me: &str) -> bool {
        self.record().is_some_and(|record| record.names(me))
    }

    /// Who holds the Lease, if anybody.
    pub fn holder(&self) -> Option<&str> {
        self.record()?.holder.as_deref()
    }
}
