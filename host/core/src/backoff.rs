//! How long to wait before what has failed is tried again: longer each time, and never in step with others.

use std::time::Duration;

/// The first wait, on average.
const FIRST: Duration = Duration::from_millis(500);
/// What it grows to, on average. A standby polls meanwhile.
const LAST: Duration = Duration::from_secs(4);

/// The waits of one watch that breaks and is taken up again. Where a store goes away, so do all of its
/// watches, at the same moment; each of these comes back at another.
#[derive(Clone, Debug)]
pub struct Backoff {
    rng: fastrand::Rng,
    next: Duration,
}

impl Backoff {
    /// Nothing has failed yet. `seed` is for the jitter.
    pub fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), next: FIRST }
    }

    /// The wait after one more failure: around half a second after the first, and up to six seconds after many.
    pub fn wait(&mut self) -> Duration {
        let around = self.next;
        self.next = (around * 2).min(LAST);
        around.mul_f64(0.5 + self.rng.f64())
    }

    /// It has worked.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_differ_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(1);
        let waits: Vec<_> = (0..20).map(|_| backoff.wait()).collect();
        assert!((FIRST / 2..FIRST * 3 / 2).contains(&waits[0]), "{waits:?}");
        assert!(waits[4..].iter().all(|wait| (LAST / 2..LAST * 3 / 2).contains(wait)), "{waits:?}");
        assert_ne!(Backoff::new(2).wait(), waits[0]);
        backoff.reset();
        assert!(backoff.wait() < FIRST * 3 / 2);
    }
}
