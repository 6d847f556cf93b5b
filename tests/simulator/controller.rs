//! The API server's controller of a coordinated election, modelled on Kubernetes 1.36
//! (`pkg/controlplane/controller/leaderelection`), and the candidates it picks from.
//!
//! It goes by wall clocks, which are off by hours here: it pushes aside leaders who renew, and waits for those who
//! are dead. Only when all is calm does it judge rightly, or nobody might ever lead.

use std::collections::BTreeMap;

use leasehold_core::{
    candidate::{CandidateInput, CandidateRecord, CandidateRequest, CandidateSeen},
    election::RequestId,
    lease::{Coordination, LeaseRecord, Observation, Version},
    ports::StoreFailure,
    replica::Input,
    time::WallTime,
    timing::FOREIGN_DURATION_MAX,
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{MICROSECOND, MILLISECOND, SECOND, TrueTime},
    tally::Seen,
    world::{Event, MachineId, ProcessId, World},
};

/// `electionDuration`, `defaultRequeueInterval` and `defaultLeaseDurationSeconds`.
const ELECTION: TrueTime = 5 * SECOND;
/// How often a candidate's watch tells what there is, at least.
const TOLD_EVERY: TrueTime = 2 * SECOND;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CoordinatedPlan {
    /// So many machines, the first ones, compete without being candidates.
    pub(crate) open: usize,
}

#[derive(Clone, Debug)]
struct Candidate {
    version: u64,
    /// Which emulation version; the lowest leads. Of those, the one that was made first.
    emulates: u8,
    made: u64,
    record: CandidateRecord,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Controller {
    candidates: BTreeMap<String, Candidate>,
    version: u64,
    /// What the Lease said when it last changed, and when that was.
    lease: Option<(LeaseRecord, TrueTime)>,
}

impl World {
    pub(crate) fn is_coordinated(&self, machine: MachineId) -> bool {
        self.plan.coordinated.as_ref().is_some_and(|plan| machine >= plan.open)
    }

    fn api_wall(&self) -> WallTime {
        WallTime::from_micros(1_700_000_000_000_000 + i64::try_from(self.now / MICROSECOND).expect("short"))
    }

    pub(crate) fn send_candidate(&mut self, process: ProcessId, id: RequestId, request: CandidateRequest) {
        let machine = self.processes[process].machine;
        let travels = self.travels_for(Seen::RequestDelayed).filter(|_| !self.machines[machine].partitioned);
        match travels {
            Some(delay) => self.after(delay, Event::CandidateArrives(process, id, request)),
            None => self.tally.count(Seen::RequestLost),
        }
    }

    pub(crate) fn candidate_arrives(&mut self, process: ProcessId, id: RequestId, request: CandidateRequest) {
        let machine = self.processes[process].machine;
        if self.machines[machine].partitioned || self.store_silent {
            return;
        }
        let result = match self.store_down {
            true => Err(StoreFailure::Unavailable),
            false => self.serve_candidate(process, request),
        };
        self.trace
            .line(self.now, || format!("candidates: {} {request:?}: {result:?}", self.processes[process].identity));
        if let Some(delay) = self.travels_for(Seen::AnswerDelayed) {
            self.after(delay, Event::Deliver(process, Input::Candidate(CandidateInput::Answered(id, result))));
        }
        self.candidates_changed();
    }

    fn serve_candidate(&mut self, process: ProcessId, request: CandidateRequest) -> Result<Version, StoreFailure> {
        let created = self.api_wall();
        let emulates = self.rng.u8(0..3);
        let identity = self.processes[process].identity.clone();
        let Controller { candidates, version, .. } = &mut self.controller;
        match (request, candidates.get_mut(&identity)) {
            (CandidateRequest::Create, Some(_)) => return Err(StoreFailure::Conflict),
            (CandidateRequest::Create, None) => {
                let record = CandidateRecord { created, pinged: None, renewed: None };
                let made = *version + 1;
                candidates.insert(identity, Candidate { version: made, emulates, made, record });
            }
            (_, None) => return Err(StoreFailure::Missing),
            (CandidateRequest::Delete, Some(_)) => drop(candidates.remove(&identity)),
            (CandidateRequest::Renew { based_on, .. }, Some(candidate)) if candidate.version != based_on.0 => {
                return Err(StoreFailure::Conflict);
            }
            (CandidateRequest::Renew { renewed, .. }, Some(candidate)) => {
                candidate.record.renewed = Some(renewed);
                candidate.version = *version + 1;
            }
        }
        *version += 1;
        Ok(Version(*version))
    }

    fn candidates_changed(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].alive && self.is_coordinated(self.processes[process].machine) {
                self.within(SECOND / 10, Event::CandidateTold(process, false));
            }
        }
        self.controller_soon();
    }

    /// What its watch tells a candidate of itself. `again`: and what will be in a while.
    pub(crate) fn candidate_told(&mut self, process: ProcessId, again: bool) {
        if !self.processes[process].alive {
            return;
        }
        if again {
            self.within(TOLD_EVERY, Event::CandidateTold(process, true));
        }
        let target = &self.processes[process];
        if self.store_down || self.store_silent || self.machines[target.machine].partitioned {
            return;
        }
        let seen = match self.controller.candidates.get(&target.identity) {
            Some(candidate) => CandidateSeen::Present { version: Version(candidate.version), record: candidate.record },
            None => CandidateSeen::Missing { at: Version(self.controller.version) },
        };
        self.deliver(process, Input::Candidate(CandidateInput::Seen(seen)));
    }

    /// Something changed that it follows.
    pub(crate) fn controller_soon(&mut self) {
        if self.plan.coordinated.is_some() {
            self.within(50 * MILLISECOND, Event::ControllerLooks(false));
        }
    }

    /// `reconcileElectionStep`
    pub(crate) fn controller_looks(&mut self, again: bool) {
        if again {
            self.after(ELECTION, Event::ControllerLooks(true));
        }
        let current = self.store.current().record().cloned();
        if current.as_ref() != self.controller.lease.as_ref().map(|(record, _)| record) {
            self.controller.lease = current.clone().map(|record| (record, self.now));
        }
        if self.store_down || self.store_silent {
            return;
        }
        let now = self.api_wall();
        let since = |time: WallTime| now.as_micros().saturating_sub(time.as_micros());
        let election = i64::try_from(ELECTION / MICROSECOND).expect("short");
        let expired = self.lease_has_expired();
        let quiet = self.is_quiet();
        let order = |candidate: &Candidate| (if quiet { 0 } else { candidate.emulates }, candidate.made);
        let standing = |candidate: &&mut Candidate| candidate.record.renewed.is_some();
        let holder = current.as_ref().and_then(|record| record.holder.clone());
        let best = self.controller.candidates.iter().filter(|(_, candidate)| candidate.record.renewed.is_some());
        let Some((best, _)) = best.min_by_key(|(_, candidate)| order(candidate)) else { return };
        if !expired && holder.as_ref() == Some(best) {
            return;
        }
        let mut may_vote = true;
        let mut pinged = false;
        for candidate in self.controller.candidates.values_mut().filter(standing) {
            let CandidateRecord { pinged: asked, renewed: Some(renewed), .. } = candidate.record else { continue };
            if asked.is_some_and(|asked| since(asked) < election && renewed < asked) {
                may_vote = false;
            } else if since(renewed) >= election
                && asked.is_none_or(|asked| since(asked) > election && renewed >= asked)
            {
                self.controller.version += 1;
                candidate.version = self.controller.version;
                candidate.record.pinged = Some(now);
                (may_vote, pinged) = (false, true);
            }
        }
        if pinged {
            self.tally.count(Seen::Pinged);
            self.candidates_changed();
        }
        if !may_vote {
            return;
        }
        let answered =
            |candidate: &Candidate| candidate.record.renewed.is_some_and(|renewed| since(renewed) < election);
        let electee = self.controller.candidates.iter().filter(|(_, candidate)| answered(candidate));
        let Some((electee, _)) = electee.min_by_key(|(_, candidate)| order(candidate)) else { return };
        let electee = electee.clone();
        self.elect(&electee, current, expired, now);
    }

    fn elect(&mut self, electee: &str, current: Option<LeaseRecord>, expired: bool, now: WallTime) {
        let record = current.unwrap_or_default();
        let strategy = "OldestEmulationVersion".to_owned();
        let picked = |record: LeaseRecord| LeaseRecord {
            holder: Some(electee.to_owned()),
            duration: Some(std::time::Duration::from_secs(5)),
            renewed: Some(now),
            acquired: None,
            coordination: Some(Box::new(Coordination { strategy: strategy.clone(), preferred_holder: None })),
            ..record
        };
        let holder = record.holder.clone();
        let written = match holder.as_deref() {
            None => picked(record),
            Some(holder) if holder == electee => return,
            Some(_) if expired => {
                self.tally.count(Seen::PickedOver);
                picked(record)
            }
            Some(_) => {
                let preferred_holder = Some(electee.to_owned());
                let coordination = Some(Box::new(Coordination { strategy, preferred_holder }));
                if record.coordination == coordination {
                    return;
                }
                LeaseRecord { coordination, ..record }
            }
        };
        self.tally.count(if written.is_picked() { Seen::Picked } else { Seen::Preferred });
        self.store.put(written);
        self.trace.line(self.now, || format!("controller: {:?}", self.store.current()));
        self.store_changed();
    }

    /// By its wall clock and the holder's; rightly, when all is calm.
    fn lease_has_expired(&self) -> bool {
        let Observation::Present { record, .. } = self.store.current() else { return true };
        let (Some(duration), Some(renewed), Some(_)) = (record.duration, record.renewed, &record.holder) else {
            return true;
        };
        if self.is_quiet() {
            let believed = u64::try_from(duration.min(FOREIGN_DURATION_MAX).as_nanos()).expect("short");
            return self.controller.lease.as_ref().is_none_or(|(_, since)| self.now - since > believed);
        }
        let lasts = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        renewed.as_micros().saturating_add(lasts) < self.api_wall().as_micros()
    }
}
