//! The one reader of the clocks.

use std::time::{Duration, SystemTime};

use leasehold_core::time::{BootTime, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// The longest sleep. Timers stand still while the machine is suspended, the boot clock does not:
/// after a resume, a deadline that has passed is noticed this late at the latest. (The guest's
/// gate does not wait for that: it reads the clock itself.)
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Now, by the boot clock.
///
/// `CLOCK_BOOTTIME` counts suspend, which `CLOCK_MONOTONIC` and so `std::time::Instant` do not
/// (golang/go 24595): a laptop lid must not lengthen a term.
pub fn boot() -> BootTime {
    let now = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    BootTime::from_nanos(secs * 1_000_000_000 + nanos)
}

/// Now, by both clocks.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall = WallTime::from_micros(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX));
    Now { boot: boot(), wall }
}

/// Sleeps until `deadline`, or less: the caller looks at the clock again.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn sleep_towards(deadline: BootTime) {
    tokio::time::sleep(deadline.since(boot()).min(SLEEP_MAX)).await;
}
