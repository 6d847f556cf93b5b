//! Standing as a candidate: this replica's LeaseCandidate is made, renewed, deleted.
//!
//! Who stands may be picked; who is leaving withdraws first, so that it is not picked for what it gives up. A
//! ping is answered at once with a time that is not before it, whatever the own clock says: the API server
//! compares the two.

use std::time::Duration;

use crate::{
    candidate::{CandidateInput, CandidateRecord, CandidateRequest, CandidateSeen},
    lease::Version,
    ports::StoreFailure,
    time::{BootTime, Now, WallTime},
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
        let pinged = match self.seen {
            Some(CandidateSeen::Present { record, .. }) => record.pinged,
            _ => None,
        };
        let seen = match request {
            CandidateRequest::Create => CandidateSeen::Present { version, record: CandidateRecord::default() },
            CandidateRequest::Renew { renewed, .. } => {
                CandidateSeen::Present { version, record: CandidateRecord { pinged, renewed: Some(renewed) } }
            }
            CandidateRequest::Delete => CandidateSeen::Missing { at: version },
        };
        match request {
            CandidateRequest::Delete => self.mark_tried(),
            CandidateRequest::Renew { .. } => self.renewed_at = sent_at,
            CandidateRequest::Create => {}
        }
        if self.seen.is_none_or(|known| known.version() < version || matches!(request, CandidateRequest::Delete)) {
            self.seen = Some(seen);
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
        now: Now,
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
        if let Some(overdue) = self.in_flight.take_if(|sent| now.boot >= sent.sent_at + timeout) {
            self.on_failure(now.boot, overdue.request, StoreFailure::Unavailable, retry, actions);
        }
        let Some(at) = self.next_request() else { return };
        if self.in_flight.is_some() || at > now.boot {
            return;
        }
        let request = match self.seen {
            Some(CandidateSeen::Present { .. }) if !stands => CandidateRequest::Delete,
            Some(CandidateSeen::Present { version, record }) => {
                CandidateRequest::Renew { based_on: version, renewed: answering(&record, now.wall) }
            }
            _ => CandidateRequest::Create,
        };
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.in_flight = Some(InFlight { id, request, sent_at: now.boot });
        actions.push(Action::SendCandidate { id, request });
    }

    /// When something is to be asked, provided nothing is under way.
    fn next_request(&self) -> Option<BootTime> {
        let at = match (self.seen?, self.leaving) {
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
}

/// A time that answers the ping, also by a clock that is behind the API server's.
fn answering(record: &CandidateRecord, wall: WallTime) -> WallTime {
    match record.pinged {
        Some(pinged) => wall.max(WallTime::from_micros(pinged.as_micros().saturating_add(1))),
        None => wall,
    }
}
