//! The world: true time, the queue of what happens next, and the processes that take part.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use leasehold_core::{
    candidate::CandidateRequest,
    election::{Request, RequestId},
    label::{LabelRequest, Labelled},
    replica::{Input, Replica},
    task::{Outcome, RunId, SwapPolicy},
};

use crate::{
    callbacks::Calls,
    checkpoints::Checkpoints,
    clock::{Clock, MILLISECOND, SECOND, TrueTime},
    controller::Controller,
    defect::Defect,
    effects::Receiver,
    faults::Heal,
    foreign::{Foreign, ForeignEvent},
    guests::{Gate, Guest},
    invariants::{Invariants, Rule, Violation},
    labels::{OfLabel, Pods},
    lull::InLull,
    modules::{self, Change, Source},
    network::Watch,
    operator::OperatorWrite,
    plan::{Net, Plan},
    planted::Planted,
    store::Store,
    tally::{Kind, Tally},
    told::Told,
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
    /// Where its modules come from has a newer one, or so it may be.
    SourceTells(ProcessId),
    GuestBegins(ProcessId, RunId),
    /// The guest does what it was going to do by itself.
    GuestEnds(ProcessId, RunId, Outcome),
    GuestStepsDown(ProcessId, RunId),
    GuestReports(ProcessId, RunId),
    /// The call has ended; by itself, or because its time was over.
    CallEnds(ProcessId, RunId, bool),
    /// The guest was ended from outside and is gone now.
    GuestGone(ProcessId, RunId, Outcome),
    /// The gate looks at the clock, if nothing was published since.
    GateCloses(ProcessId, u64),
    /// The guest does something to the world, and that is received.
    GuestActs(ProcessId, RunId),
    /// The guest asks for something about its checkpoint.
    GuestCalls(ProcessId, RunId),
    EffectArrives(u64),
    /// What the operator writes reaches the store.
    OperatorWrites(OperatorWrite),
    ForeignBegins(usize),
    /// In this life of the elector.
    Foreign(usize, u64, ForeignEvent),
    ForeignArrives {
        index: usize,
        life: u64,
        id: u64,
        request: Request,
    },
    ScriptLooks,
    /// What this process asks about its candidate reaches the API server.
    CandidateArrives(ProcessId, RequestId, CandidateRequest),
    /// It is told how its candidate is; with `true`, again in a while.
    CandidateTold(ProcessId, bool),
    /// The API server's controller looks whether there is somebody to be picked; with `true`, again in a while.
    ControllerLooks(bool),
    /// What this process asks about the leader's label reaches the API server.
    LabelArrives(ProcessId, RequestId, LabelRequest),
    /// It is told who carries it, on this connection.
    LabelsTold {
        process: ProcessId,
        connection: u64,
        number: u64,
        seen: Labelled,
    },
    LullBegins,
    LullIsSettled,
    LullEnds,
    Outage(bool),
    /// Which of the plan's.
    Fault(usize),
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
    /// Where its modules come from cannot be reached.
    pub(crate) source_down: bool,
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
    /// Since when its control loop runs.
    pub(crate) goes_on_since: TrueTime,
    /// How many of its guests in a row, in one term, have ended for want of progress.
    pub(crate) misses: u32,
    /// That term's token.
    pub(crate) missed_in: u64,
    pub(crate) inbox: VecDeque<Input>,
    /// What the guest would have done while nothing ran.
    pub(crate) frozen: Vec<Event>,
    /// The newest of its wake-ups.
    pub(crate) wake: u64,
    pub(crate) watch: Watch,
    pub(crate) gate: Gate,
    pub(crate) guest: Option<Guest>,
    pub(crate) calls: Calls,
    /// The request under way, when it was sent, and how long the last answered write took.
    pub(crate) sent: Option<(RequestId, TrueTime)>,
    pub(crate) last_write_took: TrueTime,
    pub(crate) told: Told,
    pub(crate) modules: modules::Told,
    pub(crate) label: OfLabel,
    /// Since when nothing of it runs, if so.
    pub(crate) paused_at: TrueTime,
    pub(crate) asked_to_end: bool,
    pub(crate) planted: Planted,
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
    /// The plan's sick machine is well again.
    pub(crate) cured: bool,
    pub(crate) source: Source,
    pub(crate) machines: Vec<Machine>,
    pub(crate) processes: Vec<Process>,
    pub(crate) foreigners: Vec<Foreign>,
    pub(crate) controller: Controller,
    pub(crate) pods: Pods,
    /// Who last wrote itself as the holder.
    pub(crate) last_holder: Option<(String, Kind)>,
    pub(crate) receiver: Receiver,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) lull: Option<InLull>,
    /// Until when the script works, if it does.
    pub(crate) script: Option<TrueTime>,
    pub(crate) invariants: Invariants,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
}

/// An event in the queue, which orders by time and sequence alone.
struct QueuedEvent(Box<Event>);

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
    /// The history of this plan that the seed makes of it.
    pub(crate) fn new(seed: u64, plan: Plan, trace: Trace) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let defect = plan.defect;
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
                source_down: false,
            })
            .collect();
        let foreigners = (0..plan.foreigners.len()).map(|index| Foreign::new(&mut rng, &plan, index)).collect();
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
            cured: false,
            source: Source::default(),
            machines,
            processes: Vec::new(),
            foreigners,
            controller: Controller::default(),
            pods: Pods::default(),
            last_holder: None,
            receiver: Receiver::default(),
            checkpoints: Checkpoints::default(),
            lull: None,
            script: None,
            invariants: Invariants::default(),
            tally: Tally::default(),
            trace,
        };
        world.trace.line(0, || format!("{:?}", world.plan));
        let lull_at = world.plan.lull.map_or(TrueTime::MAX, |lull| lull.at_ms * MILLISECOND);
        let lull_lasts = world.lull_lasts();
        for machine in 0..world.plan.replicas {
            world.begin_process(machine);
        }
        for foreign in 0..world.plan.foreigners.len() {
            world.within(20 * SECOND, Event::ForeignBegins(foreign));
        }
        if world.plan.coordinated.is_some() {
            world.after(0, Event::ControllerLooks(true));
        }
        if world.plan.script {
            world.after(0, Event::ScriptLooks);
        }
        for index in 0..world.plan.faults.len() {
            let at = world.plan.faults[index].at_ms * MILLISECOND;
            // Not at the very moment at which the lull ends: it is over then.
            world.at(if at < lull_at { at } else { at + lull_lasts + MILLISECOND }, Event::Fault(index));
        }
        if world.plan.lull.is_some() {
            world.at(lull_at, Event::LullBegins);
        }
        world.at(world.plan.rough_ms * MILLISECOND + lull_lasts, Event::Calm);
        world
    }

    /// Runs the history to its end: the rough part, the calm one, and after it a leader that is asked to
    /// step down, one that dies, and two new modules, of which the second is bad.
    ///
    /// # Errors
    /// Says which invariant was violated.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let nobody = |text: &str| Violation::new(Rule::NobodyLeads, text);
        let calm = self.plan.rough_ms * MILLISECOND + self.lull_lasts() + self.plan.settles_within();
        self.run_until(calm)?;
        let calm = calm + self.plan.cured_within();
        self.run_until(calm)?;
        let leader =
            self.running_leader().ok_or_else(|| nobody("nobody leads and runs a guest, though all has been calm"))?;
        // A guest that began in the lull, and was well, may go on where no new module replaces it.
        if self.is_sick(leader) && self.plan.swap == SwapPolicy::Now {
            let text = format!(
                "{} leads on, though none of its guests has reported progress",
                self.processes[leader].identity
            );
            return Err(Violation::new(Rule::SilentLeadsOn, text));
        }
        self.cured = true;
        // What the sick machine may have refused is of the past.
        self.source_changes(Change::Good, SECOND);
        let calm = calm + self.plan.grace() + 3 * SECOND;
        self.run_until(calm)?;
        let calm = self.label_follows(calm)?;
        let leader = self.running_leader().ok_or_else(|| nobody("nobody leads after a swap in the calm"))?;
        self.operator_asks();
        // To be picked takes its time: two rounds of pings, ten seconds from each other.
        let picked = if self.plan.coordinated.is_some() { 25 * SECOND } else { 0 };
        let handed_over = calm + self.plan.grace() + 5 * SECOND + picked;
        self.run_until(handed_over)?;
        let handed_over = self.label_follows(handed_over)?;
        let next =
            self.running_leader().ok_or_else(|| nobody("nobody leads after the leader was asked to step down"))?;
        if next == leader {
            let text = format!("{} leads on, though it was asked to step down", self.processes[leader].identity);
            return Err(Violation::new(Rule::LeadsOn, text));
        }
        self.end_process(next);
        // With proof, nobody waits for the record: a module is ready after three seconds.
        let proven = self.plan.kubelet_tells && self.plan.coordinated.is_none();
        let waited = if proven { 3 * SECOND } else { self.plan.lease_s * SECOND / 100 * 101 };
        let mut end = handed_over + waited + 5 * SECOND + picked;
        self.run_until(end)?;
        self.running_leader().ok_or_else(|| nobody("the successor of a leader that died does not lead in time"))?;
        end = self.label_follows(end)?;
        if self.plan.defect.is_none_or(Defect::is_about_modules) {
            end = self.run_swaps(end)?;
        }
        self.tally.histories = 1;
        self.tally.simulated_s = end / SECOND;
        Ok(())
    }

    pub(crate) fn run_until(&mut self, end: TrueTime) -> Result<(), Violation> {
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, QueuedEvent(event)))) = self.queue.pop() else { break };
            self.now = at;
            self.tally.events += 1;
            // What ran until now ran in the bounds of before.
            self.check_guests();
            self.handle(*event);
            self.check_guests();
            self.check_lull();
            if let Some(violation) = self.invariants.violation.take() {
                self.trace.line(self.now, || format!("VIOLATED: {}", violation.text));
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    pub(crate) fn at(&mut self, at: TrueTime, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at.max(self.now), self.queued, QueuedEvent(Box::new(event)))));
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
            Event::SourceTells(process) => self.source_tells(process),
            Event::GuestBegins(process, run) => self.guest_begins(process, run),
            Event::GuestEnds(process, run, outcome) => self.guest_ends(process, run, outcome),
            Event::GuestStepsDown(process, run) => self.guest_steps_down(process, run),
            Event::CallEnds(process, run, in_time) => self.call_ends(process, run, in_time),
            Event::GuestReports(process, run) => self.guest_reports(process, run),
            Event::GuestGone(process, run, outcome) => self.guest_gone(process, run, outcome),
            Event::GateCloses(process, publication) => self.gate_closes(process, publication),
            Event::GuestActs(process, run) => self.guest_acts(process, run),
            Event::GuestCalls(process, run) => self.guest_calls(process, run),
            Event::EffectArrives(token) => self.effect_arrives(token),
            Event::OperatorWrites(write) => self.operator_writes(write),
            Event::ForeignBegins(index) => self.foreign_begins(index),
            Event::Foreign(index, life, event) => self.foreign(index, life, event),
            Event::ForeignArrives { index, life, id, request } => self.foreign_arrives(index, life, id, &request),
            Event::ScriptLooks => self.script_looks(),
            Event::CandidateArrives(process, id, request) => self.candidate_arrives(process, id, request),
            Event::CandidateTold(process, again) => self.candidate_told(process, again),
            Event::ControllerLooks(again) => self.controller_looks(again),
            Event::LabelArrives(process, id, request) => self.label_arrives(process, id, &request),
            Event::LabelsTold { process, connection, number, seen } => {
                self.labels_told(process, connection, number, seen);
            }
            Event::LullBegins => self.lull_begins(),
            Event::LullIsSettled => self.lull_is_settled(),
            Event::LullEnds => self.lull_ends(),
            Event::Outage(begins) => self.outage(begins),
            Event::Fault(index) => self.fault(index),
            Event::Heal(heal) => self.heal(heal),
            Event::Calm => self.calm_down(),
        }
    }
}
