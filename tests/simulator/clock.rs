//! True time, which nobody in the simulation can read, and the clocks of the machines.

use leasehold_core::time::{BootTime, Now, WallTime};

/// True time, in nanoseconds since the history began.
pub(crate) type TrueTime = u64;

pub(crate) const MICROSECOND: u64 = 1_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

const PPM: i128 = 1_000_000;

/// The two clocks of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// What the boot clock showed when the history began.
    offset_ns: u64,
    /// How much faster than true time the boot clock runs.
    rate_ppm: i64,
    /// How far the wall clock is off.
    wall_off_us: i64,
    /// Where the wall clock stands still, if it does.
    wall_stands_at_us: Option<i64>,
}

impl Clock {
    /// A machine that was booted some time ago, and whose rate is off by at most `rate_ppm_max`.
    pub(crate) fn random(rng: &mut fastrand::Rng, rate_ppm_max: i64) -> Self {
        Self {
            offset_ns: rng.u64(100_000 * SECOND..1_000_000 * SECOND),
            rate_ppm: rng.i64(-rate_ppm_max..=rate_ppm_max),
            wall_off_us: rng.i64(-100_000_000_000..=100_000_000_000),
            wall_stands_at_us: None,
        }
    }

    pub(crate) fn boot(&self, at: TrueTime) -> BootTime {
        let passed = i128::from(at) * (PPM + i128::from(self.rate_ppm)) / PPM;
        BootTime::from_nanos(self.offset_ns + u64::try_from(passed).expect("clocks go forward"))
    }

    /// The first moment at which the boot clock shows `boot` or more.
    pub(crate) fn when(&self, boot: BootTime) -> TrueTime {
        let passed = i128::from(boot.as_nanos().saturating_sub(self.offset_ns));
        let rate = PPM + i128::from(self.rate_ppm);
        TrueTime::try_from((passed * PPM + rate - 1) / rate).unwrap_or(TrueTime::MAX)
    }

    pub(crate) fn now(&self, at: TrueTime) -> Now {
        Now { boot: self.boot(at), wall: WallTime::from_micros(self.wall_us(at)) }
    }

    fn wall_us(&self, at: TrueTime) -> i64 {
        let true_us = 1_700_000_000_000_000 + i64::try_from(at / MICROSECOND).expect("histories are short");
        self.wall_stands_at_us.unwrap_or(true_us + self.wall_off_us)
    }

    /// Planted: the boot clock has not counted this time.
    pub(crate) fn has_stood(&mut self, time: TrueTime) {
        let passed = i128::from(time) * (PPM + i128::from(self.rate_ppm)) / PPM;
        self.offset_ns -= u64::try_from(passed).expect("clocks go forward").min(self.offset_ns);
    }

    pub(crate) fn wall_jumps(&mut self, by_us: i64) {
        self.wall_off_us += by_us;
    }

    pub(crate) fn wall_stands(&mut self, at: TrueTime) {
        self.wall_stands_at_us = Some(self.wall_us(at));
    }

    pub(crate) fn wall_goes_on(&mut self) {
        self.wall_stands_at_us = None;
    }
}
