//! The durations of an election, checked against each other once.

use std::time::Duration;

use crate::time::BootTime;

/// How often the epoch ticker wakes: a guest that computes is looked at this often.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// The longest Lease that is believed of somebody else, unless our own is longer: a foreign,
/// huge `leaseDurationSeconds` would otherwise pin the Lease after its holder died.
pub const FOREIGN_DURATION_MAX: Duration = Duration::from_secs(300);

/// The least that `valid_until` lies before the moment a standby may take over.
const MARGIN_MIN: Duration = Duration::from_millis(100);
/// Two clocks may run at rates that differ by one in this many.
const CLOCK_RATE_DIVISOR: u32 = 100;

/// The durations of an election. `lease - margin > renew_deadline > retry_period` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Durations that cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// `leaseDurationSeconds` is a whole, positive number.
    #[error("the lease duration must be whole seconds, at least 1s, but is {0:?}")]
    LeaseNotWholeSeconds(Duration),
    /// Nothing would be left between the soft stop and the end of the term.
    #[error(
        "the lease duration ({lease:?}) must be longer than the renew deadline ({renew_deadline:?}) by more than \
         the margin ({margin:?}): raise the first or lower the second"
    )]
    LeaseNotLongerThanRenewDeadline {
        /// As given.
        lease: Duration,
        /// As given.
        renew_deadline: Duration,
        /// What follows from the lease duration.
        margin: Duration,
    },
    /// The deadline would come before the first renewal.
    #[error(
        "the renew deadline ({renew_deadline:?}) must be longer than a third of the lease duration ({renew_every:?}), \
         which is when the lease is renewed"
    )]
    RenewDeadlineTooShort {
        /// As given.
        renew_deadline: Duration,
        /// What follows from the lease duration.
        renew_every: Duration,
    },
    /// No second try would fit.
    #[error("the renew deadline ({renew_deadline:?}) must be longer than the retry period ({retry_period:?})")]
    RenewDeadlineNotLongerThanRetryPeriod {
        /// As given.
        renew_deadline: Duration,
        /// As given.
        retry_period: Duration,
    },
    /// The store would be asked without pause.
    #[error("the retry period must be at least 10ms, but is {0:?}")]
    RetryPeriodTooShort(Duration),
}

impl Timing {
    /// Checks the durations against each other.
    ///
    /// # Errors
    /// Says which two do not fit, and what would.
    pub fn new(lease: Duration, renew_deadline: Duration, retry_period: Duration) -> Result<Self, TimingError> {
        let timing = Self { lease, renew_deadline, retry_period };
        if lease.subsec_nanos() != 0 || lease.is_zero() {
            return Err(TimingError::LeaseNotWholeSeconds(lease));
        }
        if lease.saturating_sub(timing.margin()) <= renew_deadline {
            let margin = timing.margin();
            return Err(TimingError::LeaseNotLongerThanRenewDeadline { lease, renew_deadline, margin });
        }
        if renew_deadline <= timing.renew_every() {
            let renew_every = timing.renew_every();
            return Err(TimingError::RenewDeadlineTooShort { renew_deadline, renew_every });
        }
        if renew_deadline <= retry_period {
            return Err(TimingError::RenewDeadlineNotLongerThanRetryPeriod { renew_deadline, retry_period });
        }
        if retry_period < Duration::from_millis(10) {
            return Err(TimingError::RetryPeriodTooShort(retry_period));
        }
        Ok(timing)
    }

    /// How long after the last sight of a renewal a standby takes over.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long after the last successful write the guest is asked to stop.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How long between two tries after one has failed, and between two reads while the watch is broken.
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// How long after the last successful write the next is sent.
    pub fn renew_every(&self) -> Duration {
        self.lease / 3
    }

    /// How long a request may take: two of them fit between a renewal and the deadline.
    pub fn request_timeout(&self) -> Duration {
        (self.renew_deadline - self.renew_every()) / 2
    }

    /// What separates `valid_until` from the earliest takeover: room for clocks of different
    /// rates and for one epoch tick.
    pub fn margin(&self) -> Duration {
        (self.lease / CLOCK_RATE_DIVISOR).max(MARGIN_MIN) + EPOCH_TICK
    }

    /// The end of a term whose last successful write was sent at `sent`
    /// (counted from when it was sent: an answer that took its time must not stretch the term).
    pub fn valid_until(&self, sent: BootTime) -> BootTime {
        sent + (self.lease - self.margin())
    }

    /// How long a record that says `duration` is believed without seeing it change.
    pub fn believed(&self, duration: Option<Duration>) -> Duration {
        match duration {
            None => self.lease,
            Some(duration) => duration.min(self.lease.max(FOREIGN_DURATION_MAX)),
        }
    }
}

impl Default for Timing {
    /// 15 s, 10 s, 2 s: what client-go and kube-scheduler use.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(lease_ms: u64, deadline_ms: u64, retry_ms: u64) -> Result<Timing, TimingError> {
        let ms = Duration::from_millis;
        Timing::new(ms(lease_ms), ms(deadline_ms), ms(retry_ms))
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(timing(15_000, 10_000, 2_000), Ok(Timing::default()));
    }

    #[test]
    fn durations_that_do_not_fit_are_refused() {
        assert!(matches!(timing(1_500, 900, 100), Err(TimingError::LeaseNotWholeSeconds(_))));
        assert!(matches!(timing(0, 0, 0), Err(TimingError::LeaseNotWholeSeconds(_))));
        for deadline in [15_000, 14_900, 20_000] {
            let refused = timing(15_000, deadline, 2_000);
            assert!(matches!(refused, Err(TimingError::LeaseNotLongerThanRenewDeadline { .. })), "{refused:?}");
        }
        assert!(matches!(timing(15_000, 5_000, 2_000), Err(TimingError::RenewDeadlineTooShort { .. })));
        assert!(matches!(
            timing(15_000, 10_000, 10_000),
            Err(TimingError::RenewDeadlineNotLongerThanRetryPeriod { .. })
        ));
        assert!(matches!(timing(15_000, 10_000, 0), Err(TimingError::RetryPeriodTooShort(_))));
    }

    #[test]
    fn two_tries_fit_before_the_renew_deadline() {
        let timing = Timing::default();
        assert!(timing.renew_every() + 2 * timing.request_timeout() <= timing.renew_deadline());
    }

    #[test]
    fn a_huge_foreign_duration_is_bounded_and_a_missing_one_is_our_own() {
        let timing = Timing::default();
        assert_eq!(timing.believed(Some(Duration::from_secs(100_000_000))), FOREIGN_DURATION_MAX);
        assert_eq!(timing.believed(Some(Duration::from_secs(5))), Duration::from_secs(5));
        assert_eq!(timing.believed(None), timing.lease());
    }
}
