//! The life of one guest: started in a term, asked to stop, ended, started again.
//!
//! Pure, like the election. Invariants:
//!
//! - **3** The Lease is given up ([`Command::StepDown`]) only when no guest runs, when `on-stop-leading`, of a
//!   module that has it, has been called and has returned (or, where it has failed, when the time is over that the guest was
//!   told its term would last: whatever it promised others for so long has not been taken back), and when the leader's label is off this Pod, if it may be on
//!   ([`crate::label`]; for that nobody waits for long).
//! - **4** A guest is asked to stop before it is ended, except where the term is over.
//! - At most one guest exists at any time: the next starts only after the last one's
//!   [`GuestEvent::Ended`].
//! - A guest that has to report progress and falls silent is stopped, which is a failure like a trap; after
//!   several in a row the Lease is another's. So failover follows the health of the task, not only of the process.
//!
//! A module that observes hears once of the end of each term in which it ran: before the Lease is given up, or after
//! it was lost; in any case after its guest is gone, and before the next one starts. The calls have a time limit that
//! somebody else sees to, so that they hold nothing up for longer than that. Who leads ([`Callback::NewLeader`]) it
//! hears beside whatever else happens.
//!
//! That a guest does not outlive its term does not depend on this machine: the guest's own gate
//! knows `valid_until` (invariant 2).

mod modules;
mod new_leaders;
mod run_end;
mod term_end;
mod vocabulary;

use crate::{
    election::{Leadership, StayOut, Term},
    label::LeaderLabel,
    lease::LeaseModules,
    time::BootTime,
};

pub use self::vocabulary::{
    Callback, Command, Digest, GuestEvent, Input, Module, ModulesView, OnReturn, Outcome, Remaining, RunId, StopReason,
    SwapNotice, SwapPolicy, TaskConfig, Waits,
};
use self::{
    modules::Modules,
    new_leaders::NewLeaders,
    term_end::{Calling, Leaving, Owed, Then},
};

#[derive(Clone, Debug)]
enum State {
    /// No guest, and nothing in the way of one.
    Idle,
    Running(Running),
    Stopping(Stopping),
    Calling(Calling),
    /// No component of this task runs any more: then the Lease is given up.
    Leaving(Leaving),
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
    module: Module,
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

impl State {
    /// The guest that exists.
    fn running(&self) -> Option<&Running> {
        match self {
            Self::Running(running) | Self::Stopping(Stopping { guest: running, .. }) => Some(running),
            _ => None,
        }
    }
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
    modules: Modules,
    /// The term in which it last heard what stands on the Lease about modules.
    heard_in: Option<Term>,
    runs: u64,
    /// Failures in a row.
    failures: u32,
    shutting_down: bool,
    owed: Option<Owed>,
    new_leaders: NewLeaders,
    label: Option<LeaderLabel>,
}

impl Task {
    /// A task without a module.
    pub fn new(config: TaskConfig) -> Self {
        Self {
            modules: Modules::new(&config),
            label: config.leader_label.then(LeaderLabel::default),
            config,
            state: State::Idle,
            heard_in: None,
            runs: 0,
            failures: 0,
            shutting_down: false,
            owed: None,
            new_leaders: NewLeaders::default(),
        }
    }

    /// Takes in one input, and the leadership as it is at `now`, and returns, in order, what to do.
    pub fn step(&mut self, now: BootTime, leadership: &Leadership, input: Input) -> Vec<Command> {
        let mut commands = Vec::new();
        // Whatever the input says, what time has shown to work does.
        self.end_probation(now, &mut commands);
        match input {
            Input::Tick => {}
            Input::Shutdown => self.shutting_down = true,
            Input::Module(module) => {
                let term = term_of(leadership);
                let before = self.modules.next(term).cloned();
                self.modules.offer(module);
                if self.modules.next(term) != before.as_ref() {
                    self.failures = 0;
                    match &mut self.state {
                        State::Waiting { .. } | State::Done(_) => self.state = State::Idle,
                        State::Calling(Calling { then: Then::Wait { until }, .. }) => *until = now,
                        _ => {}
                    }
                }
            }
            Input::NewLeader(identity) => {
                commands.extend(self.new_leaders.hear(identity).map(Command::TellSkipped));
            }
            Input::Guest(run, event) if Some(run) == self.run() => {
                self.on_guest(now, leadership, event, &mut commands);
            }
            Input::Guest(run, GuestEvent::Ended(outcome)) => {
                self.on_called(run, &outcome, leadership, &mut commands);
            }
            Input::Guest(..) => {}
            Input::Label(input) => {
                if let Some(label) = &mut self.label {
                    let mut actions = Vec::new();
                    label.hear(now, input, &mut actions);
                    term_end::tell_label(actions, &mut commands);
                }
            }
        }
        self.advance(now, leadership, &mut commands);
        self.leave(now, leadership, &mut commands);
        self.advance_label(now, leadership, &mut commands);
        self.end_probation(now, &mut commands);
        self.call_on_new_leader(&mut commands);
        let running = self.state.running().map(|running| (&running.module, running.term));
        commands.extend(self.modules.news(running).into_iter().map(Command::TellModules));
        commands
    }

    /// What the Lease says about modules, as it was last seen: to be told before each step. Who leads goes by it only
    /// when its term begins.
    pub fn hear(&mut self, leadership: &Leadership, on_lease: &LeaseModules) {
        let term = term_of(leadership);
        if term.is_none() || term != self.heard_in {
            self.modules.hear(on_lease);
        }
        self.heard_in = term;
    }

    /// What the Lease is to say about modules, if this replica leads.
    pub fn on_lease(&self, leadership: &Leadership) -> LeaseModules {
        let running = self.state.running().map(|running| &running.module);
        self.modules.on_lease(running.or_else(|| self.modules.next(term_of(leadership))))
    }

    /// Which modules there are.
    pub fn modules(&self) -> ModulesView {
        self.modules.view(self.state.running().map(|running| (&running.module, running.term)))
    }

    /// Whether this module may yet be started, or called.
    pub fn needs(&self, module: &Digest) -> bool {
        self.modules.needs(module) || self.owed.as_ref().is_some_and(|owed| owed.module == *module)
    }

    /// When [`Task::step`] has to be called next if nothing else happens; after the last step.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let label = self.label.as_ref().and_then(LeaderLabel::next_deadline);
        let state = match &self.state {
            State::Running(running) => {
                let probation_ends = self.modules.probation_ends(&running.module, running.started);
                [running.report_due(&self.config), probation_ends].into_iter().flatten().min()
            }
            State::Stopping(Stopping { end_at, ended: false, .. }) => Some(*end_at),
            State::Waiting { until } => Some(*until),
            State::Leaving(leaving) => leaving.kept_until.into_iter().chain(self.label_waits_until()).max(),
            _ => None,
        };
        [state, label].into_iter().flatten().min()
    }

    /// Until when a Lease that is given up waits for the leader's label.
    fn label_waits_until(&self) -> Option<BootTime> {
        self.label.as_ref()?.waits_until(true)
    }

    /// Whether all that carry the leader's label are to be watched: from the beginning each time that this becomes true.
    pub fn watches_label(&self) -> bool {
        self.label.as_ref().is_some_and(LeaderLabel::watches)
    }

    /// The run whose guest exists.
    pub fn run(&self) -> Option<RunId> {
        self.state.running().map(|running| running.run)
    }

    /// The run that may have effects, and the term it has them in: its guest exists, and is not made to end.
    pub fn acting(&self) -> Option<(RunId, Term)> {
        match &self.state {
            State::Running(running) | State::Stopping(Stopping { guest: running, ended: false, .. }) => {
                Some((running.run, running.term))
            }
            _ => None,
        }
    }

    /// Why the Lease is about to be given up, or the term to end, if the task knows of it. (A guest that is replaced, or
    /// has failed, is followed by another in the same term.)
    pub fn giving_up(&self) -> Option<StopReason> {
        match &self.state {
            _ if self.shutting_down => Some(StopReason::Shutdown),
            State::Stopping(Stopping { reason, .. }) => match reason {
                StopReason::LeadershipLost | StopReason::Shutdown | StopReason::SteppedDown => Some(*reason),
                StopReason::ModuleReplaced | StopReason::Unresponsive => None,
            },
            State::Calling(Calling { then: Then::StepDown(_), .. }) | State::Leaving(_) => {
                Some(StopReason::SteppedDown)
            }
            _ => None,
        }
    }

    /// What still has to end before the Lease can be given back, where the host is to end.
    pub fn remaining(&self) -> Option<Remaining> {
        match &self.state {
            _ if !self.shutting_down => None,
            State::Running(_) => None,
            State::Stopping(Stopping { ended: true, .. }) => Some(Remaining::Ended),
            State::Stopping(Stopping { end_at, .. }) => Some(Remaining::Grace { until: *end_at }),
            State::Calling(_) => Some(Remaining::Callback),
            State::Leaving(Leaving { kept_until: Some(until), .. }) => Some(Remaining::Permitted { until: *until }),
            State::Leaving(_) => self.label_waits_until().map(|until| Remaining::Label { until }),
            State::Idle | State::Done(_) | State::Waiting { .. } | State::Finished => None,
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
                let (reason, guest) = (stopping.reason, stopping.guest.clone());
                let replaced = self.modules.next(Some(guest.term)) != Some(&guest.module);
                self.state = State::Idle;
                match reason {
                    StopReason::SteppedDown => self.step_down(leadership, reason, commands),
                    // However long it had run before: what ends for want of progress was not healthy.
                    StopReason::Unresponsive if !replaced && !self.shutting_down => {
                        self.on_failure(now, leadership, reason, &guest.module, commands);
                    }
                    _ => {}
                }
            }
            (GuestEvent::Ended(outcome), State::Running(running)) => {
                let running = running.clone();
                // The gate closed before this machine heard of it: no fault of the guest's.
                if matches!(outcome, Outcome::Ended(_)) && term_of(leadership) != Some(running.term) {
                    self.state = State::Idle;
                } else {
                    self.on_own_end(now, leadership, &running, &outcome, commands);
                }
            }
            (GuestEvent::Ended(_), _) => {}
        }
    }

    /// What has run for so long works, unless it is to be stopped for want of progress now.
    fn end_probation(&mut self, now: BootTime, commands: &mut Vec<Command>) {
        if let State::Running(running) = &self.state
            && running.report_due(&self.config).is_none_or(|due| now < due)
            && self.modules.probation_ends(&running.module, running.started).is_some_and(|at| now >= at)
        {
            let module = running.module.clone();
            commands.extend(self.modules.worked(&module).map(Command::TellModules));
        }
    }

    fn call_on_new_leader(&mut self, commands: &mut Vec<Command>) {
        let Some(module) = self.modules.wanted() else { return };
        if !module.observes || self.shutting_down {
            return self.new_leaders.forget_waiting();
        }
        let run = RunId(self.runs + 1);
        if let Some(identity) = self.new_leaders.call(run) {
            self.runs += 1;
            let callback = Callback::NewLeader { identity };
            commands.push(Command::Call { run, module: module.digest.clone(), callback });
        }
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
            State::Running(running) if self.modules.replaces(&running.module, running.term) => {
                self.ask_to_stop(now, StopReason::ModuleReplaced, commands);
            }
            State::Running(running) if running.report_due(&self.config).is_some_and(|due| now >= due) => {
                self.ask_to_stop(now, StopReason::Unresponsive, commands);
            }
            // It is on its way out already: what was asked for becomes of the Lease all the same.
            State::Stopping(stopping) if asked_to_step_down => stopping.step_down(),
            State::Running(_) | State::Stopping(_) => {}
            State::Calling(_) | State::Leaving(_) | State::Finished => {}
            _ if self.shutting_down => self.give_up(leadership, StopReason::Shutdown, StayOut::Forever, commands),
            _ if asked_to_step_down => self.step_down(leadership, StopReason::SteppedDown, commands),
            state if self.owed.as_ref().is_some_and(|owed| term != Some(owed.term)) => {
                let until = if let State::Waiting { until } = state { *until } else { now };
                if let Some(owed) = self.owed.take() {
                    self.call_on_stop_leading(owed, StopReason::LeadershipLost, Then::Wait { until }, commands);
                }
            }
            State::Done(done) if term.is_none_or(|term| term == *done) => {}
            State::Waiting { .. } => {}
            State::Idle | State::Done(_) => {
                let module = self.modules.next(term).cloned();
                if let (Some(term), true, Some(module)) = (term, certain, module) {
                    self.runs += 1;
                    let run = RunId(self.runs);
                    let (started, reported) = (now, now);
                    if self.modules.start(term, &module) {
                        self.failures = 0;
                    }
                    commands.push(Command::Start { run, module: module.digest.clone(), term });
                    self.owed = module.observes.then(|| Owed { term, module: module.digest.clone() });
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
