//! The Lease is given up, or was lost: first whoever is to hear of the term's end does, and the leader's label is
//! taken off.

use crate::{
    election::{Leadership, StayOut, Term},
    label::{LabelAction, LabelNotice},
    time::BootTime,
};

use super::{Callback, Command, Digest, Outcome, RunId, State, StopReason, Task, term_of};

/// `on-stop-leading` runs, and no guest.
#[derive(Clone, Debug)]
pub(super) struct Calling {
    pub(super) run: RunId,
    term: Term,
    pub(super) then: Then,
}

/// What follows when `on-stop-leading` has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    StepDown(StayOut),
    /// The term is lost; the next guest starts no earlier than this.
    Wait {
        until: BootTime,
    },
}

/// Nothing of the task runs any more, and the Lease is about to be given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    stay_out: StayOut,
    /// It is kept until then: what `on-stop-leading` was to bring to an end, and has not, may last as long as the term was
    /// certain then, and no longer (`leadership.remaining` told its instances no later time).
    pub(super) kept_until: Option<BootTime>,
}

/// A term in which a guest has run whose module is to hear of the term's end.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) term: Term,
    pub(super) module: Digest,
}

impl Task {
    /// No guest runs any more: the Lease is another's, for a while.
    pub(super) fn step_down(&mut self, leadership: &Leadership, reason: StopReason, commands: &mut Vec<Command>) {
        self.give_up(leadership, reason, StayOut::For(self.config.stay_out), commands);
    }

    pub(super) fn give_up(
        &mut self,
        leadership: &Leadership,
        reason: StopReason,
        stay_out: StayOut,
        commands: &mut Vec<Command>,
    ) {
        match self.owed.take() {
            Some(owed) => {
                let reason = match term_of(leadership) == Some(owed.term) {
                    true => reason,
                    false => StopReason::LeadershipLost,
                };
                self.call_on_stop_leading(owed, reason, Then::StepDown(stay_out), commands);
            }
            None => self.state = State::Leaving(Leaving { stay_out, kept_until: None }),
        }
    }

    /// Gives the Lease up, if nothing has to come before that any more.
    pub(super) fn leave(&mut self, now: BootTime, leadership: &Leadership, commands: &mut Vec<Command>) {
        let State::Leaving(leaving) = &mut self.state else { return };
        if self.shutting_down {
            leaving.stay_out = StayOut::Forever;
        }
        let stay_out = leaving.stay_out;
        let leads = term_of(leadership).is_some();
        // Without the Lease there is nothing to keep from others.
        leaving.kept_until = leaving.kept_until.filter(|until| leads && now < *until);
        let waits_until = self.label.as_mut().and_then(|label| {
            label.want(now, None);
            // Who has lost the Lease, and goes on, takes it off all the same, but nobody waits for that.
            label.waits_until(leads).filter(|_| leads || self.shutting_down)
        });
        if leaving.kept_until.is_some() || waits_until.is_some_and(|until| now < until) {
            return;
        }
        commands.extend(waits_until.map(|_| Command::TellLabel(LabelNotice::LeftOn)));
        self.state = if stay_out == StayOut::Forever { State::Finished } else { State::Idle };
        commands.push(Command::StepDown(stay_out));
    }

    /// The label is on while this replica leads, and its term is not about to end.
    pub(super) fn advance_label(&mut self, now: BootTime, leadership: &Leadership, commands: &mut Vec<Command>) {
        let ends = self.giving_up().is_some() || commands.iter().any(|command| matches!(command, Command::StepDown(_)));
        let wanted = match leadership {
            Leadership::Leading { term, certain: true, step_down: false, .. } if !ends => Some(term.token),
            _ => None,
        };
        let Some(label) = &mut self.label else { return };
        let mut actions = Vec::new();
        label.want(now, wanted);
        label.advance(now, &mut actions);
        tell_label(actions, commands);
    }

    pub(super) fn call_on_stop_leading(
        &mut self,
        owed: Owed,
        reason: StopReason,
        then: Then,
        commands: &mut Vec<Command>,
    ) {
        self.runs += 1;
        let run = RunId(self.runs);
        let callback = Callback::StopLeading { term: owed.term, reason };
        commands.push(Command::Call { run, module: owed.module, callback });
        self.state = State::Calling(Calling { run, term: owed.term, then });
    }

    /// A callback is gone, if this was one.
    pub(super) fn on_called(
        &mut self,
        run: RunId,
        outcome: &Outcome,
        leadership: &Leadership,
        commands: &mut Vec<Command>,
    ) {
        if self.new_leaders.ended(run) {
            return;
        }
        let calling = match &self.state {
            State::Calling(calling) if calling.run == run => calling.clone(),
            _ => return,
        };
        match calling.then {
            Then::Wait { until } => self.state = State::Waiting { until },
            Then::StepDown(stay_out) => {
                let kept_until = match leadership {
                    Leadership::Leading { term, valid_until, .. }
                        if *term == calling.term && *outcome != Outcome::Returned =>
                    {
                        Some(*valid_until)
                    }
                    _ => None,
                };
                commands.extend(kept_until.map(|until| Command::TellKept { until }));
                self.state = State::Leaving(Leaving { stay_out, kept_until });
            }
        }
    }
}

pub(super) fn tell_label(actions: Vec<LabelAction>, commands: &mut Vec<Command>) {
    commands.extend(actions.into_iter().map(|action| match action {
        LabelAction::Send { id, request } => Command::SendLabel { id, request },
        LabelAction::Tell(notice) => Command::TellLabel(notice),
    }));
}
