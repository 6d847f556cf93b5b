//! A task on a bench: the test plays the clock, the election and the guest.

use std::{sync::Arc, time::Duration};

use crate::{
    election::{Leadership, Term},
    label::LabelInput,
    lease::LeaseModules,
    task::{
        Callback, Command, Digest, GuestEvent, Input, Module, OnReturn, Outcome, RunId, StopReason, SwapNotice, Task,
        TaskConfig,
    },
    time::BootTime,
};

pub(super) struct Bench {
    pub(super) task: Task,
    pub(super) leadership: Leadership,
    /// What people were told of modules since the test last looked.
    told: Vec<SwapNotice>,
    now_ms: u64,
}

pub(super) fn boot(ms: u64) -> BootTime {
    BootTime::from_nanos(ms * 1_000_000)
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn digest(name: &str) -> Digest {
    Arc::from(name)
}

pub(super) fn standby() -> Leadership {
    Leadership::Standby { holder: None }
}

pub(super) fn leading(token: u64, certain: bool) -> Leadership {
    Leadership::Leading { term: Term { token }, valid_until: boot(u64::MAX / 1_000_000), certain, step_down: false }
}

/// It is certain, and known to last until then.
pub(super) fn leading_until(token: u64, until_ms: u64) -> Leadership {
    Leadership::Leading { term: Term { token }, valid_until: boot(until_ms), certain: true, step_down: false }
}

/// `leadership`, and a person asks this replica to give it up.
pub(super) fn asked(leadership: Leadership) -> Leadership {
    match leadership {
        Leadership::Leading { term, valid_until, certain, .. } => {
            Leadership::Leading { term, valid_until, certain, step_down: true }
        }
        standby @ Leadership::Standby { .. } => standby,
    }
}

pub(super) fn start(run: u64, module: &str, token: u64) -> Command {
    Command::Start { run: RunId(run), module: digest(module), term: Term { token } }
}

/// `on-stop-leading` of a module is called.
pub(super) fn stop_leading(run: u64, module: &str, token: u64, reason: StopReason) -> Command {
    let callback = Callback::StopLeading { term: Term { token }, reason };
    Command::Call { run: RunId(run), module: digest(module), callback }
}

/// `on-new-leader` of a module is called.
pub(super) fn new_leader(run: u64, module: &str, identity: &str) -> Command {
    let callback = Callback::NewLeader { identity: identity.into() };
    Command::Call { run: RunId(run), module: digest(module), callback }
}

pub(super) fn config() -> TaskConfig {
    TaskConfig { failures_max: 3, ..TaskConfig::default() }
}

impl Bench {
    pub(super) fn with(config: TaskConfig) -> Self {
        Self { task: Task::new(config), leadership: standby(), told: Vec::new(), now_ms: 0 }
    }

    /// Leads with token 1 and runs module `a` as run 1, from 0 ms on.
    pub(super) fn running_with(config: TaskConfig) -> Self {
        let mut bench = Self::with(config);
        bench.leadership = leading(1, true);
        assert_eq!(bench.module(0, "a"), [start(1, "a", 1)], "the bench's own start");
        bench
    }

    pub(super) fn running() -> Self {
        Self::running_with(config())
    }

    pub(super) fn returning(on_return: OnReturn) -> Self {
        Self::running_with(TaskConfig { on_return, ..config() })
    }

    fn step(&mut self, at_ms: u64, input: Input) -> Vec<Command> {
        assert!(at_ms >= self.now_ms, "the script goes back in time");
        let mut commands = Vec::new();
        while let Some(next) = self.task.next_deadline()
            && next < boot(at_ms)
        {
            assert!(next > boot(self.now_ms), "a deadline that is not ahead makes the caller spin");
            self.now_ms = next.as_nanos().div_ceil(1_000_000);
            commands.extend(self.task.step(boot(self.now_ms), &self.leadership, Input::Tick));
        }
        self.now_ms = at_ms;
        commands.extend(self.task.step(boot(at_ms), &self.leadership, input));
        if commands.iter().any(|command| matches!(command, Command::StepDown(_))) {
            self.leadership = standby(); // As the election does before anything else happens.
        }
        assert!(self.task.next_deadline().is_none_or(|next| next > boot(at_ms)), "the caller would spin");
        self.note_told(commands)
    }

    /// All but what people are told of modules.
    fn note_told(&mut self, mut commands: Vec<Command>) -> Vec<Command> {
        commands.retain(|command| match command {
            Command::TellModules(notice) => {
                self.told.push(notice.clone());
                false
            }
            _ => true,
        });
        commands
    }

    pub(super) fn told(&mut self) -> Vec<SwapNotice> {
        std::mem::take(&mut self.told)
    }

    /// The Lease is seen to say this about modules: what runs, what has worked, what is refused.
    pub(super) fn lease_says(&mut self, at_ms: u64, runs: &str, good: &str, refused: &str) -> Vec<Command> {
        let of = |name: &str| (!name.is_empty()).then(|| digest(name));
        let on_lease = LeaseModules { module: of(runs), waiting: None, good: of(good), refused: of(refused) };
        self.task.hear(&self.leadership, &on_lease);
        self.run_until(at_ms)
    }

    /// What it would write there: in the same order.
    pub(super) fn writes(&self) -> [String; 3] {
        let LeaseModules { module, waiting: _, good, refused } = self.task.on_lease(&self.leadership);
        [module, good, refused].map(|digest| digest.map(|digest| digest.to_string()).unwrap_or_default())
    }

    /// What was commanded up to and at `at_ms`.
    pub(super) fn run_until(&mut self, at_ms: u64) -> Vec<Command> {
        self.step(at_ms, Input::Tick)
    }

    /// One without callbacks is ready.
    pub(super) fn module(&mut self, at_ms: u64, name: &str) -> Vec<Command> {
        self.step(at_ms, Input::Module(Module { digest: digest(name), observes: false }))
    }

    /// One with callbacks is.
    pub(super) fn observer(&mut self, at_ms: u64, name: &str) -> Vec<Command> {
        self.step(at_ms, Input::Module(Module { digest: digest(name), observes: true }))
    }

    /// Leads with token 1 and runs module `a`, which has callbacks, as run 1, from 0 ms on.
    pub(super) fn observed() -> Self {
        let mut bench = Self::with(config());
        bench.leadership = leading(1, true);
        assert_eq!(bench.observer(0, "a"), [start(1, "a", 1)], "the bench's own start");
        bench
    }

    pub(super) fn hears(&mut self, at_ms: u64, identity: &str) -> Vec<Command> {
        self.step(at_ms, Input::NewLeader(identity.into()))
    }

    /// Something becomes of the leader's label.
    pub(super) fn label(&mut self, at_ms: u64, input: LabelInput) -> Vec<Command> {
        self.step(at_ms, Input::Label(input))
    }

    pub(super) fn shutdown(&mut self, at_ms: u64) -> Vec<Command> {
        self.step(at_ms, Input::Shutdown)
    }

    pub(super) fn leads(&mut self, at_ms: u64, leadership: Leadership) -> Vec<Command> {
        let mut commands = self.run_until(at_ms);
        self.leadership = leadership;
        commands.extend(self.run_until(at_ms));
        commands
    }

    pub(super) fn ended(&mut self, at_ms: u64, run: u64, outcome: Outcome) -> Vec<Command> {
        self.step(at_ms, Input::Guest(RunId(run), GuestEvent::Ended(outcome)))
    }

    /// What is commanded at `at_ms`, where a report of `reported_ms` is heard of.
    pub(super) fn reports(&mut self, at_ms: u64, run: u64, reported_ms: u64) -> Vec<Command> {
        self.step(at_ms, Input::Guest(RunId(run), GuestEvent::Reported(boot(reported_ms))))
    }

    /// The same, where nobody has run the control loop since the last step.
    pub(super) fn late_report(&mut self, at_ms: u64, run: u64, reported_ms: u64) -> Vec<Command> {
        self.now_ms = at_ms;
        let report = Input::Guest(RunId(run), GuestEvent::Reported(boot(reported_ms)));
        let commands = self.task.step(boot(at_ms), &self.leadership, report);
        self.note_told(commands)
    }

    pub(super) fn steps_down(&mut self, at_ms: u64, run: u64) -> Vec<Command> {
        self.step(at_ms, Input::Guest(RunId(run), GuestEvent::SteppedDown))
    }
}
