//! An election in which the API server picks the holder (coordinated leader election, KEP-4355).
//!
//! Its controller writes the name of a candidate into the Lease: onto an empty one, or over a holder whose record
//! has run out *by wall clocks*, which are not believed here. So to be named is not to lead:
//!
//! - A term begins with this replica's own first write onto the version that names it, counted from when that
//!   was sent; its version is the token.
//! - That write waits until every holder who was displaced, rather than having released, has run out by this
//!   process's own observation (invariant 8). What the watch did not tell of is waited for as if it had been
//!   renewed just now.
//!
//! The holder renews as ever. Where another is preferred, the guest is stopped, and then the Lease released
//! (invariant 3), for the API server to name that one. Whoever steps down, or ends, first deletes its candidate.

use crate::{
    candidate::CandidateInput,
    lease::Observation,
    time::{BootTime, Now},
};

use super::{Action, Election, Leading, Notice, State, candidacy::Candidacy};

#[derive(Clone, Debug, Default)]
pub(super) struct Coordinated {
    candidacy: Candidacy,
    /// As of the last step.
    standing: Standing,
    /// People know that it is named.
    told_named: bool,
}

/// Whether this replica is to have a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// The Lease is yet to be seen, or is another task's.
    #[default]
    Aside,
    /// It may be picked.
    Stands,
    /// It has stepped down, or is about to release for that, or is ending.
    Leaves,
}

/// Who asked a leader to give the Lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    /// The API server, for another.
    ForPreferred,
    /// A person; that holds whatever the API server says.
    ByPerson,
}

impl Election {
    pub(super) fn on_candidate(&mut self, now: Now, input: CandidateInput, actions: &mut Vec<Action>) {
        let retry = self.jittered_retry();
        if let Some(coordinated) = &mut self.coordinated {
            coordinated.candidacy.hear(now.boot, input, retry, actions);
        }
    }

    pub(super) fn advance_candidacy(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.coordinated.is_none() {
            return;
        }
        let standing = self.standing(now.boot);
        let timeout = self.config.timing.request_timeout();
        let retry = self.jittered_retry();
        if let Some(coordinated) = &mut self.coordinated {
            coordinated.standing = standing;
            coordinated.candidacy.advance(now.boot, standing == Standing::Stands, timeout, retry, actions);
        }
    }

    fn standing(&self, now: BootTime) -> Standing {
        let releasing = matches!(&self.state, State::Leading(leading) if leading.releasing);
        // Who only makes room for another may well be picked again.
        if self.is_out(now) || releasing && !self.yields_to_preferred() {
            return Standing::Leaves;
        }
        // Not before the Lease was seen: whoever is picked has to know whom it follows.
        let Some(known) = &self.known else { return Standing::Aside };
        match known.observation.record().and_then(|record| self.other_task(record)) {
            Some(_) => Standing::Aside,
            None => Standing::Stands,
        }
    }

    pub(super) fn next_candidacy_deadline(&self, now: BootTime) -> Option<BootTime> {
        let coordinated = self.coordinated.as_ref()?;
        let stands_again = self.out_until.filter(|until| *until > now);
        let request = coordinated.candidacy.next_deadline(self.config.timing.request_timeout());
        [stands_again, request].into_iter().flatten().min()
    }

    pub(super) fn heed_preference(&mut self, actions: &mut Vec<Action>) {
        let record = self.known.as_ref().and_then(|known| known.observation.record());
        if self.coordinated.is_some()
            && let State::Leading(leading @ Leading { releasing: false, asked: Asked::No, .. }) = &mut self.state
            && let Some(preferred) = record.and_then(|record| record.prefers_another_than(&self.config.identity))
        {
            leading.asked = Asked::ForPreferred;
            actions.push(Action::Tell(Notice::AnotherPreferred(leading.term, preferred.to_owned())));
        }
    }

    pub(super) fn yields_to_preferred(&self) -> bool {
        matches!(self.state, State::Leading(Leading { asked: Asked::ForPreferred, .. }))
    }

    /// It was the API server who wrote this replica into `seen`.
    pub(super) fn names_me(&self, seen: &Observation) -> bool {
        self.coordinated.is_some() && seen.names(&self.config.identity)
    }

    /// Before `seen` becomes known: does it displace somebody? Where others only take what is free, nothing but
    /// the API server's pick does.
    pub(super) fn note_displaced(&mut self, now: Now, seen: &Observation, told_all: bool) {
        let Some(record) = seen.record().filter(|record| record.holder.is_some()) else { return };
        let picked = record.is_picked();
        let lease = self.config.timing.lease();
        let until = match &self.known {
            Some(known) if told_all && known.observation.holder() == record.holder.as_deref() => None,
            Some(known) if told_all => (picked || self.coordinated.is_some()).then(|| known.free_at()),
            Some(known) => picked.then(|| now.boot + known.believed_for().max(lease)),
            None => picked.then(|| now.boot + lease),
        };
        self.displaced_until = self.displaced_until.max(until.unwrap_or(BootTime::ZERO));
    }

    pub(super) fn tell_named(&mut self, now: Now, actions: &mut Vec<Action>) {
        let named = self.known.as_ref().is_some_and(|known| self.names_me(&known.observation));
        let Some(coordinated) = &mut self.coordinated else { return };
        if named && !coordinated.told_named {
            actions.push(Action::Tell(Notice::Named(self.displaced_until.since(now.boot))));
        }
        coordinated.told_named = named;
    }

    /// Who competes in the open may take whatever is free; who stands as a candidate, only what it was named for. Also
    /// where another is preferred, or the Lease would stay with a holder who does not lead: it is taken to be released.
    pub(super) fn may_be_taken_by_me(&self, known: &Observation) -> bool {
        self.coordinated.is_none() || known.holder() == Some(&self.config.identity)
    }

    /// Named, and out of the race: nothing of a guest is left of who is out of it.
    pub(super) fn was_named_in_vain(&self) -> bool {
        let leaves = self.coordinated.as_ref().is_some_and(|coordinated| coordinated.standing == Standing::Leaves);
        leaves && self.known.as_ref().is_some_and(|known| self.names_me(&known.observation))
    }

    /// Who leaves the race deletes its candidate before it releases, or it might be picked again.
    pub(super) fn may_release(&self) -> bool {
        self.coordinated
            .as_ref()
            .is_none_or(|coordinated| coordinated.standing != Standing::Leaves || coordinated.candidacy.has_left())
    }

    pub(super) fn has_left_the_candidates(&self) -> bool {
        self.coordinated.as_ref().is_none_or(|coordinated| coordinated.candidacy.has_left())
    }
}
