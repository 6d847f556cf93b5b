//! The words of the leader's label: what goes in, what comes out, what a Pod is to it.

use std::collections::BTreeMap;

use crate::{election::RequestId, lease::Version, ports::StoreFailure};

/// A Pod, and no later one of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
}

/// Names a request to put the label on: no other has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the term.
    pub token: u64,
    /// Which request of the term, from 1 on.
    pub attempt: u32,
}

/// The Pod of this replica, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPod {
    /// What the next request has to name.
    pub version: Version,
    /// It carries the label.
    pub labelled: bool,
    /// What its annotation says: see the module's documentation.
    pub mark: Option<Mark>,
}

/// Who carries the label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// This replica's Pod, if it does.
    pub own: Option<OwnPod>,
    /// All others that do, and the version of each.
    pub others: BTreeMap<PodId, Version>,
}

/// What the API server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRequest {
    /// Read this replica's Pod, from a quorum.
    Look,
    /// Put the label on this replica's Pod, with this mark, if the Pod still has that version.
    PutOn {
        /// The version that the decision was made on.
        based_on: Version,
        /// This request's.
        mark: Mark,
    },
    /// Take it off again, and leave this mark there, if the Pod still has that version.
    TakeOff {
        /// The version that the decision was made on.
        based_on: Version,
        /// Of the last request to put it on; `None` leaves what stands there.
        mark: Option<Mark>,
    },
    /// Take it off another Pod, if that still has this version.
    TakeOffOther {
        /// Which one.
        pod: PodId,
        /// The version that the decision was made on.
        based_on: Version,
    },
}

impl LabelRequest {
    /// In words, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Look => "read this Pod",
            Self::PutOn { .. } => "label this Pod as the leader's",
            Self::TakeOff { .. } => "take the leader's label off this Pod",
            Self::TakeOffOther { .. } => "take the leader's label off the Pod of a leader before",
        }
    }
}

/// What the API server said to a [`LabelRequest`] that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelReply {
    /// To [`LabelRequest::Look`].
    Looked(OwnPod),
    /// To the others: the version that it made.
    Written(Version),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum LabelInput {
    /// A request was answered, or has failed. [`StoreFailure::Missing`]: the Pod is gone, or another has its name.
    Answered(RequestId, Result<LabelReply, StoreFailure>),
    /// The watch of all that carry the label told this, while [`super::LeaderLabel::watches`].
    Seen(Labelled),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelAction {
    /// Send this, and drop the one before.
    Send {
        /// To be given back with the answer; counted apart from those about the Lease.
        id: RequestId,
        /// What to ask.
        request: LabelRequest,
    },
    /// Tell people.
    Tell(LabelNotice),
}

/// Something a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelNotice {
    /// This replica's Pod carries the label, with this token.
    On(u64),
    /// It does not any more.
    Off,
    /// It was taken off this Pod, on which a leader before had left it.
    TakenFrom(PodId),
    /// A request failed; what was asked, and how it failed. It is tried again.
    Failed(&'static str, StoreFailure),
    /// It could not be taken off in time: the Lease is given up without that.
    LeftOn,
}
