//! A run has ended by itself: the term's work is done, or another run follows, after a delay that grows, or another module's
//! turn, or another replica's.

use std::time::Duration;

use crate::{election::Leadership, time::BootTime};

use super::{Command, Module, OnReturn, Outcome, Running, State, StopReason, Task, modules::Verdict};

impl Task {
    /// The guest ended without having been asked to.
    pub(super) fn on_own_end(
        &mut self,
        now: BootTime,
        leadership: &Leadership,
        running: &Running,
        outcome: &Outcome,
        commands: &mut Vec<Command>,
    ) {
        if now.since(running.started) >= self.config.healthy_after || *outcome == Outcome::Returned {
            self.failures = 0;
        }
        if *outcome == Outcome::Returned {
            commands.extend(self.modules.worked(&running.module).map(Command::TellModules));
        }
        let replaced = self.modules.next(Some(running.term)) != Some(&running.module);
        match (outcome, self.config.on_return) {
            (Outcome::Returned, OnReturn::Release) => self.step_down(leadership, StopReason::SteppedDown, commands),
            // It has made room.
            (Outcome::Returned, OnReturn::Hold | OnReturn::Restart) if replaced => self.state = State::Idle,
            (Outcome::Returned, OnReturn::Hold) => self.state = State::Done(running.term),
            (Outcome::Returned, OnReturn::Restart) => self.wait(now, self.config.restart_delay, commands),
            (_, _) => self.on_failure(now, leadership, StopReason::SteppedDown, &running.module, commands),
        }
    }

    /// Another run after a delay that grows, or another module's turn, or another replica's.
    pub(super) fn on_failure(
        &mut self,
        now: BootTime,
        leadership: &Leadership,
        reason: StopReason,
        module: &Module,
        commands: &mut Vec<Command>,
    ) {
        match self.modules.failed(module) {
            // What takes over has not failed.
            Verdict::Another(notice) => {
                self.failures = 0;
                self.state = State::Idle;
                return commands.extend(notice.map(Command::TellModules));
            }
            Verdict::GiveUp => {
                self.failures = 0;
                return self.step_down(leadership, reason, commands);
            }
            Verdict::Again => {}
        }
        self.failures += 1;
        if self.failures >= self.config.failures_max {
            self.failures = 0;
            self.step_down(leadership, reason, commands);
        } else {
            let doublings = (self.failures - 1).min(16);
            let delay = self.config.restart_delay.saturating_mul(1 << doublings);
            self.wait(now, delay.min(self.config.restart_delay_max), commands);
        }
    }

    fn wait(&mut self, now: BootTime, delay: Duration, commands: &mut Vec<Command>) {
        self.state = State::Waiting { until: now + delay };
        commands.push(Command::TellRestart(delay));
    }
}
