//! The calls beside the guest's: `on-stop-leading` and `on-new-leader`. Each is over in a limited time, by its own gate.

use std::time::{Duration, Instant};

use leasehold_core::{
    election::{Leadership, Term},
    ports::LeaseStore,
    task::{Callback, Digest, Outcome, RunId, StopReason},
    time::BootTime,
};

use super::Supervisor;
use crate::{
    clock,
    guest::{
        runtime::{Run, RunningGuest},
        world::Call,
    },
};

/// Those that are under way: one of each kind at most.
#[derive(Default)]
pub(super) struct Callbacks(Vec<Called>);

/// One that is under way.
pub(super) struct Called {
    run: RunId,
    pub(super) callback: Callback,
    /// The term it was told of.
    term: Option<Term>,
    running: RunningGuest,
    pub(super) begun: Instant,
}

impl Callbacks {
    /// They may ask how long this replica will lead.
    pub(super) fn publish(&self, leadership: &Leadership) {
        for called in &self.0 {
            match leadership {
                Leadership::Leading { term, valid_until, .. } if Some(*term) == called.term => {
                    called.running.lead().extend(*valid_until);
                }
                _ => called.running.lead().close(StopReason::LeadershipLost),
            }
        }
    }

    /// It is gone, if it was one.
    pub(super) fn ended(&mut self, run: RunId) -> Option<Called> {
        let index = self.0.iter().position(|called| called.run == run)?;
        Some(self.0.swap_remove(index))
    }
}

impl<S: LeaseStore> Supervisor<S> {
    pub(super) fn call(&mut self, run: RunId, digest: &Digest, callback: Callback) {
        let Some(module) = self.at_hand.get(digest) else {
            let why = "its module is not at hand";
            self.report.callback_ended(&callback, &Outcome::NotStarted(why.into()), Duration::ZERO, Duration::ZERO);
            return self.tell_unstarted(run, why);
        };
        let led = match self.replica.leadership(clock::boot()) {
            Leadership::Leading { term, valid_until, .. } => Some((term, valid_until)),
            Leadership::Standby { .. } => None,
        };
        let (term, call) = match &callback {
            Callback::StopLeading { term, reason } => (Some(*term), Call::StopLeading(*reason)),
            Callback::NewLeader { identity } => (led.map(|(term, _)| term), Call::NewLeader(identity.clone())),
        };
        let valid_until = led.filter(|(led, _)| Some(*led) == term).map_or(BootTime::ZERO, |(_, until)| until);
        let of_term = self.guest_term(term.map_or(0, |term| term.token), valid_until);
        let config = &self.config;
        let call = Run { id: run, module, call, term: of_term };
        let running = self.guests.start(call, config, &self.report.subject, self.events.clone());
        self.callbacks.0.push(Called { run, callback, term, running, begun: Instant::now() });
    }
}
