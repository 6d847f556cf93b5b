//! Who leads, as `on-new-leader` is to hear of it: one after the other, in order.

use std::collections::VecDeque;

use super::RunId;

/// So many may wait while a call is under way; of more, the oldest is left out, and that is told.
const WAITING_MAX: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct NewLeaders {
    /// The newest, whether anybody is to hear of it or not.
    last: Option<String>,
    waiting: VecDeque<String>,
    /// The call that is under way.
    running: Option<RunId>,
}

impl NewLeaders {
    /// Takes in who leads; returns who is left out for it.
    pub(super) fn hear(&mut self, identity: String) -> Option<String> {
        if self.last.as_ref() == Some(&identity) {
            return None;
        }
        self.last = Some(identity.clone());
        self.waiting.push_back(identity);
        if self.waiting.len() > WAITING_MAX { self.waiting.pop_front() } else { None }
    }

    /// Nobody wants to hear of those who wait.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// The next to be told of, by this call.
    pub(super) fn call(&mut self, run: RunId) -> Option<String> {
        if self.running.is_some() {
            return None;
        }
        let identity = self.waiting.pop_front()?;
        self.running = Some(run);
        Some(identity)
    }

    /// Whether it was the call under way that has ended.
    pub(super) fn ended(&mut self, run: RunId) -> bool {
        self.running.take_if(|running| *running == run).is_some()
    }
}
