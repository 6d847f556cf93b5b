//! What the guest of a term asks for about its checkpoint.
//!
//! - A save waits for the next write, and has it sent at once, or when [`SAVE_EVERY`] has passed since
//!   the one before. A write that conflicts, or whose answer is lost, is followed by another that
//!   carries the same, for as long as the term lasts.
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
        /// The last write that carries it.
        sent: Option<RequestId>,
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

    /// The save that this write carries is waited for no more.
    fn end_save(&mut self, written: RequestId, sent_at: BootTime) -> Option<CallId> {
        let carried = |waiting: &mut Waiting| matches!(waiting, Waiting::Save { sent, .. } if *sent == Some(written));
        let Waiting::Save { id, .. } = self.waiting.take_if(carried)? else { return None };
        self.from = sent_at + SAVE_EVERY;
        Some(id)
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

    pub(super) fn answer_load(&mut self, actions: &mut Vec<Action>) {
        let known = self.known.as_ref().and_then(|known| known.observation.version());
        let checkpoint = self.checkpoint();
        if let Some(calls) = self.calls()
            && calls.unsettled.is_none_or(|named| known > Some(named))
            && let Some(Waiting::Load(id)) = calls.waiting
        {
            calls.waiting = None;
            actions.push(Action::Answer(id, Answer::Loaded(checkpoint)));
        }
    }

    /// What the next renewal is to save.
    pub(super) fn to_be_saved(&self) -> Option<Checkpoint> {
        match &self.leading()?.calls.waiting {
            Some(Waiting::Save { state, .. }) => Some(Checkpoint::Saved(state.clone())),
            Some(Waiting::Load(_)) | None => None,
        }
    }

    pub(super) fn note_save(&mut self, write: RequestId, want: Want, request: &Request) {
        let Request::Write { based_on, .. } = request else { return };
        if let (Want::Renew, Some(calls)) = (want, self.calls())
            && let Some(Waiting::Save { sent, .. }) = &mut calls.waiting
        {
            *sent = Some(write);
            calls.unsettled = *based_on;
        }
    }

    pub(super) fn finish_save(&mut self, written: RequestId, sent_at: BootTime, actions: &mut Vec<Action>) {
        if let Some(id) = self.calls().and_then(|calls| calls.end_save(written, sent_at)) {
            actions.push(Action::Answer(id, Answer::Saved));
        }
    }

    /// The store does not take it: the Lease is renewed without it.
    pub(super) fn refuse_save(
        &mut self,
        refused: RequestId,
        sent_at: BootTime,
        failure: StoreFailure,
        actions: &mut Vec<Action>,
    ) {
        if let Some(id) = self.calls().and_then(|calls| calls.end_save(refused, sent_at)) {
            actions.push(Action::Answer(id, Answer::NotSaved(SaveFailure::Refused(failure))));
        }
    }
}
