//! The life of one guest: started in a term, asked to stop, ended, started again.
//!
//! Pure, like the election. Invariants:
//!
//! - **3** The Lease is given up ([`Command::StepDown`]) only when no guest runs.
//! - **4** A guest is asked to stop before it is ended, except where the term is over.
//! - At most one guest exists at any time: the next starts only after the last one's
//!   [`GuestEvent::Ended`].
//!
//! That a guest does not outlive its term does not depend on this machine: the guest's own gate
//! knows `valid_until` (invariant 2).

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    election::{Leadership, StayOut, Term},
    time::BootTime,
};

/// Why a guest is to stop: `stop-reason` of the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The term is over, or could not be renewed by the renew deadline.
    LeadershipLost,
    /// The host is ending.
    Shutdown,
    /// A newer module is ready.
    ModuleReplaced,
    /// The guest, or a person, gave the leadership up.
    SteppedDown,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadershipLost => "leadership-lost",
            Self::Shutdown => "shutdown",
            Self::ModuleReplaced => "module-replaced",
            Self::SteppedDown => "stepped-down",
        })
    }
}

/// How a guest's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `on-start-leading` returned ok.
    Returned,
    /// `on-start-leading` returned this error.
    Error(String),
    /// It trapped, with this message and backtrace.
    Trap(String),
    /// It reached its memory limit and then trapped or returned an error, with this message.
    OutOfMemory(String),
    /// It was ended from outside, where it stood.
    Ended(StopReason),
    /// No instruction of it ran: it could not be instantiated, for this reason.
    NotStarted(String),
}

impl Outcome {
    /// A word for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Error(_) => "error",
            Self::Trap(_) => "trap",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::Ended(_) => "ended",
            Self::NotStarted(_) => "not-started",
        }
    }

    /// What the guest or the runtime said about it.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Error(detail) | Self::Trap(detail) | Self::OutOfMemory(detail) | Self::NotStarted(detail) => {
                Some(detail)
            }
            Self::Returned | Self::Ended(_) => None,
        }
    }
}

/// What becomes of the Lease when `on-start-leading` has returned ok.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReturn {
    /// It is kept: the term's work is done.
    #[default]
    Hold,
    /// It is released, for another replica's turn.
    Release,
    /// The guest is started again after a delay.
    Restart,
}

/// What stays the same for the life of a [`Task`].
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// How long a guest that was asked to stop may take.
    pub stop_grace: Duration,
    /// See [`OnReturn`].
    pub on_return: OnReturn,
    /// The delay before the first restart; doubled with each failure in a row.
    pub restart_delay: Duration,
    /// The longest delay before a restart.
    pub restart_delay_max: Duration,
    /// This many failures in a row release the Lease, so that another replica tries.
    pub failures_max: u32,
    /// A run that lasted this long was no failure at start: the count begins anew.
    pub healthy_after: Duration,
    /// How long to let others go first after the Lease was released because of the task.
    pub stay_out: Duration,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            stop_grace: Duration::from_secs(5),
            on_return: OnReturn::default(),
            restart_delay: Duration::from_secs(1),
            restart_delay_max: Duration::from_secs(30),
            failures_max: 5,
            healthy_after: Duration::from_secs(60),
            stay_out: Duration::from_secs(30),
        }
    }
}

/// One call of `on-start-leading`, from its start to its end. Grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub u64);

/// A compiled, linked and checked module, by the digest of its bytes (`sha256:...`).
pub type Digest = Arc<str>;

/// What a guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// It called `step-down`.
    SteppedDown,
    /// It is gone: its future and its store are dropped, and nothing of it will run again.
    Ended(Outcome),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed, or the leadership has changed.
    Tick,
    /// This module is ready to be instantiated; the one before is out of date.
    Module(Digest),
    /// This run's guest did something.
    Guest(RunId, GuestEvent),
    /// The host was asked to end.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Instantiate the module and call `on-start-leading`.
    Start {
        /// To be given back with its events.
        run: RunId,
        /// What to instantiate.
        module: Digest,
        /// The term it runs in.
        term: Term,
    },
    /// Make `subscribe-stop` ready.
    AskToStop(RunId, StopReason),
    /// End it where it stands.
    End(RunId, StopReason),
    /// Give the Lease up; no guest runs.
    StepDown(StayOut),
    /// Tell people: the guest will be started again after this delay.
    TellRestart(Duration),
}

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
}

#[derive(Clone, Debug)]
struct Stopping {
    run: RunId,
    term: Term,
    reason: StopReason,
    /// When the grace time is over.
    end_at: BootTime,
    /// [`Command::End`] was given.
    ended: bool,
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
            State::Stopping(Stopping { end_at, ended: false, .. }) => Some(*end_at),
            State::Waiting { until } => Some(*until),
            _ => None,
        }
    }

    /// The run whose guest exists.
    pub fn run(&self) -> Option<RunId> {
        match &self.state {
            State::Running(Running { run, .. }) | State::Stopping(Stopping { run, .. }) => Some(*run),
            _ => None,
        }
    }

    fn on_guest(&mut self, now: BootTime, leadership: &Leadership, event: GuestEvent, commands: &mut Vec<Command>) {
        match (event, &mut self.state) {
            (GuestEvent::SteppedDown, State::Running(_)) => {
                self.ask_to_stop(now, StopReason::SteppedDown, commands);
            }
            // It is on its way out already: what it wants becomes of the Lease all the same.
            (GuestEvent::SteppedDown, State::Stopping(stopping)) if stopping.reason != StopReason::Shutdown => {
                stopping.reason = StopReason::SteppedDown;
            }
            (GuestEvent::SteppedDown, _) => {}
            (GuestEvent::Ended(_), State::Stopping(stopping)) => {
                let reason = stopping.reason;
                self.state = State::Idle;
                if reason == StopReason::SteppedDown {
                    commands.push(Command::StepDown(StayOut::For(self.config.stay_out)));
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
        let step_down = Command::StepDown(StayOut::For(self.config.stay_out));
        match (outcome, self.config.on_return) {
            (Outcome::Returned, OnReturn::Hold) => self.state = State::Done(running.term),
            (Outcome::Returned, OnReturn::Release) => {
                self.state = State::Idle;
                commands.push(step_down);
            }
            (Outcome::Returned, OnReturn::Restart) => self.wait(now, self.config.restart_delay, commands),
            (_, _) => {
                self.failures += 1;
                if self.failures >= self.config.failures_max {
                    self.failures = 0;
                    self.state = State::Idle;
                    commands.push(step_down);
                } else {
                    let doublings = (self.failures - 1).min(16);
                    let delay = self.config.restart_delay.saturating_mul(1 << doublings);
                    self.wait(now, delay.min(self.config.restart_delay_max), commands);
                }
            }
        }
    }

    fn wait(&mut self, now: BootTime, delay: Duration, commands: &mut Vec<Command>) {
        self.state = State::Waiting { until: now + delay };
        commands.push(Command::TellRestart(delay));
    }

    fn ask_to_stop(&mut self, now: BootTime, reason: StopReason, commands: &mut Vec<Command>) {
        if let State::Running(Running { run, term, .. }) = self.state {
            commands.push(Command::AskToStop(run, reason));
            let end_at = now + self.config.stop_grace;
            self.state = State::Stopping(Stopping { run, term, reason, end_at, ended: false });
        }
    }

    fn advance(&mut self, now: BootTime, leadership: &Leadership, commands: &mut Vec<Command>) {
        let term = term_of(leadership);
        let certain = matches!(leadership, Leadership::Leading { certain: true, .. });
        if let State::Waiting { until } = self.state
            && now >= until
        {
            self.state = State::Idle;
        }
        match &mut self.state {
            State::Running(running) if term != Some(running.term) => {
                let Running { run, term, .. } = *running;
                let reason = StopReason::LeadershipLost;
                commands.push(Command::End(run, reason));
                self.state = State::Stopping(Stopping { run, term, reason, end_at: now, ended: true });
            }
            State::Running(_) if self.shutting_down => self.ask_to_stop(now, StopReason::Shutdown, commands),
            State::Running(_) if !certain => self.ask_to_stop(now, StopReason::LeadershipLost, commands),
            State::Running(running) if self.module.as_ref() != Some(&running.module) => {
                self.ask_to_stop(now, StopReason::ModuleReplaced, commands);
            }
            State::Running(_) | State::Stopping(_) => {}
            State::Finished => {}
            _ if self.shutting_down => {
                self.state = State::Finished;
                commands.push(Command::StepDown(StayOut::Forever));
            }
            State::Done(done) if term.is_none_or(|term| term == *done) => {}
            State::Waiting { .. } => {}
            State::Idle | State::Done(_) => {
                // A step-down that was just commanded takes effect before the next step.
                let stepping_down = commands.iter().any(|command| matches!(command, Command::StepDown(_)));
                if let (Some(term), true, false, Some(module)) = (term, certain, stepping_down, &self.module) {
                    self.runs += 1;
                    let run = RunId(self.runs);
                    commands.push(Command::Start { run, module: module.clone(), term });
                    self.state = State::Running(Running { run, term, module: module.clone(), started: now });
                }
            }
        }
        // After the above, so that no grace at all is one step as well.
        if let State::Stopping(stopping) = &mut self.state
            && !stopping.ended
            && (now >= stopping.end_at || term != Some(stopping.term))
        {
            stopping.ended = true;
            commands.push(Command::End(stopping.run, stopping.reason));
        }
    }
}

fn term_of(leadership: &Leadership) -> Option<Term> {
    match leadership {
        Leadership::Leading { term, .. } => Some(*term),
        Leadership::Standby { .. } => None,
    }
}
