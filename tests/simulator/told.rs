//! What each process was told of the Lease, kept apart from its election: whoever was told of another holder
//! must not lead, and takes over only when that one's record has run out by what it was told itself.

use std::time::Duration;

use leasehold_core::{
    election::{Reply, Request},
    lease::{LeaseRecord, Observation, Version},
    ports::{StoreFailure, WatchEvent},
    replica::Input,
    time::BootTime,
    timing::{FOREIGN_DURATION_MAX, Timing},
};

/// The newest that a process was told of the Lease.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) version: Option<Version>,
    pub(crate) holder_is_another: bool,
    /// What it says, if it was told that; when it is gone, what it said last.
    record: Option<LeaseRecord>,
    gone: bool,
    /// Since when it says the same.
    since: BootTime,
    /// They are proven to have ended.
    ended: Vec<String>,
}

impl Told {
    /// What it says, if that was told since it was last written.
    pub(crate) fn record(&self) -> Option<&LeaseRecord> {
        self.record.as_ref().filter(|_| !self.gone)
    }

    pub(crate) fn hear(&mut self, input: &Input, identity: &str, now: BootTime) {
        let refused_as_missing = matches!(input, Input::Answered(_, Err(StoreFailure::Missing)));
        if refused_as_missing || matches!(Self::observation(input), Some(Observation::Missing { .. })) {
            let version = Self::observation(input).and_then(Observation::version);
            // That it is missing often has no version: then it is news.
            if version.is_some() && version <= self.version {
                return;
            }
            if !std::mem::replace(&mut self.gone, true) {
                self.since = now;
            }
            if version.is_some() {
                (self.version, self.holder_is_another) = (version, true);
            }
            return;
        }
        let (version, record, holder_is_another) = match input {
            Input::Watched(WatchEvent::Seen(seen)) | Input::Answered(_, Ok(Reply::Read(seen))) => {
                (seen.version(), seen.record().cloned(), seen.holder() != Some(identity))
            }
            Input::Answered(_, Ok(Reply::Written(version))) => (Some(*version), None, false),
            Input::HolderEnded(ended) => return self.ended.push(ended.clone()),
            _ => return,
        };
        if version <= self.version {
            return;
        }
        let renewed = match (&self.record, &record) {
            (Some(before), Some(after)) if !self.gone => !before.is_as_old_as(after),
            _ => true,
        };
        if renewed {
            self.since = now;
        }
        (self.version, self.record, self.holder_is_another) = (version, record, holder_is_another);
        self.gone = false;
    }

    /// This write takes the Lease from somebody whose record has not run out: how long it has yet to.
    pub(crate) fn takes_too_early(
        &self,
        request: &Request,
        identity: &str,
        now: BootTime,
        timing: Timing,
    ) -> Option<Duration> {
        let Request::Write { based_on, record } = request else { return None };
        let held = self.record.as_ref()?;
        let holder = held.holder.as_ref()?;
        let newest = if self.gone { based_on.is_none() } else { *based_on == self.version };
        if record.holder.as_deref() != Some(identity) || !newest {
            return None; // Whatever it is based on is outdated, and refused.
        }
        if holder == identity || self.ended.contains(holder) {
            return None;
        }
        let longest = FOREIGN_DURATION_MAX.max(timing.lease());
        let believed = held.duration.unwrap_or(timing.lease()).min(longest);
        Some(believed.saturating_sub(now.since(self.since))).filter(|left| !left.is_zero())
    }

    pub(crate) fn observation(input: &Input) -> Option<&Observation> {
        match input {
            Input::Watched(WatchEvent::Seen(seen)) | Input::Answered(_, Ok(Reply::Read(seen))) => Some(seen),
            _ => None,
        }
    }
}
