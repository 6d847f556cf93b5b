//! Chance, where many would otherwise ask at the same moment: the standbys of one Lease when it becomes
//! free, the Leases of one host when all were taken together, everybody when a store comes back.

use std::time::Duration;

/// Within this after a Lease has become free, each standby that still believes so asks for it. It is to be
/// several times what a write takes until the others have heard of it, and short beside a handover.
const TAKEOVER_WITHIN: Duration = Duration::from_millis(15);
/// What that grows to where there are many, or all is slow.
const TAKEOVER_WITHIN_MAX: Duration = Duration::from_millis(150);
/// How much likelier a standby is to draw the end of that time than its beginning: e to the power of this.
const LATENESS: f64 = 3.0;
/// The first renewal of a term comes after at least this part of the time between two.
const FIRST_RENEWAL_FROM: f64 = 0.2;

#[derive(Clone, Debug)]
pub(super) struct Spread {
    rng: fastrand::Rng,
    takeover_within: Duration,
    first_renewal_from: f64,
}

impl Spread {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            takeover_within: TAKEOVER_WITHIN,
            first_renewal_from: FIRST_RENEWAL_FROM,
        }
    }

    /// No spread but that of retries, for scripts to the millisecond.
    #[cfg(test)]
    pub(super) fn of_retries_only(seed: u64) -> Self {
        Self { takeover_within: Duration::ZERO, first_renewal_from: 1.0, ..Self::new(seed) }
    }

    /// How long a standby waits when the Lease has become free. Who hears meanwhile that another has it does
    /// not ask at all.
    ///
    /// How many standbys there are is not known. The density grows exponentially, as for the answers of
    /// a multicast group of unknown size (Nonnenmacher and Biersack, "Scalable feedback for large groups",
    /// 1999): of many, a few draw the beginning and silence the others; of two, neither draws the same as the other.
    pub(super) fn takeover(&mut self) -> Duration {
        let drawn = (self.rng.f64() * LATENESS.exp_m1()).ln_1p() / LATENESS;
        self.takeover_within.mul_f64(drawn)
    }

    /// This standby has asked in vain: another was faster, and the news of it slower. Where that goes on, each
    /// waits longer, until one in five or so asks in vain; of a few standbys, more may do so at no cost.
    pub(super) fn race_lost(&mut self) {
        self.takeover_within = (self.takeover_within * 5 / 3).min(TAKEOVER_WITHIN_MAX);
    }

    /// Somebody has taken the Lease.
    pub(super) fn race_over(&mut self) {
        // Not where there is no spread at all.
        let least = self.takeover_within.min(TAKEOVER_WITHIN);
        self.takeover_within = (self.takeover_within * 9 / 10).max(least);
    }

    /// How long after the first write of a term, or one that follows a failure, the next one is sent. All
    /// of a host's terms may have begun together, and their renewals are not to come together for ever.
    pub(super) fn first_renewal(&mut self, renew_every: Duration) -> Duration {
        let from = self.first_renewal_from;
        renew_every.mul_f64(from + (1.0 - from) * self.rng.f64())
    }

    /// The retry period, lengthened by up to a fifth so that replicas do not keep step (client-go's
    /// `JitterFactor` is 1.2).
    pub(super) fn retry(&mut self, retry_period: Duration) -> Duration {
        retry_period.mul_f64(1.0 + 0.2 * self.rng.f64())
    }

    /// The first of many retries, where all may begin them together: any time up to one.
    pub(super) fn first_retry(&mut self, retry_period: Duration) -> Duration {
        retry_period.mul_f64(1.2 * self.rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_standbys_few_draw_the_beginning_and_of_one_the_wait_is_bounded() {
        let mut spread = Spread::new(1);
        let drawn: Vec<_> = (0..100_000).map(|_| spread.takeover()).collect();
        assert!(drawn.iter().all(|wait| *wait <= TAKEOVER_WITHIN));
        let share = |from: u32, to: u32| {
            let range = TAKEOVER_WITHIN * from / 4..TAKEOVER_WITHIN * to / 4;
            drawn.iter().filter(|wait| range.contains(wait)).count() as f64 / drawn.len() as f64
        };
        assert!((0.05..0.07).contains(&share(0, 1)), "{}", share(0, 1));
        assert!((0.53..0.58).contains(&share(3, 4)), "{}", share(3, 4));
    }

    #[test]
    fn who_keeps_asking_in_vain_waits_longer_up_to_a_bound_and_no_longer_than_it_must() {
        let mut spread = Spread::new(1);
        (0..20).for_each(|_| spread.race_lost());
        assert_eq!(spread.takeover_within, TAKEOVER_WITHIN_MAX);
        (0..50).for_each(|_| spread.race_over());
        assert_eq!(spread.takeover_within, TAKEOVER_WITHIN);
    }

    #[test]
    fn terms_that_begin_together_are_not_renewed_together() {
        let mut spread = Spread::new(1);
        let every = Duration::from_secs(5);
        let drawn: Vec<_> = (0..1_000).map(|_| spread.first_renewal(every)).collect();
        assert!(drawn.iter().all(|after| (every / 5..=every).contains(after)));
        let busiest = (0..50u32)
            .map(|tenth| drawn.iter().filter(|after| after.as_millis() / 100 == u128::from(tenth)).count())
            .max();
        assert!(busiest < Some(60), "{busiest:?} of 1,000 in one tenth of a second");
    }
}
