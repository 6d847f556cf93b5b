//! How much of what a guest prints is let through: a bucket of bytes that fills at a steady rate.
//!
//! Once it is empty, lines are dropped until it is half full again, and then it is said how many there were: else
//! a guest that floods its log would have a word about each dropped line between every two others.

use std::time::Duration;

use bytesize::ByteSize;
use leasehold_core::time::BootTime;

/// So many seconds' worth may come at once.
const BURST_SECONDS: u64 = 10;
/// What a line costs beside its own bytes: about what the log writes around it.
const LINE_OVERHEAD: u64 = 200;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bytes a second.
    rate: u64,
    /// Bytes.
    level: u64,
    filled: BootTime,
    dropped: Dropped,
}

/// What was not let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Lines, or pieces of long ones.
    pub(super) lines: u64,
    /// Without their ends.
    pub(super) bytes: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Told,
    /// Told, and before it what was dropped.
    ToldAfter(Dropped),
    Dropped,
}

impl Throttle {
    /// `rate` is a second's; the bucket is full.
    pub(super) fn new(rate: ByteSize, now: BootTime) -> Self {
        let rate = rate.as_u64().max(1);
        Self { rate, level: rate.saturating_mul(BURST_SECONDS), filled: now, dropped: Dropped::default() }
    }

    /// A line of so many bytes comes.
    pub(super) fn line(&mut self, now: BootTime, bytes: usize) -> Verdict {
        let burst = self.rate.saturating_mul(BURST_SECONDS);
        let gained = u128::from(self.rate) * now.since(self.filled).as_nanos() / Duration::from_secs(1).as_nanos();
        if gained > 0 {
            self.level = u64::try_from(gained).unwrap_or(u64::MAX).saturating_add(self.level).min(burst);
            self.filled = now;
        }
        let bytes = bytes as u64;
        let cost = bytes.saturating_add(LINE_OVERHEAD).min(burst);
        let needed = if self.dropped.lines == 0 { cost } else { cost.max(burst / 2) };
        if self.level < needed {
            self.dropped.lines += 1;
            self.dropped.bytes += bytes;
            return Verdict::Dropped;
        }
        self.level -= cost;
        self.take_dropped().map_or(Verdict::Told, Verdict::ToldAfter)
    }

    /// What was dropped and not told of yet.
    pub(super) fn take_dropped(&mut self) -> Option<Dropped> {
        Some(std::mem::take(&mut self.dropped)).filter(|dropped| dropped.lines > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1000;
    const LINE: usize = (RATE - LINE_OVERHEAD) as usize;

    fn at(millis: u64) -> BootTime {
        BootTime::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate_counts() {
        let mut throttle = Throttle::new(ByteSize(RATE), at(0));
        for _ in 0..BURST_SECONDS {
            assert_eq!(throttle.line(at(0), LINE), Verdict::Told);
        }
        for line in 1..=3 {
            assert_eq!(throttle.line(at(line), LINE), Verdict::Dropped);
        }
        assert_eq!(throttle.line(at(4_999), LINE), Verdict::Dropped);
        let dropped = Dropped { lines: 4, bytes: 4 * LINE as u64 };
        assert_eq!(throttle.line(at(5_001), LINE), Verdict::ToldAfter(dropped));
        assert_eq!(throttle.line(at(5_001), LINE), Verdict::Told);
        assert_eq!(throttle.take_dropped(), None);
    }

    #[test]
    fn a_guest_that_keeps_to_its_rate_loses_nothing() {
        let mut throttle = Throttle::new(ByteSize(RATE), at(0));
        assert!((0..1000).all(|second| throttle.line(at(second * 1000), LINE) == Verdict::Told));
    }

    #[test]
    fn many_calls_a_millisecond_do_not_lose_what_it_gains() {
        let mut throttle = Throttle::new(ByteSize(RATE), at(0));
        let told = (0..60_000_u64)
            .map(|call| throttle.line(BootTime::ZERO + Duration::from_millis(call), 0))
            .filter(|verdict| *verdict != Verdict::Dropped)
            .count() as u64;
        let expected = (RATE * (60 + BURST_SECONDS)) / LINE_OVERHEAD;
        assert!(told.abs_diff(expected) <= expected / 10, "{told} lines, {expected} expected");
    }
}
