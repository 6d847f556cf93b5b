//! The one reader of the clocks, and the one place that knows one system from another.
//!
//! | on | the boot clock is | which counts a suspend | and steps back |
//! |---|---|---|---|
//! | Linux | `CLOCK_BOOTTIME` | yes | never |
//! | macOS and its kin | `CLOCK_MONOTONIC` | yes: it "will continue to increment while the system is asleep", says clock_gettime(3) there | by microseconds, at times (erlang/otp 5825) |
//! | another Unix | `CLOCK_MONOTONIC` | perhaps not, which [`tell_limits`] says | never |

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use leasehold_core::time::{BootTime, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// The longest sleep. Timers stand still while the machine is suspended, the boot clock does not:
/// after a resume, a deadline that has passed is noticed this late at the latest. (The guest's
/// gate does not wait for that: it reads the clock itself.)
const SLEEP_MAX: Duration = Duration::from_secs(1);

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: ClockId = ClockId::Monotonic;

const COUNTS_SUSPEND: bool = cfg!(any(target_os = "linux", target_os = "android", target_vendor = "apple"));
const STEPS_BACK: bool = cfg!(target_vendor = "apple");

/// Now, by the boot clock.
///
/// It counts suspend, which `std::time::Instant` does not, on Linux (golang/go 24595) as on
/// macOS: a laptop lid must not lengthen a term.
pub fn boot() -> BootTime {
    static LATEST: AtomicU64 = AtomicU64::new(0);

    let now = clock_gettime(BOOT_CLOCK);
    let (secs, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    let nanos = secs * 1_000_000_000 + nanos;
    BootTime::from_nanos(if STEPS_BACK { no_earlier(&LATEST, nanos) } else { nanos })
}

/// The reading, or the latest before it where that is later.
fn no_earlier(latest: &AtomicU64, reading: u64) -> u64 {
    latest.fetch_max(reading, Ordering::Relaxed).max(reading)
}

/// Says, once and at the start, what this system's clock cannot do.
pub fn tell_limits() {
    if !COUNTS_SUSPEND {
        tracing::warn!(
            event = "suspend-not-counted",
            "the clock here may stand still while this machine is suspended, and a term that a suspend falls into may \
             last longer than its lease: do not suspend it, or run on Linux or macOS"
        );
    }
}

/// Now, by both clocks.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall = WallTime::from_micros(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX));
    Now { boot: boot(), wall }
}

/// The CPU time that this thread has used.
pub fn of_this_thread() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or_default())
}

/// Sleeps until `deadline`, or less: the caller looks at the clock again.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn sleep_towards(deadline: BootTime) {
    tokio::time::sleep(deadline.since(boot()).min(SLEEP_MAX)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_is_taken_to_stand_still() {
        let latest = AtomicU64::new(0);
        assert_eq!([5, 7, 6, 3, 8].map(|reading| no_earlier(&latest, reading)), [5, 7, 7, 7, 8]);
    }
}
