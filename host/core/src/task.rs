//! The life of one guest: started in a term, asked to stop, ended, started again.
//!
//! Pure, like the election. Invariants:
//!
//! - **3** The Lease is given up ([`Command::StepDown`]) only when no guest runs.
//! - **4** A guest is asked to stop before it is ended, except where the term is over.
//! - At most one guest exists at any time: the next starts only after the last one's
//!   [`GuestEvent::Ended`].
//! - A guest that has to report progress and falls silent is stopped, which is a failure like a trap; after
//!   several in a row the Lease is another's. So failover follows the health of the task, not only of the process.
//!
//! That a guest does not outlive its term does not depend on this machine: the guest's own gate
//! knows `valid_until` (invariant 2).

mod vocabulary;

use std::time::Duration;

use crate::{
    election::{Leadership, StayOut, Term},
    time::BootTime,
};

pub use self::vocabulary::{Command, Digest, GuestEvent, Input, OnReturn, Outcome, RunId, StopReason, TaskConfig};

#[derive(Clone, Debug)]
enum State {
    /// No guest, and nothing in the way of one.
    Idle,
    Running(Running),
    Stopping(Stopping),
    /// The term's work is done.
    Done(Term),
    /// The guest failed, or returned and is to be restarted.
    Waiting {
        until: BootTime,
    },
    Finished,
}

#[derive(Clone, Debug)]
struct Running {
    run: RunId,
    term: Term,
    module: Digest,
    started: BootTime,
    /// When it last reported progress; its start, until it does.
    reported: BootTime,
}

#[derive(Clone, Debug)]
struct Stopping {
    guest: Running,
    reason: StopReason,
    /// When the grace time is over.
    end_at: BootTime,
    /// [`Command::End`] was given.
    ended: bool,
}

impl Running {
    /// By when it has to report progress, if it has to.
    fn report_due(&self, config: &TaskConfig) -> Option<BootTime> {
        config.progress_deadline.map(|deadline| self.reported + deadline)
    }
}

impl Stopping {
    /// The guest is on its way out already; when it is gone, so is the Lease.
    fn step_down(&mut self) {
        if self.reason != StopReason::Shutdown {
            self.reason = StopReason::SteppedDown;
        }
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Task {
    config: TaskConfig,
    state: State,
    module: Option<Digest>,
    runs: u64,
    /// Failures in a row.
    failures: u32,
    shutting_down: bool,
}

impl Task {
    /// A task without a module.
    pub fn new(config: TaskConfig) -> Self {
        Self { config, state: State::Idle, module: None, runs: 0, failures: 0, shutting_down: false }
    }

    /// Takes in one input, and the leadership as it is at `now`, and returns, in order, what to do.
    pub fn step(&mut self, now: BootTime, leadership: &Leadership, input: Input) -> Vec<Command> {
        let mut commands = Vec::new();
        match input {
            Input::Tick => {}
            Input::Shutdown => self.shutting_down = true,
            Input::Module(digest) => {
                if self.module.as_ref() != Some(&digest) {
                    self.failures = 0;
                    if matches!(self.state, State::Waiting { .. } | State::Done(_)) {
                        self.state = State::Idle;
                    }
                }
                self.module = Some(digest);
            }
            Input::Guest(run, event) if Some(run) == self.run() => {
                self.on_guest(now, leadership, event, &mut commands);
            }
            Input::Guest(..) => {}
        }
        self.advance(now, leadership, &mut commands);
        commands
    }

    /// When [`Task::step`] has to be called next if nothing else happens; after the last step.
    pub fn next_deadline(&self) -> Option<BootTime> {
        match &self.state {
            State::Running(running) => running.report_due(&self.config),
            State::Stopping(Stopping { end_at, ended: false, .. }) => Some(*end_at),
            State::Waiting { until } => Some(*until),
            _ => None,
        }
    }

    /// The run whose guest exists.
    pub fn run(&self) -> Option<RunId> {
        match &self.state {
            State::Running(running) | State::Stopping(Stopping { guest: running, .. }) => Some(running.run),
            _ => None,
        }
    }

    fn on_guest(&mut self, now: BootTime, leadership: &Leadership, event: GuestEvent, commands: &mut Vec<Command>) {
        match (event, &mut self.state) {
            (GuestEvent::SteppedDown, State::Running(_)) => {
                self.ask_to_stop(now, StopReason::SteppedDown, commands);
            }
            (GuestEvent::SteppedDown, State::Stopping(stopping)) => stopping.step_down(),
            (GuestEvent::SteppedDown, _) => {}
            (GuestEvent::Reported(at), State::Running(running)) => running.reported = running.reported.max(at),
            (GuestEvent::Reported(_), _) => {}
            (GuestEvent::Ended(_), State::Stopping(stopping)) => {
                let reason = stopping.reason;
                let replaced = self.module.as_ref() != Some(&stopping.guest.module);
                self.state = State::Idle;
                match reason {
                    StopReason::SteppedDown => commands.push(Command::StepDown(StayOut::For(self.config.stay_out))),
                    // However long it had run before: what ends for want of progress was not healthy.
                    StopReason::Unresponsive if !replaced && !self.shutting_down => self.on_failure(now, commands),
                    _ => {}
                }
            }
            (GuestEvent::Ended(outcome), State::Running(running)) => {
                let running = running.clone();
                // The gate closed before this machine heard of it: no fault of the guest's.
                if matches!(outcome, Outcome::Ended(_)) && term_of(leadership) != Some(running.term) {
                    self.state = State::Idle;
                } else {
                    self.on_own_end(now, &running, &outcome, commands);
                }
            }
            (GuestEvent::Ended(_), _) => {}
        }
    }

    /// The guest ended without having been asked to.
    fn on_own_end(&mut self, now: BootTime, running: &Running, outcome: &Outcome, commands: &mut Vec<Command>) {
        if now.since(running.started) >= self.config.healthy_after || *outcome == Outcome::Returned {
            self.failures = 0;
        }
        match (outcome, self.config.on_return) {
            (Outcome::Returned, OnReturn::Hold) => self.state = State::Done(running.term),
            (Outcome::Returned, OnReturn::Release) => {
                self.state = State::Idle;
                commands.push(Command::StepDown(StayOut::For(self.config.stay_out)));
            }
            (Outcome::Returned, OnReturn::Restart) => self.wait(now, self.config.restart_delay, commands),
            (_, _) => self.on_failure(now, commands),
        }
    }

    /// Another run after a delay that grows, or another replica's turn.
    fn on_failure(&mut self, now: BootTime, commands: &mut Vec<Command>) {
        self.failures += 1;
        if self.failures >= self.config.failures_max {
            self.failures = 0;
            self.state = State::Idle;
            commands.push(Command::StepDown(StayOut::For(self.config.stay_out)));
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

    fn ask_to_stop(&mut self, now: BootTime, reason: StopReason, commands: &mut Vec<Command>) {
        if let State::Running(guest) = &self.state {
            commands.push(Command::AskToStop(guest.run, reason));
            let end_at = now + self.config.stop_grace;
            self.state = State::Stopping(Stopping { guest: guest.clone(), reason, end_at, ended: false });
        }
    }

    fn advance(&mut self, now: BootTime, leadership: &Leadership, commands: &mut Vec<Command>) {
        let term = term_of(leadership);
        let certain = matches!(leadership, Leadership::Leading { certain: true, .. });
        let asked_to_step_down = matches!(leadership, Leadership::Leading { step_down: true, .. });
        // A step-down that was just commanded takes effect before the next step.
        let stepping_down = commands.iter().any(|command| matches!(command, Command::StepDown(_)));
        if let State::Waiting { until } = self.state
            && now >= until
        {
            self.state = State::Idle;
        }
        match &mut self.state {
            State::Running(running) if term != Some(running.term) => {
                let (guest, reason) = (running.clone(), StopReason::LeadershipLost);
                commands.push(Command::End(guest.run, reason));
                self.state = State::Stopping(Stopping { guest, reason, end_at: now, ended: true });
            }
            State::Running(_) if self.shutting_down => self.ask_to_stop(now, StopReason::Shutdown, commands),
            State::Running(_) if asked_to_step_down => self.ask_to_stop(now, StopReason::SteppedDown, commands),
            State::Running(_) if !certain => self.ask_to_stop(now, StopReason::LeadershipLost, commands),
            State::Running(running) if self.module.as_ref() != Some(&running.module) => {
                self.ask_to_stop(now, StopReason::ModuleReplaced, commands);
            }
            State::Running(running) if running.report_due(&self.config).is_some_and(|due| now >= due) => {
                self.ask_to_stop(now, StopReason::Unresponsive, commands);
            }
            // It is on its way out already: what was asked for becomes of the Lease all the same.
            State::Stopping(stopping) if asked_to_step_down => stopping.step_down(),
            State::Running(_) | State::Stopping(_) => {}
            State::Finished => {}
            _ if self.shutting_down => {
                self.state = State::Finished;
                commands.push(Command::StepDown(StayOut::Forever));
            }
            _ if asked_to_step_down && !stepping_down => {
                self.state = State::Idle;
                commands.push(Command::StepDown(StayOut::For(self.config.stay_out)));
            }
            State::Done(done) if term.is_none_or(|term| term == *done) => {}
            State::Waiting { .. } => {}
            State::Idle | State::Done(_) => {
                if let (Some(term), true, false, Some(module)) = (term, certain, stepping_down, &self.module) {
                    self.runs += 1;
                    let run = RunId(self.runs);
                    commands.push(Command::Start { run, module: module.clone(), term });
                    let (module, started, reported) = (module.clone(), now, now);
                    self.state = State::Running(Running { run, term, module, started, reported });
                }
            }
        }
        // After the above, so that no grace at all is one step as well.
        if let State::Stopping(stopping) = &mut self.state
            && !stopping.ended
            && (now >= stopping.end_at || term != Some(stopping.guest.term))
        {
            stopping.ended = true;
            commands.push(Command::End(stopping.guest.run, stopping.reason));
        }
    }
}

fn term_of(leadership: &Leadership) -> Option<Term> {
    match leadership {
        Leadership::Leading { term, .. } => Some(*term),
        Leadership::Standby { .. } => None,
    }
}
