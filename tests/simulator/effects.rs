//! What guests do to the world: effects that carry their term's token, some of which are long under way, and
//! what receives them. It remembers the highest token, and refuses lower ones.

use leasehold_core::task::RunId;

use crate::{
    clock::{MILLISECOND, SECOND},
    defect::Defect,
    invariants::Rule,
    tally::Seen,
    world::{Event, ProcessId, World},
};

#[derive(Debug, Default)]
pub(crate) struct Receiver {
    highest: Option<u64>,
    /// Of the last effect it accepted: which term it was, counted in the order in which they began.
    last_term: usize,
    /// Nobody can read this: the tokens in the order in which their terms began.
    terms: Vec<u64>,
}

impl Receiver {
    /// `late`: it is known to have begun only after a later one has.
    pub(crate) fn term_begins(&mut self, token: u64, late: bool) {
        let at = if late { self.terms.partition_point(|begun| *begun < token) } else { self.terms.len() };
        self.terms.insert(at, token);
        self.last_term += usize::from(late && at <= self.last_term);
    }

    fn term_of(&self, token: u64) -> Option<usize> {
        self.terms.iter().rposition(|begun| *begun == token)
    }
}

impl World {
    /// The guest is about to have an effect: its gate lets it out while the term lasts.
    pub(crate) fn guest_acts(&mut self, process: ProcessId, run: RunId) {
        if self.freeze(process, Event::GuestActs(process, run)) {
            return;
        }
        let now = self.boot(process);
        let Some(guest) = self.guest(process, run) else { return };
        let (executes, bound, token) = (guest.executes, guest.bound, guest.token);
        if !executes || now >= bound {
            return;
        }
        // Most of them at once, some in a queue, a retry, a slow network.
        let delay = match self.rng.u32(0..10) {
            0 => self.rng.u64(0..60 * SECOND),
            _ => self.rng.u64(0..50 * MILLISECOND),
        };
        self.after(delay, Event::EffectArrives(token));
        let pause = if self.is_quiet() { 60 * SECOND } else { 15 * SECOND };
        self.within(pause, Event::GuestActs(process, run));
    }

    pub(crate) fn effect_arrives(&mut self, token: u64) {
        let receiver = &mut self.receiver;
        let Some(term) = receiver.term_of(token) else {
            return self.invariants.violated(Rule::EffectOrder, || format!("an effect of no term: token {token}"));
        };
        if receiver.highest.is_some_and(|highest| token < highest)
            && self.plan.defect != Some(Defect::ReceiverIgnoresTokens)
        {
            self.tally.count(Seen::EffectRefused);
            let last = receiver.last_term;
            if term > last {
                self.invariants.violated(Rule::EffectOrder, || {
                    format!(
                        "an effect with token {token} is refused, though its term is the newest of all that had any"
                    )
                });
            }
            return;
        }
        self.tally.count(Seen::EffectAccepted);
        if term < receiver.last_term {
            let newer = receiver.terms[receiver.last_term];
            self.invariants.violated(Rule::EffectOrder, || {
                format!("an effect with token {token} is accepted after one of a later term, with token {newer}")
            });
        }
        let receiver = &mut self.receiver;
        receiver.highest = receiver.highest.max(Some(token));
        receiver.last_term = receiver.last_term.max(term);
    }
}
