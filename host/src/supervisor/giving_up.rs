//! Why the Lease is given up, for people: the core decides that it is, and says no more than that.

use crate::report::metrics::Released;

/// What was asked for, or done, since the last run began: each of these ends with the Lease given up, or with its term.
#[derive(Debug, Default)]
pub(super) struct GivingUp {
    asked: Option<Released>,
    /// How the last run ended.
    ended: Released,
}

impl GivingUp {
    /// Only who is to keep the Lease starts a run: what was asked for before that is done with.
    pub(super) fn run_started(&mut self) {
        self.asked = None;
    }

    /// Somebody wants it. What was first is the reason: the rest finds the Lease on its way out.
    pub(super) fn asked(&mut self, by: Released) {
        self.asked.get_or_insert(by);
    }

    /// Whether it returned ok.
    pub(super) fn run_ended(&mut self, ok: bool) {
        self.ended = if ok { Released::Returned } else { Released::Failed };
    }

    /// A Lease that nobody wanted released is, because of how the last run ended.
    pub(super) fn why(&self) -> Released {
        self.asked.unwrap_or(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_last_run_ended_is_why_unless_somebody_wanted_it_first() {
        let mut giving_up = GivingUp::default();
        giving_up.run_started();
        giving_up.run_ended(true);
        assert_eq!(giving_up.why(), Released::Returned);
        giving_up.run_started();
        giving_up.run_ended(false);
        assert_eq!(giving_up.why(), Released::Failed);
        giving_up.run_started();
        giving_up.asked(Released::SteppedDown);
        giving_up.asked(Released::Shutdown);
        giving_up.run_ended(true);
        assert_eq!(giving_up.why(), Released::SteppedDown);
    }

    #[test]
    fn what_was_asked_for_before_another_run_began_is_forgotten() {
        let mut giving_up = GivingUp::default();
        giving_up.run_started();
        // The term was lost before it could be given up.
        giving_up.asked(Released::Asked);
        giving_up.run_ended(true);
        giving_up.run_started();
        giving_up.run_ended(false);
        assert_eq!(giving_up.why(), Released::Failed);
    }
}
