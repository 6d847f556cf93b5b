//! The times that the stories have measured.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use leasehold_tests::table::{Samples, SideBySide};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    DeletedPod,
    /// The part of it that the elector has a say in.
    Terminated,
    /// The deletion, where the Role allows to follow Pods.
    FollowedDeletion,
    KilledContainer,
    /// The same, where the Role allows to follow Pods.
    ProvenCrash,
    Partition,
    MountedModule,
    WatchedModule,
    /// By new Pods, as it has to be done where a module cannot be replaced.
    RolledOutModule,
    RollingUpdate,
    /// From the successor's first line on.
    Routed,
}

/// Of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Leasehold,
    ClientGo,
}

/// Of all stories that were told.
#[derive(Default)]
pub(crate) struct Times(Mutex<BTreeMap<(What, Who), Samples>>);

impl Times {
    /// One more.
    pub(crate) fn add(&self, what: What, who: Who, micros: i64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.entry((what, who)).or_default().add_micros(micros);
    }

    /// As a table, to stdout; nothing where nothing was measured.
    pub(crate) fn print(&self) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.is_empty() {
            return;
        }
        let mut table =
            SideBySide::new("Leases of 15 s, renewed within 10 s, retried every 2 s: p50 (max, n), milliseconds");
        for (what, text) in [
            (What::DeletedPod, "leader's Pod deleted to the successor's first line"),
            (What::Terminated, "of that, from the leader's SIGTERM on"),
            (What::FollowedDeletion, "from the deletion on, where the Role allows to follow Pods"),
            (What::KilledContainer, "leader's container killed to the successor's first line"),
            (What::ProvenCrash, "from the kill on, where the Role allows to follow Pods"),
            (What::Partition, "leader's node cut off to the successor's first line"),
            (What::MountedModule, "mounted ConfigMap written to the new module's first line"),
            (What::WatchedModule, "ConfigMap watched through the API written to the same"),
            (What::RolledOutModule, "by a rolling update of the same three replicas instead"),
            (What::RollingUpdate, "rolling update: no guest runs, at each handover"),
            (What::Routed, "successor's first line to being all that the leader's Service has"),
        ] {
            let [ours, theirs] = [Who::Leasehold, Who::ClientGo].map(|who| samples.get(&(what, who)));
            if ours.is_some() || theirs.is_some() {
                table.times(text, ours, theirs);
            }
        }
        println!();
        table.print();
    }
}
