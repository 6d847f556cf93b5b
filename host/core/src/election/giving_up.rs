//! Giving the Lease up: because the task wants to, for a while or for ever, or because a person asks for it.

use crate::time::{BootTime, Now};

use super::{Action, Asked, Election, InFlight, Leading, Notice, Request, State, StayOut};

impl Election {
    pub(super) fn on_step_down(&mut self, now: Now, stay_out: StayOut) {
        match stay_out {
            // Who makes room for another may well be picked again.
            StayOut::For(_) if self.yields_to_preferred() => {}
            StayOut::For(time) => self.out_until = Some(now.boot + time),
            StayOut::Forever => self.withdraw_by = Some(now.boot + 2 * self.config.timing.request_timeout()),
        }
        match &mut self.state {
            State::Leading(leading) => {
                leading.releasing = true;
                leading.calls.drop_call();
                self.quiet_until = BootTime::ZERO;
            }
            // A write may yet turn out to have won the Lease; nothing else is worth waiting for.
            State::Standby => {
                let writes = matches!(self.in_flight, Some(InFlight { request: Request::Write { .. }, .. }));
                if stay_out == StayOut::Forever && !writes && !self.lost_write {
                    self.in_flight = None;
                    self.must_read_at = None;
                }
            }
        }
    }

    /// However it came to be known: told by the watch, read after a conflict, or taken along into this term.
    pub(super) fn heed_request(&mut self, actions: &mut Vec<Action>) {
        let asked = self.known.as_ref().and_then(|known| known.observation.record()?.step_down.as_deref());
        if let State::Leading(leading @ Leading { releasing: false, .. }) = &mut self.state
            && leading.asked != Asked::ByPerson
            && asked == Some(&*self.config.identity)
        {
            leading.asked = Asked::ByPerson;
            actions.push(Action::Tell(Notice::StepDownRequested(leading.term)));
        }
    }

    pub(super) fn finish_withdrawing(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(withdraw_by) = self.withdraw_by else { return };
        if self.withdrawn || self.leading().is_some() {
            return;
        }
        let nothing_left = self.in_flight.is_none() && self.next_request().is_none() && self.has_left_the_candidates();
        if nothing_left || now.boot >= withdraw_by {
            self.withdrawn = true;
            self.in_flight = None;
            actions.push(Action::Withdrawn);
        }
    }

    pub(super) fn is_out(&self, now: BootTime) -> bool {
        self.withdraw_by.is_some() || self.out_until.is_some_and(|until| now < until)
    }
}
