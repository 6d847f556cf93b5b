//! What was last seen of the Lease, and what follows from when it was seen.

use std::time::Duration;

use crate::{
    lease::{Observation, Version},
    time::BootTime,
    timing::Timing,
};

use super::RequestId;

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) observation: Observation,
    /// The newest version heard of. That of the observation, where it has one.
    newest: Option<Version>,
    /// The last request that had been sent when this was learned.
    learned_after: RequestId,
    /// Since when it says the same.
    unchanged_since: BootTime,
    /// For how long from then on somebody else may lead.
    believed_for: Duration,
    /// How long after that it is taken.
    take_after: Duration,
    /// The holder was seen to renew in this term of its: it stamps what it writes.
    renews: bool,
}

impl Known {
    /// `seen`, after `before`. `may_lead` is false of this process, and of those that are known to have ended.
    /// `take_after` is how long a Lease that has become free is left alone.
    pub(super) fn next(
        before: Option<&Self>,
        seen: Observation,
        now: BootTime,
        last_request: RequestId,
        may_lead: impl Fn(&str) -> bool,
        timing: &Timing,
        take_after: Duration,
    ) -> Self {
        let renews = before.is_some_and(|before| before.holder_renews(&seen));
        let unchanged_since = match before {
            Some(before) => match (before.observation.record(), seen.record()) {
                // Somebody who asks the holder to step down does not thereby renew for it. But scripts
                // stamp nothing: what says the same in a later version may have been given up and
                // taken again in between.
                (Some(one), Some(other))
                    if one.is_as_old_as(other) && (renews || before.observation.version() == seen.version()) =>
                {
                    before.unchanged_since
                }
                (None, None) => before.unchanged_since,
                _ => now,
            },
            None => now,
        };
        let believed_for = match seen.record() {
            Some(record) => match record.holder.as_deref() {
                // Ours means: a term of this very process that ended, or whose first answer was lost.
                Some(holder) if may_lead(holder) => timing.believed(record.duration),
                _ => Duration::ZERO,
            },
            // That the Lease was deleted does not prove that its holder has stopped: it may have
            // renewed right before, and not have heard of it yet.
            None => before.map_or(Duration::ZERO, |before| before.believed_for),
        };
        let newest = seen.version().or(before.and_then(|before| before.newest));
        Self {
            observation: seen,
            newest,
            learned_after: last_request,
            unchanged_since,
            believed_for,
            take_after,
            renews,
        }
    }

    /// Whether the holder was seen to renew: in `seen`, which comes after this, or before.
    fn holder_renews(&self, seen: &Observation) -> bool {
        let (Some(before), Some(seen)) = (self.observation.record(), seen.record()) else { return false };
        // Who acquires again writes another time here; a script leaves it as somebody else wrote it.
        let same_term = seen.holder.is_some() && seen.holder == before.holder && seen.acquired == before.acquired;
        same_term && (self.renews || (seen.renewed.is_some() && seen.renewed != before.renewed))
    }

    /// Its holder does not lead any more, from `now` on.
    pub(super) fn free(&mut self, now: BootTime) {
        self.believed_for = self.believed_for.min(now.since(self.unchanged_since));
    }

    /// How long its record is believed, from when it was last seen to change.
    pub(super) fn believed_for(&self) -> Duration {
        self.believed_for
    }

    /// From when on nobody else leads, as far as can be known.
    pub(super) fn free_at(&self) -> BootTime {
        self.unchanged_since + self.believed_for
    }

    /// When it may be taken: then, and who has drawn an earlier time has had it.
    pub(super) fn take_at(&self) -> BootTime {
        self.free_at() + self.take_after
    }

    /// There was this version, whatever became of it.
    pub(super) fn hear_of(&mut self, version: Version) {
        self.newest = self.newest.max(Some(version));
    }

    /// Something newer than `version` was heard of.
    pub(super) fn is_newer_than(&self, version: Version) -> bool {
        self.newest > Some(version)
    }

    /// There is a Lease, and another version of it than this.
    pub(super) fn has_replaced(&self, based_on: Option<Version>) -> bool {
        self.observation.record().is_some() && self.observation.version() != based_on
    }

    /// A watch may lag behind: this is older than what is known, or the same. (A deletion without
    /// a version is news; so is the version before it, if it then turns out to be there.)
    pub(super) fn has_overtaken_watch(&self, seen: &Observation) -> bool {
        seen.version().is_some_and(|version| self.is_newer_than(version) || self.observation.version() == Some(version))
    }

    /// The answer to `read` is older than what was learned since it was sent. One that was sent
    /// after that is believed: the store may have been restored from a backup.
    pub(super) fn has_overtaken_read(&self, read: RequestId, seen: &Observation) -> bool {
        self.learned_after >= read && seen.version().is_some_and(|version| self.is_newer_than(version))
    }

    /// Whether the answer to `read`, that there is no Lease, is older or newer than what was learned since it was sent.
    /// Nothing tells.
    pub(super) fn may_have_overtaken_read(&self, read: RequestId, seen: &Observation) -> bool {
        self.learned_after >= read && seen.version().is_none()
    }
}
