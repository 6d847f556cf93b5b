//! What people are told of the leader's label on this replica's Pod.

use std::fmt;

use super::Report;
use crate::log::say;

impl Report {
    /// This task's Pod is to carry it while it leads.
    pub fn leader_label_is_asked_for(&self) {
        self.metrics.leader_label(false);
        self.state.leader_label(false);
    }

    /// This Pod carries it, in the term of this token.
    pub fn leader_label_on(&self, token: u64) {
        say!(info, self.subject, "leader-label-set", { token = token }; "this Pod carries the leader's label");
        self.metrics.leader_label(true);
        self.state.leader_label(true);
    }

    /// It does not any more.
    pub fn leader_label_off(&self) {
        say!(info, self.subject, "leader-label-removed"; "this Pod does not carry the leader's label any more");
        self.metrics.leader_label(false);
        self.state.leader_label(false);
    }

    /// A leader before had left it on this Pod.
    pub fn leader_label_taken_from(&self, pod: &str) {
        say!(info, self.subject, "leader-label-taken", { pod = pod };
            "the leader's label is taken off {pod}, on which a leader before had left it");
    }

    /// The Lease is given up without having it taken off.
    pub fn leader_label_left_on(&self) {
        say!(warn, self.subject, "leader-label-left";
            "the leader's label could not be taken off this Pod in time: whoever leads next does that");
    }

    /// A request about it failed; it will be tried again.
    pub fn leader_label_failed(&self, what: &dyn fmt::Display, why: &dyn fmt::Display) {
        say!(warn, self.subject, "leader-label-failed"; "could not {what}: {why}");
        self.metrics.leader_label_failed();
    }
}
