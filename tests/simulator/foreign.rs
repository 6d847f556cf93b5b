//! Other electors on the same Lease, modelled on client-go's algorithm as it is, mistakes included: it polls;
//! a record expires by its own observation of it; a term is counted from when the answer has arrived, and one
//! that has seen another holder leads on until its renew deadline; it gives the Lease up, if it does, before its
//! work has stopped.
//!
//! What is asserted of them is what a correct elector may believe: from when its last write that succeeded was
//! sent, for as long as it wrote. In that time no replica of ours leads. How often they lead beyond that is counted.

mod round;

use std::time::Duration;

use leasehold_core::{
    election::Reply,
    lease::{LeaseRecord, Version},
    ports::StoreFailure,
    time::{BootTime, WallTime},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, MILLISECOND, SECOND, TrueTime},
    faults::Fault,
    invariants::Owner,
    plan::Plan,
    tally::Seen,
    world::{Event, World},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForeignPlan {
    pub(crate) lease_s: u64,
    pub(crate) renew_deadline_ms: u64,
    pub(crate) retry_period_ms: u64,
    pub(crate) release_on_cancel: bool,
}

impl ForeignPlan {
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        let timings = [(15, 10_000, 2_000), (6, 4_000, 1_000), (30, 20_000, 4_000), (1_000_000, 10_000, 2_000)];
        let (lease_s, renew_deadline_ms, retry_period_ms) = timings[[0, 0, 0, 0, 1, 1, 2, 2, 3][rng.usize(..9)]];
        Self { lease_s, renew_deadline_ms, retry_period_ms, release_on_cancel: rng.bool() }
    }
}

/// Where one `tryAcquireOrRenew` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fast,
    Get,
    Write,
    Release,
}

/// What it waits for.
#[derive(Clone, Debug)]
struct Asked {
    id: u64,
    step: Step,
    sent: BootTime,
    record: Option<LeaseRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Gone,
    Acquiring,
    /// Until this deadline it tries to renew.
    Renewing(BootTime),
    /// It has lost the Lease, or was asked to end; its work goes on for a moment.
    Ending,
}

#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    plan: ForeignPlan,
    pub(crate) clock: Clock,
    pub(crate) identity: String,
    /// Grows with each start; what was meant for an earlier process reaches nobody.
    life: u64,
    phase: Phase,
    /// `observedRecord`, `observedTime`, `observedRawRecord` and the lock's object.
    observed: Option<(LeaseRecord, BootTime)>,
    observed_raw: Option<LeaseRecord>,
    object: Option<(Version, LeaseRecord)>,
    asked: Option<Asked>,
    requests: u64,
    /// When the try under way was begun.
    tried_at: BootTime,
    /// The version of the write that began its term, while its work runs.
    pub(crate) leads: Option<u64>,
    /// In this term, its work was seen to go on beside a guest of ours.
    overstays: bool,
    /// It has read that another holds the Lease.
    told: bool,
    paused_until: TrueTime,
    cut_off_until: TrueTime,
}

/// What happens to one of them.
#[derive(Clone, Debug)]
pub(crate) enum ForeignEvent {
    Try,
    Deadline(BootTime),
    TimesOut(u64),
    Answered(u64, Result<Reply, StoreFailure>),
    Ends,
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().expect("durations are short")
}

impl Foreign {
    pub(crate) fn new(rng: &mut fastrand::Rng, plan: &Plan, index: usize) -> Self {
        Self {
            plan: plan.foreigners[index].clone(),
            clock: Clock::random(rng, plan.rate_ppm_max),
            identity: String::new(),
            life: 0,
            phase: Phase::Gone,
            observed: None,
            observed_raw: None,
            object: None,
            asked: None,
            requests: 0,
            tried_at: BootTime::ZERO,
            leads: None,
            overstays: false,
            told: false,
            paused_until: 0,
            cut_off_until: 0,
        }
    }

    fn is_leader(&self) -> bool {
        self.observed.as_ref().is_some_and(|(record, _)| record.holder.as_deref() == Some(&*self.identity))
    }

    /// `isLeaseValid`: a missing duration is 0.
    fn is_lease_valid(&self, now: BootTime) -> bool {
        self.observed.as_ref().is_some_and(|(record, at)| now < *at + record.duration.unwrap_or_default())
    }

    /// Planted: by the holder's wall clock, and its own.
    fn has_expired_by_wall_clock(&self, at: TrueTime) -> bool {
        let Some((record, _)) = &self.observed else { return false };
        let until = record.renewed.map_or(0, WallTime::as_micros) + micros(record.duration.unwrap_or_default());
        until < self.clock.now(at).wall.as_micros()
    }

    /// Its work goes on beside a guest of ours: why, the first time in a term.
    pub(crate) fn overstays(&mut self) -> Option<Seen> {
        if self.leads.is_none() || std::mem::replace(&mut self.overstays, true) {
            return None;
        }
        Some(match self.phase {
            Phase::Ending => Seen::ForeignWorkedOn,
            _ if self.told => Seen::ForeignLedThoughTold,
            _ => Seen::ForeignLedUnaware,
        })
    }

    fn retry(&self) -> TrueTime {
        self.plan.retry_period_ms * MILLISECOND
    }
}

impl World {
    pub(crate) fn foreign_begins(&mut self, index: usize) {
        if self.is_quiet() || self.foreigners[index].phase != Phase::Gone {
            return;
        }
        let foreign = &mut self.foreigners[index];
        foreign.life += 1;
        foreign.identity = format!("f{index}-p{}", foreign.life);
        foreign.phase = Phase::Acquiring;
        (foreign.observed, foreign.observed_raw, foreign.object, foreign.asked) = (None, None, None, None);
        self.trace.line(self.now, || format!("{} begins", self.foreigners[index].identity));
        self.foreign_after(index, SECOND / 10, ForeignEvent::Try);
    }

    fn foreign_after(&mut self, index: usize, delay: TrueTime, event: ForeignEvent) {
        let life = self.foreigners[index].life;
        self.after(delay, Event::Foreign(index, life, event));
    }

    pub(crate) fn foreign_fault(&mut self, fault: Fault, index: usize, until: TrueTime) {
        let foreign = &mut self.foreigners[index];
        match fault {
            Fault::ForeignPause => {
                foreign.paused_until = until;
                self.tally.count(Seen::ForeignPaused);
            }
            Fault::ForeignPartition => {
                foreign.cut_off_until = until;
                self.tally.count(Seen::ForeignPartitioned);
            }
            Fault::ForeignKill => {
                self.tally.count(Seen::ForeignKilled);
                self.foreign_leaves(index);
                self.within(30 * SECOND, Event::ForeignBegins(index));
            }
            _ => {
                self.tally.count(Seen::ForeignCancelled);
                self.foreign_stops(index);
            }
        }
    }

    /// It ends where it stands; others are not told.
    pub(crate) fn foreign_leaves(&mut self, index: usize) {
        let foreign = &mut self.foreigners[index];
        foreign.life += 1;
        (foreign.phase, foreign.leads) = (Phase::Gone, None);
        (foreign.paused_until, foreign.cut_off_until) = (0, 0);
    }

    pub(crate) fn foreign(&mut self, index: usize, life: u64, event: ForeignEvent) {
        let foreign = &self.foreigners[index];
        if foreign.life != life {
            return;
        }
        if self.now < foreign.paused_until {
            let at = foreign.paused_until;
            return self.at(at, Event::Foreign(index, life, event));
        }
        let now = foreign.clock.boot(self.now);
        match event {
            ForeignEvent::Try => self.foreign_tries(index),
            ForeignEvent::Deadline(deadline) if foreign.phase == Phase::Renewing(deadline) => {
                if now < deadline {
                    let at = foreign.clock.when(deadline);
                    return self.at(at, Event::Foreign(index, life, event));
                }
                self.tally.count(Seen::ForeignLost);
                self.foreign_stops(index);
            }
            ForeignEvent::Deadline(_) => {}
            ForeignEvent::TimesOut(id) => self.foreign_hears(index, id, Err(StoreFailure::Unavailable)),
            ForeignEvent::Answered(id, result) => self.foreign_hears(index, id, result),
            ForeignEvent::Ends => {
                self.foreign_leaves(index);
                self.within(10 * SECOND, Event::ForeignBegins(index));
            }
        }
    }

    /// It gives the Lease up, if it does, and its work goes on for a while: then its process ends.
    fn foreign_stops(&mut self, index: usize) {
        let foreign = &mut self.foreigners[index];
        if !matches!(foreign.phase, Phase::Acquiring | Phase::Renewing(_)) {
            return;
        }
        foreign.phase = Phase::Ending;
        foreign.asked = None;
        if foreign.plan.release_on_cancel && foreign.is_leader() {
            self.tally.count(Seen::ForeignReleased);
            self.invariants.believes_no_more(Owner::Foreign(index));
            self.foreign_writes(index, Step::Release);
        }
        let lasts = self.rng.u64(0..5 * SECOND);
        self.foreign_after(index, lasts, ForeignEvent::Ends);
    }
}
