//! Starts guests and ends them. The three layers of a stop (invariant 4):
//!
//! 1. soft: [`RunningGuest::ask_to_stop`] makes `subscribe-stop` ready;
//! 2. epoch: [`RunningGuest::end`] closes the gate and bumps the epoch, so that a guest that
//!    computes comes to its callback at once, which returns an error;
//! 3. drop: the call's future and its store are dropped, which ends a guest that waits in a host
//!    call. Only then is [`GuestEvent::Ended`] told. A store is never used again.

use std::{collections::BTreeMap, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytesize::ByteSize;
use futures_util::FutureExt;
use leasehold_core::{
    task::{GuestEvent, Outcome, RunId, StopReason},
    time::BootTime,
};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, watch};
use wasmtime::{CallHook, Engine, Store, StoreContextMut, Trap, UpdateDeadline, WasmBacktrace, component::Linker};
use wasmtime_wasi::{I32Exit, ResourceTable, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::{
    cache::{self, Cache, CacheConfig, CacheCounts},
    cpu::{CpuMeter, CpuSeconds, CpuShare},
    engine::{self, EpochTicker},
    env::EnvSource,
    files::{self, Folder},
    gate::{Closed, Gate},
    imports::{
        self, Term,
        checkpoint::{CheckpointCall, CheckpointCalls, Known},
        counts::CallCounts,
        http::{Http, grant::HttpGrant},
        output::{Printer, Stream, tail::Tail},
        progress::{Reported, Reports},
        sockets::{Sockets, grant::TcpGrant},
    },
    limits::{HANDLES_MAX, Limiter},
    module::ReadyModule,
    state::State,
    world::{Call, FAILED_STATUS, Failed},
};
use crate::{clock, log::Subject, report::liveness::Pulse};

/// What stays the same for all runs of one task.
#[derive(Clone)]
pub struct GuestConfig {
    /// `wasi:cli/environment` arguments, without the program's name.
    pub args: Vec<String>,
    /// `wasi:cli/environment` variables. Nothing of the host's own.
    pub env: BTreeMap<String, String>,
    /// The bound of all its linear memories together.
    pub memory: ByteSize,
    /// How much of what it prints is shown, a second.
    pub output: ByteSize,
    /// Where the last of that is kept, for those who look.
    pub tail: Option<Tail>,
    /// What it may have of a core, on average; `None`: its turn, as all others.
    pub cpu: Option<CpuShare>,
    /// Where that is counted.
    pub counts: GuestCounts,
    /// How long a callback may take.
    pub callback_time: Duration,
    /// What it may ask over HTTP.
    pub http: Arc<HttpGrant>,
    /// Where it may connect to.
    pub tcp: Arc<TcpGrant>,
    /// Folders it may use.
    pub folders: Vec<Folder>,
    /// Variables with values from elsewhere, beside those of `env`.
    pub env_from: Option<Arc<dyn EnvSource>>,
}

impl fmt::Debug for GuestConfig {
    /// Without arguments and values of the environment, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.keys().collect();
        f.debug_struct("GuestConfig").field("memory", &self.memory).field("env", &names).finish_non_exhaustive()
    }
}

/// What is counted of all runs of one task.
#[derive(Clone, Debug, Default)]
pub struct GuestCounts {
    /// CPU time of its guests.
    pub cpu: CpuSeconds,
    /// Lines that were not shown.
    pub dropped_lines: Counter,
    /// Connections that it has asked for, and names that it could not look up.
    pub tcp: CallCounts,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: BTreeMap::new(),
            memory: Self::MEMORY_DEFAULT,
            output: Self::OUTPUT_DEFAULT,
            tail: None,
            cpu: None,
            callback_time: Self::CALLBACK_TIME_DEFAULT,
            counts: GuestCounts::default(),
            http: Arc::default(),
            tcp: Arc::default(),
            folders: Vec::new(),
            env_from: None,
        }
    }
}

impl GuestConfig {
    /// About a thousand short lines a second, and ten times that at once.
    pub const OUTPUT_DEFAULT: ByteSize = ByteSize::kib(256);
    /// Enough for a guest in any language, and little enough that filling it takes milliseconds:
    /// one `memory.fill` cannot be interrupted.
    pub const MEMORY_DEFAULT: ByteSize = ByteSize::mib(64);
    /// With the grace time of the guest, short enough for the half minute that Kubernetes gives a Pod to end.
    pub const CALLBACK_TIME_DEFAULT: Duration = Duration::from_secs(5);
}

/// One call of an export, in an instance of its own.
pub struct Run {
    /// Told with its events.
    pub id: RunId,
    /// What is instantiated.
    pub module: Arc<ReadyModule>,
    /// What is called.
    pub call: Call,
    /// The term it belongs to.
    pub term: GuestTerm,
}

/// The term a guest runs in, or a callback is about.
#[derive(Clone, Debug)]
pub struct GuestTerm {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
    /// The fencing token. 0 for `on-new-leader` on a replica that does not lead.
    pub token: u64,
    /// When the term ends, as far as is known at the start; has passed where this replica does not lead.
    pub valid_until: BootTime,
}

/// Where guests' events go. A run tells at most two: that it stepped down, and that it ended; and it waits for the
/// answer to each of its calls. Of one task there are at most three at a time: the guest, and a callback of each kind.
#[derive(Clone, Debug)]
pub struct RunEvents {
    events: mpsc::Sender<(RunId, GuestEvent)>,
    checkpoint: CheckpointCalls,
}

/// Runs that have told all they had to, but whose events are not taken yet.
const EVENTS_MAX: usize = 16;

impl RunEvents {
    /// A queue of events and one of calls, and their reading ends.
    pub fn channel() -> (Self, mpsc::Receiver<(RunId, GuestEvent)>, mpsc::Receiver<CheckpointCall>) {
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let (checkpoint, called) = CheckpointCalls::channel();
        (Self { events, checkpoint }, told, called)
    }

    pub(super) fn checkpoint(&self) -> &CheckpointCalls {
        &self.checkpoint
    }

    pub(crate) fn tell(&self, run: RunId, event: GuestEvent) {
        // One task has three runs at a time, and takes the events of one before it starts the next:
        // the queue is full only if that is broken, and closed only if the task's loop is gone.
        if let Err(error) = self.events.try_send((run, event)) {
            tracing::error!(event = "guest-event-lost", run = run.0, %error, "a guest's event found nobody to tell");
        }
    }
}

/// The engine, the linker, and the threads that guests run on.
pub struct GuestRuntime {
    engine: Engine,
    linker: Linker<State>,
    workers: tokio::runtime::Handle,
    ticker: EpochTicker,
    cache: Option<Cache>,
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
        Ok(Self { engine, linker, workers, ticker, cache: None })
    }

    /// The same, with compiled modules kept in a folder; or without, where that cannot be, which is told.
    #[must_use]
    pub fn with_cache(self, config: &CacheConfig, counts: CacheCounts) -> Self {
        let opened = Cache::open(config, &self.engine, counts);
        cache::tell(&config.folder, &opened);
        Self { cache: opened.ok(), ..self }
    }

    /// By when the epoch moves again: without the ticker, a guest that computes would not be ended.
    pub fn ticker_pulse(&self) -> Pulse {
        self.ticker.pulse()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// Instantiates the module and makes the call, on the guests' threads. How it went is told to `events`.
    ///
    /// `on-start-leading` runs to the end of its term; a callback for the time it may take, whoever leads.
    pub fn start(&self, run: Run, config: &GuestConfig, subject: &Subject, events: RunEvents) -> RunningGuest {
        let Run { id: run, module, call, term } = run;
        let lead = Arc::new(Gate::new(term.valid_until));
        let gate = match call {
            Call::StartLeading => lead.clone(),
            Call::StopLeading(_) | Call::NewLeader(_) => {
                Arc::new(Gate::for_callback(clock::boot() + config.callback_time))
            }
        };
        let term = Term {
            lease: term.lease,
            namespace: term.namespace,
            identity: subject.identity.to_string(),
            token: term.token,
        };
        let (reports, reported) = Reports::channel();
        let guest = RunningGuest { gate: gate.clone(), lead: lead.clone(), engine: self.engine.clone(), reported };
        let (engine, config, subject) = (self.engine.clone(), config.clone(), subject.clone());
        let (told, closing, ticking) = (events.clone(), gate.clone(), self.ticker.tick());
        self.workers.spawn(async move {
            // The call owns the store: when `guard` returns, both are dropped.
            let running = async {
                let wasi = wasi(&config, &module, &call, &subject, &term).await.map_err(Outcome::NotStarted)?;
                let cpu = CpuMeter::new(config.cpu, config.counts.cpu.clone());
                let mut table = ResourceTable::new();
                table.set_max_capacity(HANDLES_MAX);
                let state = State {
                    http_hooks: Http::new(config.http.clone(), subject.clone(), term.token, gate.clone()),
                    sockets: Sockets::new(
                        config.tcp.clone(),
                        config.counts.tcp.clone(),
                        subject.clone(),
                        term.token,
                        gate.clone(),
                    ),
                    run,
                    wasi,
                    term,
                    gate: gate.clone(),
                    lead,
                    events,
                    stepped_down: false,
                    checkpoint: Known::default(),
                    reports,
                    limiter: Limiter::new(config.memory),
                    cpu: cpu.clone(),
                    table,
                    http: WasiHttpCtx::new(),
                    _ticking: ticking,
                };
                Ok::<_, Outcome>(cpu.metered(make(call, store(&engine, state), &module)).await)
            };
            let guarded = AssertUnwindSafe(closing.guard(running));
            let outcome = match guarded.catch_unwind().await {
                Ok(Ok(Ok(outcome) | Err(outcome))) => outcome,
                Ok(Err(closed)) => ended(closed),
                // Or the lease would be held for a guest that is not there.
                Err(_) => Outcome::Trap("a host function panicked, which is a defect of the host".into()),
            };
            told.tell(run, GuestEvent::Ended(outcome));
        });
        guest
    }
}

fn store(engine: &Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
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

/// What a guest has of WASI: its output, its arguments, its environment and its folders, nothing else of the host's.
/// (Its sockets are [`Sockets`].)
///
/// # Errors
/// What cannot be had, in words.
async fn wasi(
    config: &GuestConfig,
    module: &ReadyModule,
    call: &Call,
    subject: &Subject,
    term: &Term,
) -> Result<WasiCtx, String> {
    let elsewhere = match &config.env_from {
        Some(source) => source.read().await?,
        None => Vec::new(),
    };
    let dropped = config.counts.dropped_lines.clone();
    let tail = config.tail.clone();
    let printer = Printer::new(subject.clone(), term.token, call.callback(), config.output, dropped, tail);
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(printer.output(Stream::Stdout)).stderr(printer.output(Stream::Stderr));
    wasi.arg(&subject.task).args(&config.args);
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    let of_term = module.world.environment(term);
    // A name that is there twice is for the guest to choose from: the term's has to win.
    let given = config.env.iter().chain(elsewhere.iter().map(|(name, value)| (name, value)));
    for (name, value) in given.filter(|(name, _)| !of_term.iter().any(|(taken, _)| taken == name)) {
        wasi.env(name, value);
    }
    for (name, value) in &of_term {
        wasi.env(name, value);
    }
    files::open(&config.folders, &mut wasi)?;
    Ok(wasi.build())
}

async fn make(call: Call, mut store: Store<State>, module: &ReadyModule) -> Outcome {
    let outcome = match module.world.call(&mut store, call).await {
        Ok(Outcome::Error(error)) => match store.data().limiter.exceeded() {
            Some(limit) => Outcome::OutOfMemory(format!("{error} ({limit})")),
            None => Outcome::Error(error),
        },
        Ok(outcome) => outcome,
        Err(Failed::ToStart(error)) => outcome_of(&error, &store, Outcome::NotStarted),
        Err(Failed::Running(error)) => outcome_of(&error, &store, Outcome::Trap),
    };
    if matches!(outcome, Outcome::Returned | Outcome::Error(_)) {
        store.data().sockets.last_bytes().await;
    }
    outcome
}

fn ended(closed: Closed) -> Outcome {
    match closed {
        Closed::Stopped(reason) => Outcome::Ended(reason),
        Closed::TimedOut => Outcome::TimedOut,
    }
}

fn outcome_of(error: &wasmtime::Error, store: &Store<State>, otherwise: fn(String) -> Outcome) -> Outcome {
    if let Some(closed) = error.downcast_ref::<Closed>() {
        return ended(*closed);
    }
    match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(0)) => return Outcome::Returned,
        Some(I32Exit(_)) => return Outcome::Error(FAILED_STATUS.into()),
        None => {}
    }
    let message = message(error);
    match store.data().limiter.exceeded() {
        Some(limit) => Outcome::OutOfMemory(format!("{message}\n({limit})")),
        None => otherwise(message),
    }
}

/// What it is, as the root of the error says, and then where: wasmtime puts the backtrace in front of the rest.
fn message(error: &wasmtime::Error) -> String {
    match (error.downcast_ref::<Trap>(), error.downcast_ref::<WasmBacktrace>()) {
        (Some(trap), Some(_)) => format!("{trap}\n{error}"),
        (None, Some(trace)) => format!("{}\n{trace}", error.root_cause()),
        (_, None) => format!("{error:#}"),
    }
}

/// A guest that was started. Dropping this ends it.
#[derive(Debug)]
pub struct RunningGuest {
    gate: Arc<Gate>,
    lead: Arc<Gate>,
    engine: Engine,
    reported: watch::Receiver<Option<Reported>>,
}

impl RunningGuest {
    /// What it reported last, and whether that is news.
    pub fn reported(&mut self) -> &mut watch::Receiver<Option<Reported>> {
        &mut self.reported
    }

    /// Whether it may run, and until when.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether its replica leads, and until when: the same, but for a callback.
    pub fn lead(&self) -> &Arc<Gate> {
        &self.lead
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
