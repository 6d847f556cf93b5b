//! Starts guests and ends them. The three layers of a stop (invariant 4):
//!
//! 1. soft: [`RunningGuest::ask_to_stop`] makes `subscribe-stop` ready;
//! 2. epoch: [`RunningGuest::end`] closes the gate and bumps the epoch, so that a guest that
//!    computes comes to its callback at once, which returns an error;
//! 3. drop: the call's future and its store are dropped, which ends a guest that waits in a host
//!    call. Only then is [`GuestEvent::Ended`] told. A store is never used again.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytesize::ByteSize;
use futures_util::FutureExt;
use leasehold_core::{
    task::{GuestEvent, Outcome, RunId, StopReason},
    time::BootTime,
};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use wasmtime::{CallHook, Engine, Store, StoreContextMut, Trap, UpdateDeadline, component::Linker};
use wasmtime_wasi::{I32Exit, ResourceTable, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::{
    cpu::{CpuMeter, CpuSeconds, CpuShare},
    engine::{self, EpochTicker},
    gate::{Closed, Gate},
    imports::{
        self, Term,
        http::NoHttp,
        output::{Printer, Stream},
    },
    limits::{HANDLES_MAX, Limiter},
    module::ReadyModule,
    state::State,
    world::{FAILED_STATUS, Failed},
};
use crate::log::Subject;

/// What stays the same for all runs of one task.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// `wasi:cli/environment` arguments, without the program's name.
    pub args: Vec<String>,
    /// `wasi:cli/environment` variables. Nothing of the host's own.
    pub env: BTreeMap<String, String>,
    /// The bound of all its linear memories together.
    pub memory: ByteSize,
    /// How much of what it prints is shown, a second.
    pub output: ByteSize,
    /// What it may have of a core, on average; `None`: its turn, as all others.
    pub cpu: Option<CpuShare>,
    /// Where that is counted.
    pub counts: GuestCounts,
}

/// What is counted of all runs of one task.
#[derive(Clone, Debug, Default)]
pub struct GuestCounts {
    /// CPU time of its guests.
    pub cpu: CpuSeconds,
    /// Lines that were not shown.
    pub dropped_lines: Counter,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: BTreeMap::new(),
            memory: Self::MEMORY_DEFAULT,
            output: Self::OUTPUT_DEFAULT,
            cpu: None,
            counts: GuestCounts::default(),
        }
    }
}

impl GuestConfig {
    /// About a thousand short lines a second, and ten times that at once.
    pub const OUTPUT_DEFAULT: ByteSize = ByteSize::kib(256);
    /// Enough for a guest in any language, and little enough that filling it takes milliseconds:
    /// one `memory.fill` cannot be interrupted.
    pub const MEMORY_DEFAULT: ByteSize = ByteSize::mib(64);
}

/// The term a guest runs in.
#[derive(Clone, Debug)]
pub struct GuestTerm {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
    /// The fencing token.
    pub token: u64,
    /// When the term ends, as far as is known at the start.
    pub valid_until: BootTime,
}

/// Where guests' events go. A run tells at most two: that it stepped down, and that it ended.
#[derive(Clone, Debug)]
pub struct RunEvents(mpsc::Sender<(RunId, GuestEvent)>);

/// Runs that have told all they had to, but whose events are not taken yet.
const EVENTS_MAX: usize = 16;

impl RunEvents {
    /// A queue, and its reading end.
    pub fn channel() -> (Self, mpsc::Receiver<(RunId, GuestEvent)>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self(sender), receiver)
    }

    pub(crate) fn tell(&self, run: RunId, event: GuestEvent) {
        // One task has one run at a time, and takes the events of one before it starts the next:
        // the queue is full only if that is broken, and closed only if the task's loop is gone.
        if let Err(error) = self.0.try_send((run, event)) {
            tracing::error!(run = run.0, %error, "a guest's event found nobody to tell");
        }
    }
}

/// The engine, the linker, and the threads that guests run on.
pub struct GuestRuntime {
    engine: Engine,
    linker: Linker<State>,
    workers: tokio::runtime::Handle,
    ticker: EpochTicker,
}

impl GuestRuntime {
    /// `workers` is the runtime on whose threads guests run. Nothing else that matters may run
    /// there: a guest may hold a worker for an epoch tick at a time.
    ///
    /// # Errors
    /// The engine's settings do not suit this machine, or it has no thread left.
    pub fn new(workers: tokio::runtime::Handle) -> anyhow::Result<Self> {
        let engine = engine::engine()?;
        let linker =
            imports::linker(&engine).map_err(|error| anyhow::anyhow!("cannot link the host's functions: {error:#}"))?;
        let ticker = EpochTicker::start(&engine)?;
        Ok(Self { engine, linker, workers, ticker })
    }

    /// How long ago the epoch moved: without the ticker, a guest that computes would not be ended.
    pub fn ticker_silent_for(&self) -> Duration {
        self.ticker.silent_for()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// Instantiates `module` and calls `on-start-leading`, on the guests' threads. How it went is
    /// told to `events`.
    pub fn start(
        &self,
        run: RunId,
        module: Arc<ReadyModule>,
        config: &GuestConfig,
        subject: &Subject,
        term: GuestTerm,
        events: RunEvents,
    ) -> RunningGuest {
        let gate = Arc::new(Gate::new(term.valid_until));
        let term = Term {
            lease: term.lease,
            namespace: term.namespace,
            identity: subject.identity.to_string(),
            token: term.token,
        };
        let cpu = CpuMeter::new(config.cpu, config.counts.cpu.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let store = self.store(State {
            run,
            wasi: wasi(config, &module, subject, &term),
            term,
            gate: gate.clone(),
            events: events.clone(),
            stepped_down: false,
            limiter: Limiter::new(config.memory),
            cpu: cpu.clone(),
            table,
            http: WasiHttpCtx::new(),
            http_hooks: NoHttp { subject: subject.clone() },
            _ticking: self.ticker.tick(),
        });
        let guest = RunningGuest { gate: gate.clone(), engine: self.engine.clone() };
        self.workers.spawn(async move {
            // The call owns the store: when `guard` returns, both are dropped.
            let guarded = AssertUnwindSafe(gate.guard(cpu.metered(call(store, &module))));
            let outcome = match guarded.catch_unwind().await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(Closed(reason))) => Outcome::Ended(reason),
                // Or the lease would be held for a guest that is not there.
                Err(_) => Outcome::Trap("a host function panicked, which is a defect of the host".into()),
            };
            events.tell(run, GuestEvent::Ended(outcome));
        });
        guest
    }

    fn store(&self, state: State) -> Store<State> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context: StoreContextMut<'_, State>| {
            context.data().gate.check_until_next_tick()?;
            Ok(match context.data().cpu.rest() {
                Some(rest) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(rest))),
                // Give way, so that no guest keeps another, or its own drop, from a worker.
                None => UpdateDeadline::Yield(1),
            })
        });
        store.call_hook(|context: StoreContextMut<'_, State>, _: CallHook| Ok(context.data().gate.check()?));
        store
    }
}

/// What a guest has of WASI: its output, its arguments and its environment, nothing else of the host's.
fn wasi(config: &GuestConfig, module: &ReadyModule, subject: &Subject, term: &Term) -> WasiCtx {
    let printer = Printer::new(subject.clone(), term.token, config.output, config.counts.dropped_lines.clone());
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(printer.output(Stream::Stdout)).stderr(printer.output(Stream::Stderr));
    wasi.arg(&subject.task).args(&config.args);
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    let of_term = module.world.environment(term);
    // A name that is there twice is for the guest to choose from: the term's has to win.
    for (name, value) in config.env.iter().filter(|(name, _)| !of_term.iter().any(|(taken, _)| taken == name)) {
        wasi.env(name, value);
    }
    for (name, value) in &of_term {
        wasi.env(name, value);
    }
    wasi.build()
}

async fn call(mut store: Store<State>, module: &ReadyModule) -> Outcome {
    match module.world.call(&mut store).await {
        Ok(Outcome::Error(error)) => match store.data().limiter.exceeded() {
            Some(limit) => Outcome::OutOfMemory(format!("{error} ({limit})")),
            None => Outcome::Error(error),
        },
        Ok(outcome) => outcome,
        Err(Failed::ToStart(error)) => outcome_of(&error, &store, Outcome::NotStarted),
        Err(Failed::Running(error)) => outcome_of(&error, &store, Outcome::Trap),
    }
}

fn outcome_of(error: &wasmtime::Error, store: &Store<State>, otherwise: fn(String) -> Outcome) -> Outcome {
    if let Some(Closed(reason)) = error.downcast_ref::<Closed>() {
        return Outcome::Ended(*reason);
    }
    match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(0)) => return Outcome::Returned,
        Some(I32Exit(_)) => return Outcome::Error(FAILED_STATUS.into()),
        None => {}
    }
    // A trap says what it is at the root; wasmtime puts the backtrace in front of it.
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("{trap}\n{error}"),
        None => format!("{error:#}"),
    };
    match store.data().limiter.exceeded() {
        Some(limit) => Outcome::OutOfMemory(format!("{message}\n({limit})")),
        None => otherwise(message),
    }
}

/// A guest that was started. Dropping this ends it.
#[derive(Debug)]
pub struct RunningGuest {
    gate: Arc<Gate>,
    engine: Engine,
}

impl RunningGuest {
    /// Whether it may run, and until when.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Asks it to end by itself.
    pub fn ask_to_stop(&self, reason: StopReason) {
        self.gate.ask_to_stop(reason);
    }

    /// Ends it where it stands. It is gone when [`GuestEvent::Ended`] is told.
    pub fn end(&self, reason: StopReason) {
        self.gate.close(reason);
        // Other guests come to their callbacks as well; theirs find their own gates open.
        self.engine.increment_epoch();
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        self.end(StopReason::Shutdown);
    }
}
