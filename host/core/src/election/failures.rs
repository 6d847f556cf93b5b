//! Requests that failed, or were never answered: what is known then, and when to try again.

use std::time::Duration;

use crate::{
    lease::{LeaseRecord, Version},
    ports::StoreFailure,
    time::{BootTime, Now},
};

use super::{Action, Election, Notice, Request};

impl Election {
    /// Somebody else wrote, or an earlier write of ours did arrive.
    ///
    /// A leader has no time to lose, and asks. Whoever has raced many others for a Lease need not ask, as they
    /// all would: its watch has told of the winner already, or is about to.
    pub(super) fn on_conflict(&mut self, now: Now, sent_at: BootTime, based_on: Option<Version>) {
        self.contend(now, sent_at);
        let waits_for_watch = self.leading().is_none() && self.withdraw_by.is_none() && self.poll_at.is_none();
        let told_already = self.known.as_ref().is_some_and(|known| match based_on {
            Some(_) => known.observation.version() != based_on,
            None => known.observation.record().is_some(),
        });
        if !waits_for_watch {
            self.must_read_at = Some(BootTime::ZERO);
            return;
        }
        self.spread.race_lost();
        if !told_already {
            self.must_read_at = Some(sent_at + self.jittered_retry());
        }
    }

    /// One lost race is run again at once; who loses the next as well waits, so that a store that
    /// contradicts itself is not asked without pause.
    pub(super) fn contend(&mut self, now: Now, sent_at: BootTime) {
        self.contended_until = Some(match self.contended_until {
            None => BootTime::ZERO,
            Some(_) => now.boot.max(sent_at + self.jittered_retry()),
        });
    }

    pub(super) fn on_failure(
        &mut self,
        now: Now,
        request: &Request,
        sent_at: BootTime,
        failure: StoreFailure,
        actions: &mut Vec<Action>,
    ) {
        let what = match request {
            Request::Read => "read the lease",
            Request::Write { based_on: None, .. } => "create the lease",
            Request::Write { record: LeaseRecord { holder: None, .. }, .. } => "release the lease",
            Request::Write { .. } if self.leading().is_some() => "renew the lease",
            Request::Write { .. } => "acquire the lease",
        };
        actions.push(Action::Tell(Notice::RequestFailed(what, failure)));
        self.quiet_until = now.boot.max(sent_at + self.jittered_retry());
        if failure == StoreFailure::Unavailable && matches!(request, Request::Write { .. }) {
            self.lost_write = true;
        }
        // Whether a write without an answer has arrived, only a read can tell. A leader need not
        // know: its next renewal conflicts if it has.
        if failure == StoreFailure::Unavailable && self.leading().is_none() {
            self.must_read_at = Some(BootTime::ZERO);
        }
    }

    pub(super) fn give_up_overdue_request(&mut self, now: Now, actions: &mut Vec<Action>) {
        let timeout = self.config.timing.request_timeout();
        if let Some(overdue) = self.in_flight.take_if(|in_flight| now.boot >= in_flight.sent_at + timeout) {
            self.on_failure(now, &overdue.request, overdue.sent_at, StoreFailure::Unavailable, actions);
        }
    }

    pub(super) fn jittered_retry(&mut self) -> Duration {
        self.spread.retry(self.config.timing.retry_period())
    }
}
