//! Standing as a candidate: this replica's LeaseCandidate is made, renewed, deleted.
//!
//! Who stands may be picked; who is leaving withdraws first, so that it is not picked for what it gives up.
//!
//! What is written is compared with the API server's clock, so it is that clock's time: what it last said, and how
//! long ago that was. By an own wall clock that is ahead, a candidate would count as alive after its death, and
//! by one that is behind, no ping would be answered.

use std::time::Duration;

use crate::{
    candidate::{CandidateInput, CandidateRecord, CandidateRequest, CandidateSeen},
    lease::Version,
    ports::StoreFailure,
    time::{BootTime, WallTime},
};

use super::{Action, Notice, RequestId};

/// How often it is renewed unasked: client-go's `requeueInterval`. The API server pings after 15 minutes, and
/// forgets a candidate after 30.
const RENEW_EVERY: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Default)]
pub(super) struct Candidacy {
    /// What it last was like; nothing is asked before the watch has told.
    seen: Option<CandidateSeen>,
    in_flight: Option<InFlight>,
    last_request: u64,
    renewed_at: BootTime,
    /// The version of the last one that was made.
    created: Option<Version>,
    /// The newest that the API server's clock was heard to say, and when that was.
    api_clock: Option<(WallTime, BootTime)>,
    /// No request goes out before this.
    quiet_until: BootTime,
    /// Since when it is not to stand, and whether that was tried.
    leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug)]
enum Leaving {
    Untried,
    /// Deleted; or that failed, and is not worth waiting for.
    Tried,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: RequestId,
    request: CandidateRequest,
    sent_at: BootTime,
}

impl Candidacy {
    /// Takes in what happened. `retry` is how long after a failure it is tried again.
    pub(super) fn hear(&mut self, now: BootTime, input: CandidateInput, retry: Duration, actions: &mut Vec<Action>) {
        match input {
            CandidateInput::Seen(seen) => {
                if let CandidateSeen::Present { record, .. } = seen {
                    let said = record.pinged.map_or(record.created, |pinged| pinged.max(record.created));
                    if self.api_clock.is_none_or(|(before, _)| before < said) {
                        self.api_clock = Some((said, now));
                    }
                }
                // A watch may lag behind an answer.
                if self.seen.is_none_or(|known| known.version() < seen.version()) {
                    self.seen = Some(seen);
                }
            }
            CandidateInput::Answered(id, result) => {
                let Some(InFlight { request, sent_at, .. }) = self.in_flight.take_if(|sent| sent.id == id) else {
                    return;
                };
                match result {
                    Ok(version) => self.on_done(version, request, sent_at),
                    Err(failure) => self.on_failure(now, request, failure, retry, actions),
                }
            }
        }
    }

    fn on_done(&mut self, version: Version, request: CandidateRequest, sent_at: BootTime) {
        self.quiet_until = BootTime::ZERO;
        match (request, self.seen) {
            // What it says, when it was made included, the watch is about to tell.
            (CandidateRequest::Create, _) => self.created = Some(version),
            (CandidateRequest::Renew { renewed, .. }, known) => {
                self.renewed_at = sent_at;
                if let Some(CandidateSeen::Present { version: known, record }) = known
                    && known < version
                {
                    let record = CandidateRecord { renewed: Some(renewed), ..record };
                    self.seen = Some(CandidateSeen::Present { version, record });
                }
            }
            (CandidateRequest::Delete, _) => {
                self.mark_tried();
                self.seen = Some(CandidateSeen::Missing { at: version });
            }
        }
    }

    fn on_failure(
        &mut self,
        now: BootTime,
        request: CandidateRequest,
        failure: StoreFailure,
        retry: Duration,
        actions: &mut Vec<Action>,
    ) {
        self.quiet_until = now + retry;
        let what = match request {
            CandidateRequest::Create => "create the candidate",
            CandidateRequest::Renew { .. } => "renew the candidate",
            CandidateRequest::Delete => {
                self.mark_tried();
                "delete the candidate"
            }
        };
        match failure {
            StoreFailure::Missing => self.seen = self.seen.map(|seen| CandidateSeen::Missing { at: seen.version() }),
            // Pinged in between, and the watch is about to tell.
            StoreFailure::Conflict => {}
            _ => actions.push(Action::Tell(Notice::CandidacyFailed(what, failure))),
        }
    }

    fn mark_tried(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            *leaving = Leaving::Tried;
        }
    }

    /// Asks for what is due, where this replica stands or does not.
    pub(super) fn advance(
        &mut self,
        now: BootTime,
        stands: bool,
        timeout: Duration,
        retry: Duration,
        actions: &mut Vec<Action>,
    ) {
        match (stands, self.leaving) {
            (true, _) => self.leaving = None,
            // There is none, and none is on its way.
            (false, _)
                if self.in_flight.is_none() && matches!(self.seen, None | Some(CandidateSeen::Missing { .. })) =>
            {
                self.leaving = Some(Leaving::Tried);
            }
            (false, None) => {
                self.leaving = Some(Leaving::Untried);
                self.quiet_until = BootTime::ZERO;
            }
            (false, Some(_)) => {}
        }
        if let Some(overdue) = self.in_flight.take_if(|sent| now >= sent.sent_at + timeout) {
            self.on_failure(now, overdue.request, StoreFailure::Unavailable, retry, actions);
        }
        let Some(at) = self.next_request() else { return };
        if self.in_flight.is_some() || at > now {
            return;
        }
        let request = match self.seen {
            Some(CandidateSeen::Present { .. }) if !stands => CandidateRequest::Delete,
            Some(CandidateSeen::Present { version, record }) => {
                CandidateRequest::Renew { based_on: version, renewed: self.stamp(&record, now) }
            }
            _ => CandidateRequest::Create,
        };
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.in_flight = Some(InFlight { id, request, sent_at: now });
        actions.push(Action::SendCandidate { id, request });
    }

    /// When something is to be asked, provided nothing is under way.
    fn next_request(&self) -> Option<BootTime> {
        let at = match (self.seen?, self.leaving) {
            (CandidateSeen::Missing { at }, None) if self.created.is_some_and(|created| at < created) => {
                return None;
            }
            (CandidateSeen::Missing { .. }, None) | (CandidateSeen::Present { .. }, Some(_)) => BootTime::ZERO,
            (CandidateSeen::Missing { .. }, Some(_)) => return None,
            (CandidateSeen::Present { record, .. }, None) => match (record.renewed, record.unanswered_ping()) {
                (None, _) | (_, Some(_)) => BootTime::ZERO,
                (Some(_), None) => self.renewed_at + RENEW_EVERY,
            },
        };
        Some(at.max(self.quiet_until))
    }

    pub(super) fn next_deadline(&self, timeout: Duration) -> Option<BootTime> {
        match &self.in_flight {
            Some(sent) => Some(sent.sent_at + timeout),
            None => self.next_request(),
        }
    }

    /// This replica does not stand any more, as far as it could do anything about it.
    pub(super) fn has_left(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Tried))
    }

    /// The API server's time, as far as it is known; not before the ping that it answers.
    fn stamp(&self, record: &CandidateRecord, now: BootTime) -> WallTime {
        let after = |time: WallTime, micros: u128| {
            WallTime::from_micros(time.as_micros().saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
        };
        let (said, heard_at) = self.api_clock.unwrap_or((record.created, now));
        let stamp = after(said, now.since(heard_at).as_micros());
        record.pinged.map_or(stamp, |pinged| stamp.max(after(pinged, 1)))
    }
}
