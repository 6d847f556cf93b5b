//! An elector as scripts have it, on the same Lease: it takes what is free, does not renew, and works
//! for less than its record says. It stamps no time, so that what it writes the next time may be
//! what it wrote the last time. `tests/peers/naive` is a real one.

use leasehold_core::lease::{LeaseRecord, Observation};

use crate::{
    clock::{SECOND, TrueTime},
    invariants::Owner,
    tally::{Kind, Seen},
    world::{Event, World},
};

/// Who it says it is, each time.
const SCRIPT: &str = "script";

impl World {
    /// It looks at the Lease, and does what is to be done.
    pub(crate) fn script_looks(&mut self) {
        if self.calm {
            return;
        }
        if self.is_quiet() {
            return self.after(SECOND, Event::ScriptLooks);
        }
        if !self.store_down && !self.store_silent {
            self.script_acts();
        }
        let next = match self.script {
            Some(ends) if ends > self.now => ends - self.now,
            _ => self.rng.u64(1..SECOND / 2),
        };
        self.after(next, Event::ScriptLooks);
    }

    fn script_acts(&mut self) {
        let current = self.store.current().clone();
        let Observation::Present { record, .. } = current else { return };
        match record.holder.as_deref() {
            None => {
                let lease = self.plan.timing().lease();
                let believed = record.duration.unwrap_or(lease).min(lease);
                let kept = if self.rng.bool() { record } else { LeaseRecord::default() };
                if kept.checkpoint.is_none() {
                    self.checkpoints.edited();
                }
                let version = self.store.put(LeaseRecord { holder: Some(SCRIPT.to_owned()), ..kept });
                let ends = self.now + TrueTime::try_from(believed.as_nanos()).expect("leases are short") / 5 * 3;
                self.script = Some(ends);
                self.tally.count(Seen::ScriptLed);
                self.tally.count_takeover(&mut self.last_holder, SCRIPT, Kind::Foreign);
                self.check_bound(Owner::Script, version.0, ends);
            }
            Some(SCRIPT) if self.script.is_some_and(|ends| ends <= self.now) => {
                self.script = None;
                // Now and then it dies before it gets to this.
                if self.rng.u8(..4) == 0 {
                    self.tally.count(Seen::ScriptLeft);
                    return;
                }
                self.store.put(LeaseRecord { holder: None, ..record });
                self.tally.count(Seen::ScriptCleared);
            }
            Some(_) => return,
        }
        self.trace.line(self.now, || format!("script: {:?}", self.store.current()));
        self.store_changed();
    }
}
