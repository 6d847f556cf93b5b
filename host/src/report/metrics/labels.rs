//! The labels. All that is not the name of a task or a Lease, or a digest, is one of a few words.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LeaseLabels {
    pub(super) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskLabels {
    pub(super) task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModuleLabels {
    pub(super) task: String,
    pub(super) digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) task: String,
    pub(super) digest: String,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabels {
    pub(super) task: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) task: String,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) task: String,
    pub(super) reason: &'static str,
}

/// Of a request to the store, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) task: String,
    pub(super) kind: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallbackLabels {
    pub(super) task: String,
    pub(super) export: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HostLabels {
    pub(super) result: &'static str,
}

/// A request to the store, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Reads the Lease.
    Read,
    /// Begins a term.
    Acquire,
    /// Makes a term longer, or says something else in it.
    Renew,
    /// Gives the Lease back.
    Release,
}

impl RequestKind {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
        }
    }
}

/// What became of a request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// It was done.
    Ok,
    /// Somebody else was first.
    Conflict,
    /// It was not done, or nobody answered in time.
    Failed,
}

impl RequestResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Conflict, Self::Failed];

    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }
}

/// How this replica came to hold the Lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Began {
    /// Nobody held it: it was released, or was never held.
    #[default]
    Free,
    /// There was none, and this replica made it.
    Created,
    /// Its holder had not renewed in time.
    Expired,
    /// Its holder was proven to have ended.
    Proof,
    /// It was this process's own, from a write that got no answer, or a term that had run out.
    Own,
    /// The API server picked this replica.
    Picked,
}

impl Began {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Free, Self::Created, Self::Expired, Self::Proof, Self::Own, Self::Picked];

    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Created => "created",
            Self::Expired => "expired",
            Self::Proof => "proof",
            Self::Own => "own",
            Self::Picked => "picked",
        }
    }
}

/// Of [`leasehold_core::election::LossReason`], and of a release: how a term ended.
pub(super) const ENDS_OF_TERMS: [&str; 5] = ["released", "expired", "taken", "cleared", "deleted"];

/// Of [`leasehold_core::task::Outcome`], without what only a callback can do.
pub(super) const ENDS_OF_RUNS: [&str; 7] =
    ["returned", "error", "trap", "out-of-memory", "stopped", "unresponsive", "not-started"];

/// What [`leasehold_core::task::Callback`] may be.
pub(super) const CALLBACKS: [&str; 2] = ["on-stop-leading", "on-new-leader"];

/// What becomes of a new module.
pub(super) const SWAP_RESULTS: [&str; 4] = ["worked", "rolled-back", "refused", "waited"];
