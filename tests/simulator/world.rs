//! The world: true time, the queue of what happens next, and the processes that take part.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use leasehold_core::{
    election::{LossReason, Notice, Request, RequestId},
    replica::{Action, Input, Replica},
    task::{Outcome, RunId},
};

use crate::{
    clock::{Clock, MILLISECOND, SECOND, TrueTime},
    faults::Heal,
    guests::{Gate, Guest},
    invariants::{Invariants, Told},
    network::Watch,
    operator::OperatorWrite,
    plan::{Defect, Net, Plan},
    script::Work,
    store::Store,
    tally::{Seen, Tally},
    trace::Trace,
};

/// Names a process for the whole history: its index in [`World::processes`].
pub(crate) type ProcessId = usize;
/// Names a machine.
pub(crate) type MachineId = usize;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A deadline of the replica, if it still is the one.
    Wake(ProcessId, u64),
    /// Something reaches the process.
    Deliver(ProcessId, Input),
    /// A request reaches the store; what it says is sent back, or not.
    Arrive {
        process: ProcessId,
        id: RequestId,
        request: Request,
        answered: bool,
    },
    WatchConnects(ProcessId),
    /// Something may be told on this connection.
    WatchFlows(ProcessId, u64),
    GuestBegins(ProcessId, RunId),
    /// The guest does what it was going to do by itself.
    GuestEnds(ProcessId, RunId, Outcome),
    GuestStepsDown(ProcessId, RunId),
    /// The guest was ended from outside and is gone now.
    GuestGone(ProcessId, RunId, Outcome),
    /// The gate looks at the clock, if nothing was published since.
    GateCloses(ProcessId, u64),
    /// What the operator writes reaches the store.
    OperatorWrites(OperatorWrite),
    ScriptLooks,
    Fault,
    Heal(Heal),
    Calm,
}

/// A machine with its clocks. A process on it may end, and another begin.
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    pub(crate) process: Option<ProcessId>,
    /// Nothing gets through to the store, nor back.
    pub(crate) partitioned: bool,
    /// The store does not let it write.
    pub(crate) forbidden: bool,
}

pub(crate) struct Process {
    pub(crate) machine: MachineId,
    pub(crate) identity: String,
    pub(crate) replica: Replica,
    pub(crate) alive: bool,
    /// Its control loop does not run.
    pub(crate) loop_paused: bool,
    /// Nothing of it runs.
    pub(crate) paused: bool,
    pub(crate) inbox: VecDeque<Input>,
    /// What the guest would have done while nothing ran.
    pub(crate) frozen: Vec<Event>,
    /// The newest of its wake-ups.
    pub(crate) wake: u64,
    pub(crate) watch: Watch,
    pub(crate) gate: Gate,
    pub(crate) guest: Option<Guest>,
    /// The request under way, when it was sent, and how long the last answered write took.
    pub(crate) sent: Option<(RequestId, TrueTime)>,
    pub(crate) last_write_took: TrueTime,
    pub(crate) told: Told,
}

pub(crate) struct World {
    pub(crate) now: TrueTime,
    queue: BinaryHeap<Reverse<(TrueTime, u64, QueuedEvent)>>,
    queued: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) plan: Plan,
    pub(crate) net: Net,
    pub(crate) store: Store,
    /// The store answers nothing, or fails everything at once.
    pub(crate) store_silent: bool,
    pub(crate) store_down: bool,
    pub(crate) calm: bool,
    pub(crate) module: u64,
    /// What the script does, if anything.
    pub(crate) script: Option<Work>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) processes: Vec<Process>,
    pub(crate) invariants: Invariants,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
}

/// An event in the queue, which orders by time and sequence alone.
struct QueuedEvent(Event);

impl PartialEq for QueuedEvent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for QueuedEvent {}
impl PartialOrd for QueuedEvent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for QueuedEvent {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl World {
    pub(crate) fn new(seed: u64, defect: Option<Defect>, trace: Trace) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::random(&mut rng, defect);
        let mut store = Store::new(rng.u64(1..1_000_000));
        store.ignores_versions = defect == Some(Defect::NoCompareAndSwap);
        store.forgets_requests = defect == Some(Defect::RequestsForgotten);
        store.restarts_versions = defect == Some(Defect::VersionsRestart);
        let machines = (0..plan.replicas)
            .map(|_| Machine {
                clock: Clock::random(&mut rng, plan.rate_ppm_max),
                process: None,
                partitioned: false,
                forbidden: false,
            })
            .collect();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            net: plan.net.clone(),
            rng,
            plan,
            store,
            store_silent: false,
            store_down: false,
            calm: false,
            module: 1,
            script: None,
            machines,
            processes: Vec::new(),
            invariants: Invariants::default(),
            tally: Tally::default(),
            trace,
        };
        world.trace.line(0, || format!("{:?}", world.plan));
        for machine in 0..world.plan.replicas {
            world.begin_process(machine);
        }
        world.after(world.plan.fault_every_max, Event::Fault);
        if world.plan.script {
            world.after(0, Event::ScriptLooks);
        }
        world.after(world.plan.rough, Event::Calm);
        world
    }

    /// Runs the history to its end: the rough part, the calm one, and after it a leader that is asked to
    /// step down, and one that dies.
    ///
    /// # Errors
    /// Says which invariant was violated.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let calm = self.plan.rough + self.calm_for();
        self.run_until(calm)?;
        let leader = self.running_leader().ok_or("nobody leads and runs a guest, though all has been calm")?;
        self.operator_asks();
        let grace: TrueTime = self.plan.task.stop_grace.as_nanos().try_into().expect("grace times are short");
        let handed_over = calm + grace + 5 * SECOND;
        self.run_until(handed_over)?;
        let next = self.running_leader().ok_or("nobody leads after the leader was asked to step down")?;
        if next == leader {
            return Err(format!("{} leads on, though it was asked to step down", self.processes[leader].identity));
        }
        self.end_process(next);
        let lease: TrueTime = self.plan.timing.lease().as_nanos().try_into().expect("leases are short");
        // With proof, nobody waits for the record: a module is ready after three seconds.
        let waited = if self.plan.kubelet_tells { 3 * SECOND } else { lease / 100 * 101 };
        let end = handed_over + waited + 5 * SECOND;
        self.run_until(end)?;
        self.running_leader().ok_or("the successor of a leader that died does not lead in time")?;
        self.tally.histories = 1;
        self.tally.simulated_s = end / SECOND;
        Ok(())
    }

    fn run_until(&mut self, end: TrueTime) -> Result<(), String> {
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, QueuedEvent(event)))) = self.queue.pop() else { break };
            self.now = at;
            self.tally.events += 1;
            // What ran until now ran in the bounds of before.
            self.check_guests();
            self.handle(event);
            self.check_guests();
            if let Some(violation) = self.invariants.violation.take() {
                self.trace.line(self.now, || format!("VIOLATED: {violation}"));
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    /// How long after the last fault somebody has to lead and to run its guest: the longest that a
    /// record is believed, that who stepped down stays out, that a guest is let stop; and a minute.
    fn calm_for(&self) -> TrueTime {
        let believed_s = self.plan.timing.lease().max(leasehold_core::timing::FOREIGN_DURATION_MAX).as_secs();
        (believed_s + 2 * self.plan.task.stay_out.as_secs() + self.plan.task.stop_grace.as_secs() + 60) * SECOND
    }

    pub(crate) fn at(&mut self, at: TrueTime, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at.max(self.now), self.queued, QueuedEvent(event))));
    }

    /// Some time from now, at most `within`.
    pub(crate) fn within(&mut self, within: TrueTime, event: Event) {
        let delay = self.rng.u64(0..=within);
        self.after(delay, event);
    }

    pub(crate) fn after(&mut self, delay: TrueTime, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(process, wake) => {
                if self.processes[process].wake == wake {
                    self.deliver(process, Input::Tick);
                }
            }
            Event::Deliver(process, input) => self.deliver(process, input),
            Event::Arrive { process, id, request, answered } => self.arrive(process, id, &request, answered),
            Event::WatchConnects(process) => self.watch_connects(process),
            Event::WatchFlows(process, connection) => self.watch_flows(process, connection),
            Event::GuestBegins(process, run) => self.guest_begins(process, run),
            Event::GuestEnds(process, run, outcome) => self.guest_ends(process, run, outcome),
            Event::GuestStepsDown(process, run) => self.guest_steps_down(process, run),
            Event::GuestGone(process, run, outcome) => self.guest_gone(process, run, outcome),
            Event::GateCloses(process, publication) => self.gate_closes(process, publication),
            Event::OperatorWrites(write) => self.operator_writes(write),
            Event::ScriptLooks => self.script_looks(),
            Event::Fault => self.fault(),
            Event::Heal(heal) => self.heal(heal),
            Event::Calm => self.calm_down(),
        }
    }

    pub(crate) fn step(&mut self, process: ProcessId, input: Input) {
        let target = &mut self.processes[process];
        let clock = &self.machines[target.machine].clock;
        let now = clock.now(self.now);
        if let (Input::Answered(id, Ok(leasehold_core::election::Reply::Written(_))), Some((sent, at))) =
            (&input, target.sent)
            && *id == sent
        {
            target.last_write_took = self.now - at;
        }
        self.trace.line(self.now, || format!("{} <- {input:?}", target.identity));
        // What comes when it was given up tells nothing: a real host does not even wait for it.
        let asked_for = match &input {
            Input::Answered(id, _) => target.sent.is_some_and(|(sent, _)| sent == *id),
            _ => true,
        };
        if asked_for {
            target.told.hear(&input, &target.identity);
        }
        let actions = target.replica.step(now, input);
        if actions.iter().any(|action| matches!(action, Action::Tell(Notice::RequestFailed(..)))) {
            target.sent = None;
        }
        let leadership = target.replica.leadership(now.boot);
        let next = target.replica.next_deadline(now.boot);
        if next.is_some_and(|next| next <= now.boot) {
            self.invariants.violated(|| format!("{} wants to be called again at once", target.identity));
        }
        target.wake += 1;
        let wake = target.wake;
        let wake_at = next.map(|next| clock.when(next));
        if let Some(wake_at) = wake_at {
            // The process does not get to run on the spot, and now and then not for a while.
            let late = if self.rng.f64() < 0.01 { 300 * MILLISECOND } else { 2 * MILLISECOND };
            let late = self.rng.u64(0..late);
            self.at(wake_at.saturating_add(late), Event::Wake(process, wake));
        }
        let expired = actions.iter().any(|a| matches!(a, Action::Tell(Notice::Lost(_, LossReason::Expired))));
        self.publish(process, &leadership, expired);
        let begins = actions.iter().any(|action| matches!(action, Action::Tell(Notice::Leading(_))));
        if begins && actions.iter().any(|action| matches!(action, Action::Tell(Notice::StepDownRequested(_)))) {
            self.tally.count(Seen::StepDownTakenAlong);
        }
        for action in actions {
            self.act(process, action);
        }
    }

    fn act(&mut self, process: ProcessId, action: Action) {
        let identity = &self.processes[process].identity;
        self.trace.line(self.now, || format!("{identity} -> {action:?}"));
        match action {
            Action::Send { id, request, .. } => self.send(process, id, request),
            Action::Start { run, module, term } => self.guest_starts(process, run, &module, term.token),
            Action::AskToStop(run, reason) => self.guest_is_asked(process, run, reason),
            Action::End(run, reason) => self.guest_is_ended(process, run, reason),
            Action::Tell(notice) => self.tell(process, &notice),
            Action::TellRestart(_) => self.tally.count(Seen::Restarted),
            Action::Exit => self.exit(process),
        }
    }

    fn tell(&mut self, process: ProcessId, notice: &Notice) {
        match notice {
            Notice::Leading(term) => self.term_begins(process, term.token),
            Notice::Lost(_, LossReason::Expired) => self.tally.count(Seen::Expired),
            Notice::Lost(_, LossReason::TakenBy(_)) => self.tally.count(Seen::Taken),
            Notice::Lost(_, LossReason::Cleared) => self.tally.count(Seen::Cleared),
            Notice::Lost(_, LossReason::Deleted) => self.tally.count(Seen::Deleted),
            Notice::Released(_) => self.tally.count(Seen::Released),
            Notice::StepDownRequested(_) => self.hears_request(process),
            Notice::NewLeader(_) => self.tally.count(Seen::NewLeader),
            Notice::HolderEnded(_) => self.tally.count(Seen::EndBelieved),
            Notice::OtherTask(_) | Notice::RequestFailed(..) => {}
        }
    }
}
