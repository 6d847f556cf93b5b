//! A Lease as it was seen, and what that says at some time. Nothing in here decides anything: it is for people and for
//! scripts.

use std::cmp::max;

use jiff::{SignedDuration, Timestamp};
use leasehold_core::{checkpoint::Checkpoint, lease::LeaseRecord, time::WallTime};
use serde::Serialize;

use super::kind::Kind;

/// How much later than it was sent a write may come to the API server before the two clocks count as different.
const UNDER_WAY_MAX: SignedDuration = SignedDuration::from_secs(3);

/// A Lease as it was seen.
#[derive(Clone, Debug)]
pub(in crate::commands) struct SeenLease {
    pub(in crate::commands) namespace: String,
    pub(in crate::commands) name: String,
    pub(in crate::commands) kind: Kind,
    pub(in crate::commands) record: LeaseRecord,
    /// The second in which the store took the write that `renewed` is of, by the store's clock, where it says so.
    pub(in crate::commands) taken_at: Option<Timestamp>,
    /// It does not say what a Lease says; the record then says nothing.
    pub(in crate::commands) problem: Option<String>,
}

/// Whether somebody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) enum State {
    /// Somebody has it, and has renewed it within its duration.
    Held,
    /// Somebody stands on it who has not renewed it for longer than its duration.
    Expired,
    /// Nobody stands on it.
    Free,
    /// Somebody stands on it, without a time or a duration that would say for how long; or it cannot be read.
    Unknown,
}

impl State {
    pub(in crate::commands) fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Free => "free",
            Self::Unknown => "unknown",
        }
    }
}

/// What a Lease says at some time: `leasehold status -o json`, whose shape is the one of this type. Every field is
/// always there; what is not known is null. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct LeaseStatus {
    pub(in crate::commands) namespace: String,
    pub(in crate::commands) name: String,
    pub(in crate::commands) kind: Kind,
    pub(in crate::commands) state: State,
    /// `spec.holderIdentity`; null while it is free.
    pub(in crate::commands) holder: Option<String>,
    /// `spec.renewTime`, as the holder's clock had it.
    pub(in crate::commands) renew_time: Option<Timestamp>,
    /// How long ago that was. By the API server's clock, whatever the clocks of the holder and of this machine say.
    pub(in crate::commands) renewed_seconds_ago: Option<f64>,
    /// `spec.acquireTime`, as the holder's clock had it.
    pub(in crate::commands) acquire_time: Option<Timestamp>,
    /// For how long the holder has had it.
    pub(in crate::commands) held_seconds: Option<f64>,
    /// `spec.leaseDurationSeconds`
    pub(in crate::commands) lease_duration_seconds: Option<u64>,
    /// `spec.leaseTransitions`
    pub(in crate::commands) lease_transitions: u32,
    /// How far the holder's clock is ahead of the API server's; below zero: behind. Null where they agree as far as
    /// whole seconds tell.
    pub(in crate::commands) holder_clock_ahead_seconds: Option<f64>,
    /// Leasehold's task.
    pub(in crate::commands) task: Option<String>,
    /// The fencing token of the holder's term.
    pub(in crate::commands) token: Option<u64>,
    /// The digest of the module that runs.
    pub(in crate::commands) module: Option<String>,
    /// The digest of the module that is ready, and waits for that one's end.
    pub(in crate::commands) waiting_module: Option<String>,
    /// The digest of a module that failed soon after its start: whoever has another one does not try it again.
    pub(in crate::commands) refused_module: Option<String>,
    /// Who is asked to step down.
    pub(in crate::commands) step_down: Option<String>,
    /// The bytes of the task's checkpoint; null where there is none, or none that can be read.
    pub(in crate::commands) checkpoint_bytes: Option<usize>,
    /// `spec.strategy`: by what rule the API server picks the holder, where it does.
    pub(in crate::commands) strategy: Option<String>,
    /// `spec.preferredHolder`
    pub(in crate::commands) preferred_holder: Option<String>,
    /// Why the Lease cannot be read.
    pub(in crate::commands) problem: Option<String>,
}

impl SeenLease {
    pub(in crate::commands) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }

    /// What it says `now`, by the store's clock.
    pub(in crate::commands) fn at(&self, now: Timestamp) -> LeaseStatus {
        let record = &self.record;
        let (renew_time, acquire_time) = (timestamp(record.renewed), timestamp(record.acquired));
        let ahead = self.holder_clock_ahead();
        let age = |time: Timestamp| max(now.duration_since(time) + ahead.unwrap_or_default(), SignedDuration::ZERO);
        let renewed_ago = renew_time.map(age);
        let duration = record.duration.and_then(|duration| SignedDuration::try_from(duration).ok());
        let state = match (&record.holder, renewed_ago, duration) {
            _ if self.problem.is_some() => State::Unknown,
            (None, ..) => State::Free,
            (Some(_), Some(ago), Some(duration)) if ago > duration => State::Expired,
            (Some(_), Some(_), Some(_)) => State::Held,
            (Some(_), ..) => State::Unknown,
        };
        let held = record.holder.as_ref().and(acquire_time).map(age);
        LeaseStatus {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            kind: self.kind,
            state,
            holder: record.holder.clone(),
            renew_time,
            renewed_seconds_ago: renewed_ago.map(seconds),
            acquire_time,
            held_seconds: held.map(seconds),
            lease_duration_seconds: record.duration.map(|duration| duration.as_secs()),
            lease_transitions: record.transitions,
            holder_clock_ahead_seconds: ahead.map(seconds),
            task: record.task.clone(),
            token: record.token,
            module: record.modules.module.as_ref().map(ToString::to_string),
            waiting_module: record.modules.waiting.as_ref().map(ToString::to_string),
            refused_module: record.modules.refused.as_ref().map(ToString::to_string),
            step_down: record.step_down.clone(),
            checkpoint_bytes: match &record.checkpoint {
                Some(Checkpoint::Saved(state)) => Some(state.bytes().len()),
                Some(Checkpoint::Unreadable(_)) | None => None,
            },
            strategy: record.coordination.as_ref().map(|coordination| coordination.strategy.clone()),
            preferred_holder: record
                .coordination
                .as_ref()
                .and_then(|coordination| coordination.preferred_holder.clone()),
            problem: self.problem.clone(),
        }
    }

    /// When it runs out, by the store's clock, where that can be said.
    pub(in crate::commands) fn runs_out(&self) -> Option<Timestamp> {
        self.record.holder.as_ref()?;
        let renewed = timestamp(self.record.renewed)?;
        let duration = SignedDuration::try_from(self.record.duration?).ok()?;
        renewed.checked_add(duration.checked_sub(self.holder_clock_ahead().unwrap_or_default())?).ok()
    }

    /// How far the clock of who renewed is ahead of the store's, where they differ by more than a write's way and the
    /// whole seconds of which the store's time is. Otherwise what the holder wrote is the more exact.
    fn holder_clock_ahead(&self) -> Option<SignedDuration> {
        let (renewed, taken) = (timestamp(self.record.renewed)?, self.taken_at?);
        let ahead = renewed.duration_since(taken);
        let agree = ahead <= SignedDuration::from_secs(1) && ahead >= -UNDER_WAY_MAX;
        (!agree).then_some(ahead)
    }
}

impl LeaseStatus {
    /// Without what each renewal, each save and the time change: what is left is news when it is another.
    pub(in crate::commands) fn lasting(&self) -> Self {
        Self {
            renew_time: None,
            renewed_seconds_ago: None,
            held_seconds: None,
            checkpoint_bytes: None,
            holder_clock_ahead_seconds: None,
            ..self.clone()
        }
    }
}

pub(in crate::commands) fn timestamp(time: Option<WallTime>) -> Option<Timestamp> {
    Timestamp::from_microsecond(time?.as_micros()).ok()
}

/// In milliseconds is exact enough, and reads better.
fn seconds(duration: SignedDuration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
pub(in crate::commands) mod tests {
    use std::time::Duration;

    use super::*;

    pub(in crate::commands) fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    pub(in crate::commands) fn wall(text: &str) -> Option<WallTime> {
        Some(WallTime::from_micros(time(text).as_microsecond()))
    }

    /// Held since 12:00:00 and renewed at 12:00:10, for 15 s.
    pub(in crate::commands) fn held(name: &str) -> SeenLease {
        SeenLease {
            namespace: "jobs".into(),
            name: name.into(),
            kind: Kind::Application,
            record: LeaseRecord {
                holder: Some("pod-1_0a".into()),
                duration: Some(Duration::from_secs(15)),
                acquired: wall("2026-01-02T12:00:00Z"),
                renewed: wall("2026-01-02T12:00:10.25Z"),
                transitions: 3,
                ..LeaseRecord::default()
            },
            taken_at: Some(time("2026-01-02T12:00:10Z")),
            problem: None,
        }
    }

    #[test]
    fn it_is_held_until_its_duration_is_over_and_expired_from_then_on() {
        let lease = held("a");
        let at = |now: &str| lease.at(time(now));
        let now = at("2026-01-02T12:00:12.75Z");
        assert_eq!((now.state, now.renewed_seconds_ago, now.held_seconds), (State::Held, Some(2.5), Some(12.75)));
        assert_eq!(at("2026-01-02T12:00:25.25Z").state, State::Held);
        assert_eq!(at("2026-01-02T12:00:25.26Z").state, State::Expired);
        assert_eq!(lease.runs_out(), Some(time("2026-01-02T12:00:25.25Z")));
        // Two clocks that differ by less than can be told.
        assert_eq!(at("2026-01-02T12:00:10Z").renewed_seconds_ago, Some(0.0));
    }

    #[test]
    fn a_holders_wrong_clock_makes_no_lease_younger_or_older_than_it_is() {
        for (hour, ahead) in [("13", 3600.0), ("11", -3600.0)] {
            let mut lease = held("a");
            lease.record.renewed = wall(&format!("2026-01-02T{hour}:00:10Z"));
            lease.record.acquired = wall(&format!("2026-01-02T{hour}:00:00Z"));
            let now = lease.at(time("2026-01-02T12:00:24Z"));
            assert_eq!((now.state, now.renewed_seconds_ago, now.held_seconds), (State::Held, Some(14.0), Some(24.0)));
            assert_eq!(now.holder_clock_ahead_seconds, Some(ahead));
            assert_eq!(lease.at(time("2026-01-02T12:00:26Z")).state, State::Expired);
            assert_eq!(lease.runs_out(), Some(time("2026-01-02T12:00:25Z")));
        }
    }

    #[test]
    fn without_a_holder_it_is_free_and_without_a_time_or_a_duration_nobody_knows() {
        let now = time("2026-01-02T12:00:12Z");
        let free = SeenLease { record: LeaseRecord { holder: None, ..held("a").record }, ..held("a") };
        assert_eq!((free.at(now).state, free.at(now).held_seconds, free.runs_out()), (State::Free, None, None));
        let untimed = SeenLease { record: LeaseRecord { renewed: None, ..held("a").record }, ..held("a") };
        assert_eq!(untimed.at(now).state, State::Unknown);
        let endless = SeenLease { record: LeaseRecord { duration: None, ..held("a").record }, ..held("a") };
        assert_eq!(endless.at(now).state, State::Unknown);
        let broken = SeenLease { problem: Some("the spec does not parse".into()), ..free };
        assert_eq!(broken.at(now).state, State::Unknown);
    }

    #[test]
    fn a_renewal_is_no_news_and_another_holder_is() {
        let (lease, now) = (held("a"), time("2026-01-02T12:00:12Z"));
        let mut renewed = lease.clone();
        renewed.record.renewed = wall("2026-01-02T12:00:15Z");
        assert_eq!(renewed.at(now).lasting(), lease.at(now).lasting());
        let mut taken = renewed;
        taken.record.holder = Some("pod-2_0b".into());
        assert_ne!(taken.at(now).lasting(), lease.at(now).lasting());
        assert_ne!(lease.at(time("2026-01-02T12:01:00Z")).lasting(), lease.at(now).lasting(), "it has expired");
    }
}
