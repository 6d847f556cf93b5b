//! What the guest of a term asks for about its checkpoint.
//!
//! - A save waits for the next write, and has it sent at once, or when [`SAVE_EVERY`] has passed since
//!   the one before. A write that conflicts, or whose answer is lost, is followed by another that
//!   carries the same, for as long as the term lasts; unless it turns out to stand there, which is as
//!   good as an answer.
//! - A load is answered from what is known of the Lease. Where a write that would change that has
//!   no known end (its run may be gone), the load waits until it has one, and has the Lease written at
//!   once: when any later version is known, that write has happened or never will.

use crate::{
    checkpoint::{Answer, Call, CallId, Checkpoint, SAVE_EVERY, SaveFailure, SavedState},
    lease::Version,
    ports::StoreFailure,
    time::BootTime,
};

use super::{Action, Election, Request, RequestId, State, Term, next_request::Want};

/// Of one term.
#[derive(Clone, Debug, Default)]
pub(super) struct GuestCalls {
    waiting: Option<Waiting>,
    /// No write is sent for a call before this.
    from: BootTime,
    /// A write with another checkpoint was sent that names this version, and is not known to have succeeded.
    unsettled: Option<Version>,
}

#[derive(Clone, Debug)]
enum Waiting {
    Load(CallId),
    Save {
        id: CallId,
        state: SavedState,
        /// The last write that carries it, and when it was sent.
        sent: Option<(RequestId, BootTime)>,
    },
}

impl GuestCalls {
    /// When a write is due for what is waited for.
    pub(super) fn due(&self) -> Option<BootTime> {
        self.waiting.is_some().then_some(self.from)
    }

    /// A write has succeeded: those before it have, too, or never will.
    pub(super) fn settle(&mut self) {
        self.unsettled = None;
    }

    pub(super) fn drop_call(&mut self) {
        self.waiting = None;
    }

    /// Every write that was sent for a guest has happened by this version, or never will.
    fn is_settled(&self, known: Option<Version>) -> bool {
        self.unsettled.is_none_or(|named| known > Some(named))
    }

    /// What this write carries is waited for no more.
    fn end_save(&mut self, write: RequestId) -> Option<CallId> {
        match self.waiting {
            Some(Waiting::Save { id, sent: Some((sent, at)), .. }) if sent == write => {
                self.waiting = None;
                self.from = at + SAVE_EVERY;
                Some(id)
            }
            _ => None,
        }
    }

    /// The call that can be answered by what is known of the Lease, and its answer.
    fn answered_by(&mut self, version: Option<Version>, checkpoint: Option<Checkpoint>) -> Option<(CallId, Answer)> {
        if !self.is_settled(version) {
            return None;
        }
        match &self.waiting {
            Some(Waiting::Load(id)) => {
                let id = *id;
                self.waiting = None;
                Some((id, Answer::Loaded(checkpoint)))
            }
            // Its answer is lost, or yet to come.
            Some(Waiting::Save { state, sent: Some((write, _)), .. })
                if checkpoint.is_some_and(|stands| stands == Checkpoint::Saved(state.clone())) =>
            {
                let write = *write;
                self.end_save(write).map(|id| (id, Answer::Saved))
            }
            _ => None,
        }
    }
}

impl Election {
    fn calls(&mut self) -> Option<&mut GuestCalls> {
        match &mut self.state {
            State::Leading(leading) => Some(&mut leading.calls),
            State::Standby => None,
        }
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.known.as_ref()?.observation.record()?.checkpoint.clone()
    }

    pub(super) fn on_call(&mut self, id: CallId, term: Option<Term>, call: Call, actions: &mut Vec<Action>) {
        let known = self.checkpoint();
        match &mut self.state {
            State::Leading(leading) if Some(leading.term) == term && !leading.releasing => {
                leading.calls.waiting = Some(match call {
                    Call::Load => Waiting::Load(id),
                    Call::Save(state) => Waiting::Save { id, state, sent: None },
                });
            }
            _ => actions.push(Action::Answer(
                id,
                match call {
                    Call::Load => Answer::Loaded(known),
                    Call::Save(_) => Answer::NotSaved(SaveFailure::NotLeading),
                },
            )),
        }
    }

    pub(super) fn drop_call(&mut self) {
        if let Some(calls) = self.calls() {
            calls.drop_call();
        }
    }

    pub(super) fn answer_by_what_is_known(&mut self, actions: &mut Vec<Action>) {
        let version = self.known.as_ref().and_then(|known| known.observation.version());
        let checkpoint = self.checkpoint();
        if let Some((id, answer)) = self.calls().and_then(|calls| calls.answered_by(version, checkpoint)) {
            actions.push(Action::Answer(id, answer));
        }
    }

    /// What the next renewal is to save.
    pub(super) fn to_be_saved(&self) -> Option<Checkpoint> {
        match &self.leading()?.calls.waiting {
            Some(Waiting::Save { state, .. }) => Some(Checkpoint::Saved(state.clone())),
            Some(Waiting::Load(_)) | None => None,
        }
    }

    pub(super) fn note_save(&mut self, write: RequestId, at: BootTime, want: Want, request: &Request) {
        let Request::Write { based_on, .. } = request else { return };
        if let (Want::Renew, Some(calls)) = (want, self.calls())
            && let Some(Waiting::Save { sent, .. }) = &mut calls.waiting
        {
            *sent = Some((write, at));
            calls.unsettled = *based_on;
        }
    }

    pub(super) fn finish_save(&mut self, written: RequestId, actions: &mut Vec<Action>) {
        if let Some(id) = self.calls().and_then(|calls| calls.end_save(written)) {
            actions.push(Action::Answer(id, Answer::Saved));
        }
    }

    /// The store does not take it: the Lease is renewed without it.
    pub(super) fn refuse_save(&mut self, refused: RequestId, failure: StoreFailure, actions: &mut Vec<Action>) {
        if let Some(id) = self.calls().and_then(|calls| calls.end_save(refused)) {
            actions.push(Action::Answer(id, Answer::NotSaved(SaveFailure::Refused(failure))));
        }
    }
}
