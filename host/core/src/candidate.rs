//! What this replica's LeaseCandidate says (`coordination.k8s.io/v1beta1`, KEP-4355), and what is asked about it.
//!
//! In a coordinated election each replica has one, under its own identity, in the Lease's namespace. The API
//! server's controller pings all of a Lease's candidates when it needs a holder, and picks one of those that answer.

use crate::{election::RequestId, lease::Version, ports::StoreFailure, time::WallTime};

/// The part of a LeaseCandidate that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CandidateRecord {
    /// `metadata.creationTimestamp`, by the API server's clock.
    pub created: WallTime,
    /// `spec.pingTime`, by the API server's clock.
    pub pinged: Option<WallTime>,
    /// `spec.renewTime`, as this replica wrote it, by the API server's clock too; `None` until it stands.
    pub renewed: Option<WallTime>,
}

impl CandidateRecord {
    /// The ping that is not answered yet.
    pub fn unanswered_ping(&self) -> Option<WallTime> {
        self.pinged.filter(|pinged| self.renewed.is_none_or(|renewed| renewed < *pinged))
    }
}

/// What was seen of this replica's LeaseCandidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateSeen {
    /// It is there.
    Present {
        /// The version that the next request has to name.
        version: Version,
        /// What it says.
        record: CandidateRecord,
    },
    /// It is not there, as of this version.
    Missing {
        /// The version of the list, or of the deletion, that told it.
        at: Version,
    },
}

impl CandidateSeen {
    /// Where in the history this stands.
    pub fn version(&self) -> Version {
        match self {
            Self::Present { version, .. } => *version,
            Self::Missing { at } => *at,
        }
    }
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateRequest {
    /// Make it, without a `renewTime`: it does not stand yet.
    Create,
    /// Give it this `renewTime`, if it still has that version: from the first one on it stands. That fails, and the
    /// candidate is gone, where the API server could not tell it apart from one that stands already.
    Renew {
        /// The version that the decision was made on.
        based_on: Version,
        /// `spec.renewTime`
        renewed: WallTime,
    },
    /// Delete it, whatever it says.
    Delete,
}

/// What happened to it.
#[derive(Clone, Debug)]
pub enum CandidateInput {
    /// The watch told that it is like this.
    Seen(CandidateSeen),
    /// A request was answered with the version that it made (a deletion: of the deletion, or of what was
    /// deleted), or has failed.
    Answered(RequestId, Result<Version, StoreFailure>),
}
