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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Acquire, Self::Renew, Self::Release];

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

/// Why this replica has given the Lease back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Released {
    /// The host was asked to end.
    Shutdown,
    /// A person has asked for it, through the Lease.
    Asked,
    /// The API server would rather have another lead.
    Preferred,
    /// The component has called `step-down`.
    SteppedDown,
    /// The component has returned, and `onReturn` is `release`.
    Returned,
    /// The component has failed, too often for this replica to go on.
    #[default]
    Failed,
}

impl Released {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Shutdown, Self::Asked, Self::Preferred, Self::SteppedDown, Self::Returned, Self::Failed];

    /// For metrics and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "released-shutdown",
            Self::Asked => "released-asked",
            Self::Preferred => "released-preferred",
            Self::SteppedDown => "released-stepped-down",
            Self::Returned => "released-returned",
            Self::Failed => "released-failed",
        }
    }
}

/// Of [`leasehold_core::election::LossReason`]: how a term ended that was not given back.
pub(super) const LOSSES: [&str; 4] = ["expired", "taken", "cleared", "deleted"];

/// Of [`leasehold_core::task::Outcome`], without what only a callback can do.
pub(super) const ENDS_OF_RUNS: [&str; 7] =
    ["returned", "error", "trap", "out-of-memory", "stopped", "unresponsive", "not-started"];

/// What [`leasehold_core::task::Callback`] may be.
pub(super) const CALLBACKS: [&str; 2] = ["on-stop-leading", "on-new-leader"];

/// What a component asks for beyond this process.
pub(super) const CALLS: [&str; 4] = ["http", "kubernetes", "tcp", "checkpoint"];

/// What becomes of a new module.
pub(super) const SWAP_RESULTS: [&str; 4] = ["worked", "rolled-back", "refused", "waited"];
