//! The calls beside the guest's: what a module is told of the end of its terms, and of who leads.

use std::collections::VecDeque;

use leasehold_core::{
    replica::Input,
    task::{Callback, GuestEvent, Outcome, RunId, StopReason},
    time::BootTime,
};

use crate::{
    clock::MILLISECOND,
    defect::Defect,
    invariants::Rule,
    stepping::leading_in,
    tally::Seen,
    world::{Event, ProcessId, World},
};

/// Those of one process.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// `on-stop-leading`, while it runs.
    pub(crate) stopping: Option<RunId>,
    /// `on-new-leader`, while it runs.
    leading: Option<RunId>,
    /// The term in which a guest has run, until its end is told.
    owed: Option<u64>,
    /// Who leads, as far as the module is to hear of it and has not.
    leaders: VecDeque<String>,
    newest: Option<String>,
    /// What the guest of this term has permitted others, outside, until that time of this machine's: as long as it could.
    /// It is for `on-stop-leading` to end it before.
    permitted_until: Option<BootTime>,
}

impl World {
    pub(crate) fn owes_end(&mut self, process: ProcessId, token: u64) {
        let target = &mut self.processes[process];
        if self.plan.callbacks_ms.is_none() || self.plan.defect == Some(Defect::TransitionsAsToken) {
            return;
        }
        let who = &target.identity;
        if target.calls.stopping.is_some() {
            self.invariants.violated(Rule::StartedUnderCallback, || {
                format!("a guest of {who} starts while its module is told of a term's end")
            });
        }
        if let Some(before) = target.calls.owed.replace(token)
            && before != token
        {
            self.invariants
                .violated(Rule::EndToldOnce, || format!("{who} has told nobody of the end of its term {before}"));
        }
    }

    pub(crate) fn callback_starts(&mut self, process: ProcessId, run: RunId, callback: Callback) {
        let limit = self.plan.callbacks_ms.unwrap_or(0) * MILLISECOND;
        let calls = &mut self.processes[process].calls;
        let planted = self.plan.defect == Some(Defect::TransitionsAsToken);
        match callback {
            Callback::StopLeading { term, reason } => {
                self.tally.count(match reason {
                    StopReason::LeadershipLost => Seen::StopToldAfterLoss,
                    _ => Seen::StopTold,
                });
                if calls.owed.take() != Some(term.token) && !planted {
                    self.invariants
                        .violated(Rule::EndToldOnce, || format!("the end of term {} is not owed", term.token));
                }
                calls.stopping = Some(run);
                if self.plan.defect == Some(Defect::CallbackDeclaredGone) {
                    let ended = Input::Guest(run, GuestEvent::Ended(Outcome::Returned));
                    self.after(0, Event::Deliver(process, ended));
                }
            }
            Callback::NewLeader { identity } => {
                self.tally.count(Seen::LeaderTold);
                let next = calls.leaders.pop_front();
                if next.as_ref() != Some(&identity) {
                    self.invariants.violated(Rule::LeadersInOrder, || {
                        format!("{identity} is told to lead, and {next:?} is the next that did")
                    });
                }
                calls.leading = Some(run);
            }
        }
        // Its gate ends it when its time is over, or a tick later.
        let ends_by_itself = self.rng.u8(..4) > 0;
        if ends_by_itself {
            self.within(limit, Event::CallEnds(process, run, true));
        } else if self.plan.defect != Some(Defect::CallbackNotEnded) {
            let tick = self.rng.u64(0..5 * MILLISECOND);
            self.after(limit + tick, Event::CallEnds(process, run, false));
        }
    }

    pub(crate) fn call_ends(&mut self, process: ProcessId, run: RunId, in_time: bool) {
        if self.freeze(process, Event::CallEnds(process, run, in_time)) {
            return;
        }
        let calls = &mut self.processes[process].calls;
        let ended = calls.stopping.take_if(|stopping| *stopping == run).is_some()
            || calls.leading.take_if(|leading| *leading == run).is_some();
        if ended {
            if !in_time {
                self.tally.count(Seen::CallbackTimedOut);
            }
            let stopped = self.processes[process].calls.stopping.is_none();
            if in_time && stopped {
                self.processes[process].calls.permitted_until = None;
            }
            let unheard = self.plan.defect == Some(Defect::FailedCallbackUnheard);
            let outcome = if in_time || unheard { Outcome::Returned } else { Outcome::TimedOut };
            self.deliver(process, Input::Guest(run, GuestEvent::Ended(outcome)));
        }
    }

    /// A guest of the process is gone. Where its term is over, there is nothing to keep any more.
    pub(crate) fn permission_remains(&mut self, process: ProcessId, token: u64, until: BootTime) {
        let led = leading_in(&self.processes[process].gate.published) == Some(token);
        if self.plan.callbacks_ms.is_some() && led {
            self.processes[process].calls.permitted_until = Some(until);
        }
    }

    /// Its term has been lost, or another begins: there is nothing to keep any more.
    pub(crate) fn permission_is_anothers(&mut self, process: ProcessId) {
        self.processes[process].calls.permitted_until = None;
    }

    /// The process gives its Lease back.
    pub(crate) fn check_permission(&mut self, process: ProcessId) {
        let (now, who) = (self.boot(process), &self.processes[process].identity);
        let Some(until) = self.processes[process].calls.permitted_until else { return };
        if now < until {
            self.invariants.violated(Rule::ReleasedUnderPermission, || {
                format!("{who} releases the lease, and until {until:?} may last what its guest has permitted")
            });
        }
    }

    /// The process has given its term back.
    pub(crate) fn check_end_told(&mut self, process: ProcessId, token: u64) {
        let target = &self.processes[process];
        if target.calls.owed == Some(token) {
            let who = &target.identity;
            self.invariants
                .violated(Rule::EndToldOnce, || format!("{who} has released the lease, and told nobody before"));
        }
    }

    pub(crate) fn leader_heard(&mut self, process: ProcessId, leader: &str) {
        let calls = &mut self.processes[process].calls;
        if self.plan.callbacks_ms.is_some() && calls.newest.as_deref() != Some(leader) {
            calls.newest = Some(leader.to_owned());
            calls.leaders.push_back(leader.to_owned());
        }
    }

    pub(crate) fn leader_skipped(&mut self, process: ProcessId, leader: &str) {
        // Before its first module is ready, a replica cannot know that the module will not want to hear of them.
        if self.plan.callbacks_ms.is_none() {
            return;
        }
        let oldest = self.processes[process].calls.leaders.pop_front();
        if oldest.as_deref() != Some(leader) {
            self.invariants.violated(Rule::LeadersInOrder, || format!("{leader} is left out, and not {oldest:?}"));
        }
    }
}
