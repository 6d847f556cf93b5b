//! The words of the election: what goes in, what comes out, what people are told.

use std::time::Duration;

use crate::{
    candidate::{CandidateInput, CandidateRequest},
    checkpoint::{Answer, Call, CallId},
    lease::{LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    time::BootTime,
    timing::Timing,
};

/// What stays the same for the life of an [`Election`](super::Election).
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// What is written as the holder. Must differ from that of every other election on this
    /// Lease, earlier boots of this host included.
    pub identity: String,
    /// The one task this Lease may be for (invariant 13).
    pub task: String,
    /// Take a Lease that is marked as another task's, and mark it as ours.
    pub adopt: bool,
    /// The durations.
    pub timing: Timing,
    /// Who decides which of those who compete gets the Lease.
    pub contest: Contest,
}

/// Who decides which of those who compete gets the Lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contest {
    /// Whoever is first to take it when it is free.
    #[default]
    Open,
    /// The API server names one of the candidates (KEP-4355). Asks of the store that its watch tells every
    /// change and not only the last of several, or says that it broke: Kubernetes does.
    Coordinated,
}

/// One uninterrupted time as the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The fencing token: the version of the write that began the term.
    pub token: u64,
}

/// Whether this replica leads, as far as it may believe so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It does not. `holder` is who does, as last seen.
    Standby {
        /// The holder's identity; `None` while it is unknown or nobody.
        holder: Option<String>,
    },
    /// It does, until `valid_until` unless a renewal moves that.
    Leading {
        /// The term it leads in.
        term: Term,
        /// No guest instruction may run at or after this.
        valid_until: BootTime,
        /// False from the renew deadline on, until a renewal succeeds: the guest is to stop.
        certain: bool,
        /// Somebody asked, through the Lease, that this replica give it up. Stays so for the term.
        step_down: bool,
    },
}

/// Names a request, so that an answer that comes after its deadline is known as such. Grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the store is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read the Lease, from a quorum.
    Read,
    /// Replace the Lease if it still has this version, or make it where there is none.
    Write {
        /// The version the decision was made on; `None` makes the Lease.
        based_on: Option<Version>,
        /// What it shall say.
        record: LeaseRecord,
    },
}

/// What the store said to a [`Request`] that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Read`].
    Read(Observation),
    /// To [`Request::Write`]: the version it made.
    Written(Version),
}

/// For how long a replica that has stepped down lets others have the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayOut {
    /// For a while.
    For(Duration),
    /// It does not compete again.
    Forever,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A request was answered, or has failed.
    Answered(RequestId, Result<Reply, StoreFailure>),
    /// The watch told something.
    Watched(WatchEvent),
    /// The work is done or has ended, nothing of it runs any more, and the Lease is to go to another.
    StepDown(StayOut),
    /// It is proven that the process with this identity has ended, so that nothing of it runs, nor ever
    /// will. A guess is no proof: a silent holder, one that cannot be reached, or whose Pod object is
    /// gone, may still run.
    HolderEnded(String),
    /// A guest asks for something about its checkpoint. The term is the one its run may act in, if any.
    Called(CallId, Option<Term>, Call),
    /// The run of the last call has ended or is to: nothing more is done for it.
    CallDropped,
    /// Something happened to this replica's LeaseCandidate, in a coordinated election.
    Candidate(CandidateInput),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this, and drop the one before. The election gives up on it by itself.
    Send {
        /// To be given back with the answer.
        id: RequestId,
        /// What to ask.
        request: Request,
    },
    /// Send this about the LeaseCandidate, beside the other, and drop the one before.
    SendCandidate {
        /// To be given back with the answer. Counted apart from those of [`Action::Send`].
        id: RequestId,
        /// What to ask.
        request: CandidateRequest,
    },
    /// Tell people.
    Tell(Notice),
    /// Tell the guest that waits for it.
    Answer(CallId, Answer),
    /// [`StayOut::Forever`] is done: the Lease is not held, unless by a write that the store never
    /// answered for. Nothing more is asked, and no answer is waited for.
    Withdrawn,
}

/// Something a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A term began.
    Leading(Term),
    /// A term ended otherwise than by a release.
    Lost(Term, LossReason),
    /// The Lease was given back.
    Released(Term),
    /// Somebody asked, through the Lease, that this replica give it up.
    StepDownRequested(Term),
    /// The API server would rather have this one lead: this replica gives the Lease up.
    AnotherPreferred(Term, String),
    /// The API server has named this replica: it takes the Lease when whoever held it before has surely stopped,
    /// after this long.
    Named(Duration),
    /// Somebody holds the Lease who did not before.
    NewLeader(String),
    /// This holder is proven to have ended: its record is not waited out.
    HolderEnded(String),
    /// The Lease is another task's: this replica does not compete for it (invariant 13).
    OtherTask(String),
    /// A request failed; what was asked, and how it failed. It will be tried again.
    RequestFailed(&'static str, StoreFailure),
    /// The same of a request about the LeaseCandidate.
    CandidacyFailed(&'static str, StoreFailure),
}

/// Why a term ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// No renewal was known to have succeeded in time.
    Expired,
    /// This one holds the Lease now.
    TakenBy(String),
    /// Somebody emptied the holder.
    Cleared,
    /// Somebody deleted the Lease.
    Deleted,
}
