//! One round of client-go's `tryAcquireOrRenew`: the requests it makes, one after the other, and what it makes of the
//! answers.

use std::time::Duration;

use leasehold_core::{
    election::{Reply, Request},
    lease::{LeaseRecord, Observation, Version},
    ports::StoreFailure,
    time::BootTime,
    timing::FOREIGN_DURATION_MAX,
};

use super::{Asked, ForeignEvent, Phase, Step};
use crate::{
    clock::MILLISECOND,
    defect::Defect,
    invariants::Owner,
    tally::{Kind, Seen},
    world::{Event, World},
};

impl World {
    /// One `tryAcquireOrRenew` begins.
    pub(super) fn foreign_tries(&mut self, index: usize) {
        let foreign = &mut self.foreigners[index];
        if foreign.asked.is_some() || !matches!(foreign.phase, Phase::Acquiring | Phase::Renewing(_)) {
            return;
        }
        foreign.tried_at = foreign.clock.boot(self.now);
        if foreign.is_leader() && foreign.is_lease_valid(foreign.tried_at) {
            self.foreign_writes(index, Step::Fast);
        } else {
            self.foreign_asks(index, Step::Get, Request::Read);
        }
    }

    pub(super) fn foreign_writes(&mut self, index: usize, step: Step) {
        let foreign = &self.foreigners[index];
        let stamp = foreign.clock.now(self.now).wall;
        let (based_on, previous) = match &foreign.object {
            Some((version, record)) => (Some(*version), record.clone()),
            None => (None, LeaseRecord::default()),
        };
        let leader = foreign.is_leader();
        let record = match step {
            Step::Release => LeaseRecord {
                holder: None,
                duration: Some(Duration::from_secs(1)),
                acquired: Some(stamp),
                renewed: Some(stamp),
                ..previous
            },
            _ => LeaseRecord {
                holder: Some(foreign.identity.clone()),
                duration: Some(Duration::from_secs(foreign.plan.lease_s)),
                acquired: if leader { previous.acquired } else { Some(stamp) },
                renewed: Some(stamp),
                transitions: previous.transitions + u32::from(!leader && based_on.is_some()),
                ..previous
            },
        };
        self.foreign_asks(index, step, Request::Write { based_on, record });
    }

    fn foreign_asks(&mut self, index: usize, step: Step, request: Request) {
        let foreign = &mut self.foreigners[index];
        foreign.requests += 1;
        let (id, life, sent) = (foreign.requests, foreign.life, foreign.clock.boot(self.now));
        let record = match &request {
            Request::Write { record, .. } => Some(record.clone()),
            Request::Read => None,
        };
        foreign.asked = Some(Asked { id, step, sent, record });
        // As controller-runtime sets it.
        let timeout = foreign.plan.renew_deadline_ms * MILLISECOND / 2;
        self.foreign_after(index, timeout, ForeignEvent::TimesOut(id));
        if let Some(delay) = self.travels_for(Seen::RequestDelayed) {
            self.after(delay, Event::ForeignArrives { index, life, id, request });
        }
    }

    pub(crate) fn foreign_arrives(&mut self, index: usize, life: u64, id: u64, request: &Request) {
        if self.store_silent || self.now < self.foreigners[index].cut_off_until {
            return;
        }
        let result = if self.store_down { Err(StoreFailure::Unavailable) } else { self.store.serve(request) };
        self.trace.line(self.now, || format!("store: f{index}-p{life} {request:?}: {result:?}"));
        if let (Ok(Reply::Written(_)), Request::Write { record, .. }) = (&result, request) {
            if let Some(holder) = record.holder.as_deref() {
                // It does not wait for what has no duration: that is between the two of them.
                self.invariants.believes_no_more(Owner::Script);
                self.tally.count_takeover(&mut self.last_holder, holder, Kind::Foreign);
            }
            self.store_changed();
        }
        if let Some(delay) = self.travels_for(Seen::AnswerDelayed) {
            self.after(delay, Event::Foreign(index, life, ForeignEvent::Answered(id, result)));
        }
    }

    pub(super) fn foreign_hears(&mut self, index: usize, id: u64, result: Result<Reply, StoreFailure>) {
        let foreign = &mut self.foreigners[index];
        let now = foreign.clock.boot(self.now);
        let Some(Asked { step, sent, record, .. }) = foreign.asked.take_if(|asked| asked.id == id) else { return };
        match (step, result) {
            (Step::Release, _) => {}
            (Step::Fast | Step::Write, Ok(Reply::Written(version))) => {
                let record = record.expect("a write has a record");
                foreign.observed = Some((record.clone(), now));
                foreign.object = Some((version, record));
                self.foreign_succeeds(index, sent, version);
            }
            (Step::Fast, _) => self.foreign_asks(index, Step::Get, Request::Read),
            (Step::Get, Ok(Reply::Read(Observation::Present { version, record }))) => {
                foreign.object = Some((version, record.clone()));
                if foreign.observed_raw.as_ref() != Some(&record) {
                    foreign.observed = Some((record.clone(), now));
                    foreign.observed_raw = Some(record.clone());
                }
                if record.holder.is_some() && record.holder.as_ref() != Some(&foreign.identity) {
                    // From here on a correct one would know better.
                    foreign.told = true;
                    self.invariants.believes_no_more(Owner::Foreign(index));
                }
                let foreign = &self.foreigners[index];
                let valid = match self.plan.defect {
                    Some(Defect::ForeignExpiryByWallClock) => !foreign.has_expired_by_wall_clock(self.now),
                    _ => foreign.is_lease_valid(foreign.tried_at),
                };
                if record.holder.is_some() && valid && !foreign.is_leader() {
                    return self.foreign_fails(index);
                }
                self.foreign_writes(index, Step::Write);
            }
            (Step::Get, Ok(Reply::Read(Observation::Missing { .. }))) => {
                foreign.object = None;
                self.foreign_writes(index, Step::Write);
            }
            (Step::Get | Step::Write, _) => self.foreign_fails(index),
        }
    }

    fn foreign_succeeds(&mut self, index: usize, sent: BootTime, version: Version) {
        let foreign = &mut self.foreigners[index];
        let first = foreign.phase == Phase::Acquiring;
        if first {
            foreign.leads = Some(version.0);
            (foreign.overstays, foreign.told) = (false, false);
            self.tally.count(Seen::ForeignLed);
        } else if !matches!(foreign.phase, Phase::Renewing(_)) {
            return;
        }
        let term = foreign.leads.expect("it leads");
        let wait = if first { 0 } else { foreign.retry() };
        let from_now = Duration::from_nanos(wait) + Duration::from_millis(foreign.plan.renew_deadline_ms);
        let deadline = foreign.clock.boot(self.now) + from_now;
        foreign.phase = Phase::Renewing(deadline);
        // What a correct elector may believe: nobody can ask for a longer time than is believed of anybody.
        let lease = Duration::from_secs(foreign.plan.lease_s).min(FOREIGN_DURATION_MAX);
        let margin = (lease / 100).max(Duration::from_millis(100));
        let ends = foreign.clock.when(sent + (lease - margin));
        self.foreign_after(index, wait, ForeignEvent::Try);
        self.foreign_after(index, wait, ForeignEvent::Deadline(deadline));
        self.check_bound(Owner::Foreign(index), term, ends);
    }

    fn foreign_fails(&mut self, index: usize) {
        let retry = self.foreigners[index].retry();
        let wait = match self.foreigners[index].phase {
            // `JitterFactor`.
            Phase::Acquiring => retry + self.rng.u64(0..=retry / 5 * 6),
            _ => retry,
        };
        self.foreign_after(index, wait, ForeignEvent::Try);
    }
}
