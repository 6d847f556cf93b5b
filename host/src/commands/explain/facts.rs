//! What could be found out about a Lease, and what not and why.

use jiff::Timestamp;
use leasehold_core::lease::LeaseRecord;

use crate::{
    commands::status::{kind::Kind, lease::SeenLease},
    lease::folder::InFolder,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `None`: there is no such Lease.
    pub(super) lease: Option<SeenLease>,
    pub(super) created: Option<Timestamp>,
    /// Who wrote which of its fields when.
    pub(super) writes: Asked<Vec<Write>>,
    pub(super) events: Asked<Vec<Event>>,
    /// The holder's Pod, where there is a holder whose identity could name one.
    pub(super) pod: Option<HolderPod>,
    /// In a coordinated election.
    pub(super) candidates: Option<Asked<Vec<Candidate>>>,
}

/// What was asked for.
#[derive(Debug)]
pub(super) enum Asked<T> {
    Known(T),
    /// What is not known, and why.
    NotKnown(String),
}

impl<T> Asked<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(known),
            Self::NotKnown(_) => None,
        }
    }

    fn why_not(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::NotKnown(why) => Some(why),
        }
    }
}

/// The last write of somebody.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) at: Timestamp,
    /// The field manager.
    pub(super) by: String,
    /// Those that it was the last to change.
    pub(super) fields: Vec<String>,
}

/// A Kubernetes Event about the Lease.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) by: String,
    /// So often, the last time at `at`.
    pub(super) count: u32,
}

/// The Pod that a holder's identity names, if it names one: `NAME_` and a nonce.
#[derive(Debug)]
pub(super) struct HolderPod {
    pub(super) name: String,
    /// `Known(None)`: there is none of that name in the Lease's namespace.
    pub(super) seen: Asked<Option<PodSeen>>,
}

#[derive(Debug)]
pub(super) struct PodSeen {
    /// `status.phase`
    pub(super) phase: String,
    /// Its deletion was asked for.
    pub(super) is_deleted: bool,
    /// The kubelet says that the very process that holds the Lease has ended.
    pub(super) holder_has_ended: bool,
    /// Why its containers wait or have ended, in the kubelet's words.
    pub(super) containers: Vec<String>,
    pub(super) node: Option<Node>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Whether it is, as the node's `Ready` condition says.
    pub(super) is_ready: Asked<bool>,
}

/// A LeaseCandidate for the Lease.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) emulation_version: Option<String>,
    pub(super) binary_version: String,
    /// When it last answered.
    pub(super) renewed: Option<Timestamp>,
}

impl Facts {
    /// Of a Lease in a folder, which keeps no history.
    pub(super) fn of_a_file(found: InFolder) -> Self {
        let InFolder { namespace, name, found } = found;
        let (record, problem) = match found {
            Ok(record) => (record, None),
            Err(error) => (LeaseRecord::default(), Some(error)),
        };
        let kind = if record.task.is_some() { Kind::Task } else { Kind::Application };
        let lease =
            SeenLease { namespace: namespace.clone(), name: name.clone(), kind, record, taken_at: None, problem };
        let nothing_kept = "who wrote it, and what happened before: a folder keeps no history of its leases";
        Self {
            namespace,
            name,
            lease: Some(lease),
            created: None,
            writes: Asked::NotKnown(nothing_kept.to_owned()),
            events: Asked::Known(Vec::new()),
            pod: None,
            candidates: None,
        }
    }

    /// In words.
    pub(super) fn not_known(&self) -> Vec<&str> {
        let pod = self.pod.as_ref().map(|pod| &pod.seen);
        let node = pod.and_then(Asked::known).and_then(Option::as_ref).and_then(|pod| pod.node.as_ref());
        let whys = [
            self.events.why_not(),
            self.writes.why_not(),
            pod.and_then(Asked::why_not),
            node.and_then(|node| node.is_ready.why_not()),
            self.candidates.as_ref().and_then(Asked::why_not),
        ];
        whys.into_iter().flatten().collect()
    }
}
