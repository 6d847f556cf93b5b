//! What CPU time a guest uses, and how it is kept to its share.
//!
//! Guests that compute give way at each epoch tick, and those that wait come after one another, so without any share
//! none starves another: each has its turn. A share (`limits.cpu`) is for a task that is to leave room even so. It is
//! an average: a guest may compute at once what it has saved up in [`SAVED_MAX`] of rest, and where it has used
//! more, it rests at the next tick until it has made up for it.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    task::{Context, Poll},
    time::Duration,
};

use leasehold_core::time::BootTime;
use prometheus_client::metrics::counter::Counter;

use crate::clock;

/// Thousandths of a core.
const CORE: u32 = 1000;
/// CPU time that a guest may save up for later.
const SAVED_MAX: Duration = Duration::from_millis(100);

/// Seconds of CPU time.
pub type CpuSeconds = Counter<f64, AtomicU64>;

/// A part of one core: a guest has one thread at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare(u32);

impl FromStr for CpuShare {
    type Err = String;

    /// As Kubernetes writes it: `500m`, `0.5`, `1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?}: expected a part of one core, such as 500m or 0.5, from 1m to 1");
        let thousandths = match text.strip_suffix('m') {
            Some(thousandths) => thousandths.parse::<u32>().map_err(|_| expected())?,
            None => {
                let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
                if part.is_empty() || part.len() > 3 {
                    return Err(expected());
                }
                let part: u32 = format!("{part:0<3}").parse().map_err(|_| expected())?;
                let whole: u32 = whole.parse().map_err(|_| expected())?;
                whole.checked_mul(CORE).and_then(|whole| whole.checked_add(part)).ok_or_else(expected)?
            }
        };
        if (1..=CORE).contains(&thousandths) { Ok(Self(thousandths)) } else { Err(expected()) }
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl CpuShare {
    /// The CPU time that it is worth.
    fn of(self, time: Duration) -> Duration {
        time.saturating_mul(self.0) / CORE
    }

    /// How long it takes to be worth that.
    fn time_for(self, cpu: Duration) -> Duration {
        cpu.saturating_mul(CORE) / self.0
    }
}

/// Saved up, or owed.
#[derive(Debug)]
struct Account {
    share: CpuShare,
    saved: Duration,
    owed: Duration,
    settled: BootTime,
}

impl Account {
    fn new(share: CpuShare, now: BootTime) -> Self {
        Self { share, saved: SAVED_MAX, owed: Duration::ZERO, settled: now }
    }

    /// So much was used until now.
    fn settle(&mut self, now: BootTime, used: Duration) {
        let earned = self.share.of(now.since(self.settled)) + self.saved;
        let owed = self.owed + used;
        self.settled = now;
        self.saved = earned.saturating_sub(owed).min(SAVED_MAX);
        self.owed = owed.saturating_sub(earned);
    }

    /// How long it has to rest.
    fn rest(&self) -> Option<Duration> {
        (!self.owed.is_zero()).then(|| self.share.time_for(self.owed))
    }
}

/// The CPU time of one run.
#[derive(Clone, Debug)]
pub(super) struct CpuMeter(Arc<Meter>);

#[derive(Debug)]
struct Meter {
    seconds: CpuSeconds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The thread's CPU time when the guest was last looked at, while it is being polled.
    since: Option<Duration>,
    account: Option<Account>,
}

impl CpuMeter {
    /// Counts into `seconds`; keeps it to `share`, if there is one.
    pub(super) fn new(share: Option<CpuShare>, seconds: CpuSeconds) -> Self {
        let account = share.map(|share| Account::new(share, clock::boot()));
        Self(Arc::new(Meter { seconds, state: Mutex::new(State { since: None, account }) }))
    }

    /// Runs the guest, its time counted.
    ///
    /// # Cancel safety
    /// Dropping it drops the guest.
    pub(super) async fn metered<T>(&self, guest: impl Future<Output = T>) -> T {
        Metered { meter: self, guest: pin!(guest) }.await
    }

    /// Called from within the guest: how long it has to rest before it goes on.
    pub(super) fn rest(&self) -> Option<Duration> {
        let mut state = self.lock();
        let now = clock::of_this_thread();
        self.count(&mut state, now);
        state.since = Some(now);
        state.account.as_ref().and_then(Account::rest)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &mut State, now: Duration) {
        let Some(since) = state.since.take() else { return };
        let used = now.saturating_sub(since);
        self.0.seconds.inc_by(used.as_secs_f64());
        if let Some(account) = &mut state.account {
            account.settle(clock::boot(), used);
        }
    }
}

/// Notes when a poll begins and ends, on whichever thread it is.
struct Metered<'a, F> {
    meter: &'a CpuMeter,
    guest: Pin<&'a mut F>,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.lock().since = Some(clock::of_this_thread());
        let polled = self.guest.as_mut().poll(cx);
        let mut state = self.meter.lock();
        self.meter.count(&mut state, clock::of_this_thread());
        drop(state);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime::ZERO + Duration::from_millis(millis)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_share_is_written_as_kubernetes_writes_it() {
        for (text, thousandths) in [("1", 1000), ("0.5", 500), ("0.25", 250), ("100m", 100), ("1m", 1), ("0.001", 1)] {
            assert_eq!(text.parse(), Ok(CpuShare(thousandths)), "{text}");
        }
        for text in ["", "0", "0m", "2", "1.001", "1001m", "-1", "0.0001", "0.", ".5m", "half", "5 m", "99999999999"] {
            let error = text.parse::<CpuShare>().expect_err(text);
            assert!(error.contains("500m"), "{error}");
        }
    }

    #[test]
    fn who_computes_without_pause_rests_until_the_average_is_right() {
        let mut account = Account::new(CpuShare(200), at(0));
        account.settle(at(100), ms(100));
        assert_eq!(account.rest(), None, "it had saved up");
        account.settle(at(125), ms(25));
        assert_eq!(account.rest(), Some(ms(0)).filter(|rest| !rest.is_zero()), "exactly used up");
        account.settle(at(130), ms(5));
        assert_eq!(account.rest(), Some(ms(20)), "4 ms are owed, at a fifth of a core");
        account.settle(at(150), ms(0));
        assert_eq!(account.rest(), None);
    }

    #[test]
    fn rest_is_saved_up_to_a_bound() {
        let mut account = Account::new(CpuShare(1000), at(0));
        account.settle(at(1_000_000), ms(0));
        account.settle(at(1_000_000), SAVED_MAX + ms(1));
        assert_eq!(account.rest(), Some(ms(1)));
    }
}
