//! A label on the Pod of the replica that leads, and on no other's: an ordinary Service selects the leader by it.
//!
//! Pure, as the election is: the task steps it, and it says what to ask of the API server. The label is put on within a
//! term, once no other Pod is seen to carry it; it is taken off as soon as the term is to end, and the Lease is
//! released after that ([`LeaderLabel::waits_until`]). A leader that has died, or is cut off, leaves its label to its
//! successor, which takes it off. So it is on two Pods only where the one before could not be asked.
//!
//! **What was asked before and never answered** may arrive at any time later, and must change nothing then. Each
//! request names the version of the Pod that it was decided on, and each makes a new one: beside the label stands an
//! annotation of the same key, with the [`Mark`] of the last request to put it on. A label counts as taken off when the
//! Pod is seen without it *and* with that mark; where it has another, it is marked so, and that request finds another
//! version when it comes. (A mark for each request, since a term may be in doubt and certain again: a token for each
//! was not enough, as the simulator has found.)
//!
//! The label is no fence: whoever is routed by it learns of a change when its Endpoints do. Only the token is one.

mod vocabulary;

use std::{collections::BTreeMap, time::Duration};

use crate::{election::RequestId, lease::Version, ports::StoreFailure, time::BootTime};

pub use self::vocabulary::{
    LabelAction, LabelInput, LabelNotice, LabelReply, LabelRequest, Labelled, Mark, OwnPod, PodId,
};

/// For so long a Lease that is to be released waits for the label to be off. Where it cannot be taken off in
/// that time, the successor does it.
pub const REMOVAL_MAX: Duration = Duration::from_secs(5);
/// So long a request may take: two of them, and what is between, fit into [`REMOVAL_MAX`].
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The wait after a first failure; doubled with each that follows.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// So many conflicts in a row are the kubelet's, which writes into the Pod's status.
const CONFLICTS_MAX: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Unknown,
    Known(OwnPod),
    /// It never comes back: a later Pod has another uid.
    Gone,
}

#[derive(Clone, Debug)]
struct InFlight {
    id: RequestId,
    request: LabelRequest,
    sent_at: BootTime,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct LeaderLabel {
    /// The token of the term in which it is to be on.
    wanted: Option<u64>,
    /// Since when it is to be off, where it is.
    unwanted_since: Option<BootTime>,
    own: Own,
    /// The mark of the last request to put it on, which may yet arrive.
    asked_for: Option<Mark>,
    /// As the watch of this term has told; `None`: it has not yet.
    others: Option<BTreeMap<PodId, Version>>,
    in_flight: Option<InFlight>,
    /// While that was, the watch has told that this Pod does not carry it. It tells no version of that, so the answer may be
    /// older: as if the watch had come after it, and nothing comes any more.
    seen_without: bool,
    last_request: RequestId,
    /// Requests in a row.
    failures: u32,
    conflicts: u32,
    /// How often, since it is wanted, somebody has taken it off.
    taken: u32,
    /// It may not be taken off here: nothing to wait for.
    refused: bool,
    quiet_until: BootTime,
    told_on: bool,
}

impl Default for LeaderLabel {
    fn default() -> Self {
        Self {
            wanted: None,
            unwanted_since: None,
            own: Own::Unknown,
            asked_for: None,
            others: None,
            in_flight: None,
            seen_without: false,
            last_request: RequestId(0),
            failures: 0,
            conflicts: 0,
            taken: 0,
            refused: false,
            quiet_until: BootTime::ZERO,
            told_on: false,
        }
    }
}

impl LeaderLabel {
    /// From now on it is to be on, in the term of this token, or off.
    pub fn want(&mut self, now: BootTime, wanted: Option<u64>) {
        if wanted.is_none() {
            self.unwanted_since.get_or_insert(now);
        }
        if wanted == self.wanted {
            return;
        }
        (self.failures, self.conflicts, self.taken, self.quiet_until) = (0, 0, 0, BootTime::ZERO);
        (self.wanted, self.refused) = (wanted, false);
        match wanted {
            Some(_) => {
                self.unwanted_since = None;
                // The kubelet has written into its status since.
                if self.in_flight.is_none() && self.own != Own::Gone {
                    self.own = Own::Unknown;
                }
            }
            None => self.others = None,
        }
    }

    /// Takes in what happened.
    pub fn hear(&mut self, now: BootTime, input: LabelInput, actions: &mut Vec<LabelAction>) {
        match input {
            LabelInput::Answered(id, result) => {
                if let Some(InFlight { request, .. }) = self.in_flight.take_if(|in_flight| in_flight.id == id) {
                    self.on_answer(now, request, result, actions);
                }
            }
            LabelInput::Seen(labelled) => self.on_seen(now, labelled),
        }
        self.tell(actions);
    }

    /// What to do now.
    pub fn advance(&mut self, now: BootTime, actions: &mut Vec<LabelAction>) {
        if let Some(overdue) = self.in_flight.take_if(|in_flight| now >= in_flight.sent_at + REQUEST_TIMEOUT) {
            self.on_failure(now, &overdue.request, StoreFailure::Unavailable, actions);
        }
        if self.in_flight.is_none()
            && now >= self.quiet_until
            && let Some(request) = self.next_request()
        {
            self.last_request = RequestId(self.last_request.0 + 1);
            let id = self.last_request;
            if let LabelRequest::PutOn { mark, .. } = request {
                self.asked_for = Some(mark);
            }
            self.seen_without = false;
            self.in_flight = Some(InFlight { id, request: request.clone(), sent_at: now });
            actions.push(LabelAction::Send { id, request });
        }
    }

    /// When [`LeaderLabel::advance`] has to be called next if nothing else happens.
    pub fn next_deadline(&self) -> Option<BootTime> {
        match &self.in_flight {
            Some(in_flight) => Some(in_flight.sent_at + REQUEST_TIMEOUT),
            None => self.next_request().map(|_| self.quiet_until),
        }
    }

    /// Whether all that carry the label are to be watched: from the beginning each time that this becomes true.
    pub fn watches(&self) -> bool {
        self.wanted.is_some()
    }

    /// Until when a Lease that is to be given up waits for the label to be off; `None`: it is, or was never on.
    /// That has passed where the API server refuses to take it off. `leads`: this replica still has the Lease.
    pub fn waits_until(&self, leads: bool) -> Option<BootTime> {
        let may_be_on = match self.own {
            Own::Gone => false,
            Own::Known(own) => own.labelled || self.may_arrive(own),
            Own::Unknown => leads || self.asked_for.is_some(),
        };
        let since = self.unwanted_since.unwrap_or(BootTime::ZERO);
        may_be_on.then(|| if self.refused { since } else { since + REMOVAL_MAX })
    }

    /// The last request to put the label on finds this Pod as it expects it, if it comes now.
    fn may_arrive(&self, own: OwnPod) -> bool {
        self.asked_for.is_some() && own.mark != self.asked_for
    }

    fn next_request(&self) -> Option<LabelRequest> {
        let others = self.others.as_ref();
        if let Some((pod, based_on)) = others.and_then(BTreeMap::first_key_value) {
            return Some(LabelRequest::TakeOffOther { pod: pod.clone(), based_on: *based_on });
        }
        let own = match self.own {
            Own::Unknown => return Some(LabelRequest::Look),
            Own::Known(own) => own,
            Own::Gone => return None,
        };
        let based_on = own.version;
        match self.wanted {
            Some(token) if own.labelled && own.mark.is_some_and(|mark| mark.token == token) => None,
            // Not before it is known who else carries it.
            Some(token) => others.map(|_| LabelRequest::PutOn { based_on, mark: self.next_mark(token) }),
            None if own.labelled || self.may_arrive(own) => {
                Some(LabelRequest::TakeOff { based_on, mark: self.asked_for.or(own.mark) })
            }
            None => None,
        }
    }

    fn next_mark(&self, token: u64) -> Mark {
        let before = self.asked_for.filter(|mark| mark.token == token);
        Mark { token, attempt: before.map_or(0, |mark| mark.attempt) + 1 }
    }

    fn on_answer(
        &mut self,
        now: BootTime,
        request: LabelRequest,
        result: Result<LabelReply, StoreFailure>,
        actions: &mut Vec<LabelAction>,
    ) {
        match (request, result) {
            (LabelRequest::Look, Ok(LabelReply::Looked(own))) => {
                self.own = Own::Known(own);
                // Where it leads to a write, that has yet to succeed.
                if self.next_request().is_some() {
                    return;
                }
            }
            (LabelRequest::PutOn { mark, .. }, Ok(LabelReply::Written(version))) => {
                self.own = Own::Known(OwnPod { version, labelled: true, mark: Some(mark) });
            }
            (LabelRequest::TakeOff { mark, .. }, Ok(LabelReply::Written(version))) => {
                self.own = Own::Known(OwnPod { version, labelled: false, mark });
            }
            (LabelRequest::TakeOffOther { pod, .. }, Ok(LabelReply::Written(_))) => {
                self.gone(&pod);
                actions.push(LabelAction::Tell(LabelNotice::TakenFrom(pod)));
            }
            (request, Err(failure)) => return self.on_failure(now, &request, failure, actions),
            (request, Ok(_)) => return self.on_failure(now, &request, StoreFailure::Rejected, actions),
        }
        (self.failures, self.conflicts, self.refused) = (0, 0, false);
        if self.seen_without && matches!(self.own, Own::Known(own) if own.labelled) {
            self.own = Own::Unknown;
        }
    }

    fn gone(&mut self, pod: &PodId) {
        if let Some(others) = &mut self.others {
            others.remove(pod);
        }
    }

    fn on_failure(
        &mut self,
        now: BootTime,
        request: &LabelRequest,
        failure: StoreFailure,
        actions: &mut Vec<LabelAction>,
    ) {
        let of_other = match request {
            LabelRequest::TakeOffOther { pod, .. } => Some(pod),
            _ => None,
        };
        match (failure, of_other) {
            (StoreFailure::Missing, Some(pod)) => return self.gone(pod),
            (StoreFailure::Missing, None) => {
                self.own = Own::Gone;
                return actions.push(LabelAction::Tell(LabelNotice::Failed(request.name(), failure)));
            }
            // Whatever became of it, or will.
            (_, None) => self.own = Own::Unknown,
            // The watch tells its newest version.
            (_, Some(_)) => {}
        }
        if failure == StoreFailure::Conflict {
            self.conflicts += 1;
            if of_other.is_some() || self.conflicts > CONFLICTS_MAX {
                self.quiet_until = now + delay_after(self.conflicts);
            }
            return;
        }
        self.refused = of_other.is_none() && matches!(failure, StoreFailure::Denied | StoreFailure::Rejected);
        self.failures += 1;
        self.quiet_until = now + delay_after(self.failures);
        actions.push(LabelAction::Tell(LabelNotice::Failed(request.name(), failure)));
    }

    fn on_seen(&mut self, now: BootTime, labelled: Labelled) {
        if self.wanted.is_none() {
            return;
        }
        self.others = Some(labelled.others);
        self.seen_without |= labelled.own.is_none() && self.in_flight.is_some();
        match (self.own, labelled.own) {
            (Own::Known(own), Some(seen)) if seen.version > own.version => self.own = Own::Known(seen),
            (Own::Known(own), None) if own.labelled => {
                // Somebody has taken it off, or this was on its way before it was put on.
                self.own = Own::Unknown;
                self.taken += 1;
                if self.taken > 1 {
                    self.quiet_until = self.quiet_until.max(now + delay_after(self.taken - 1));
                }
            }
            _ => {}
        }
    }

    /// What has changed for people.
    fn tell(&mut self, actions: &mut Vec<LabelAction>) {
        let Own::Known(own) = self.own else { return };
        let token = |mark: Option<Mark>| mark.map(|mark| mark.token);
        let on = token(own.mark).filter(|of| own.labelled && token(self.asked_for) == Some(*of));
        if on.is_some() != self.told_on {
            self.told_on = on.is_some();
            actions.push(LabelAction::Tell(on.map_or(LabelNotice::Off, LabelNotice::On)));
        }
    }
}

fn delay_after(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << (failures.saturating_sub(1)).min(16)).min(RETRY_LAST)
}
