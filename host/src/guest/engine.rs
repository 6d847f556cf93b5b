//! The one wasmtime [`Engine`], and the OS thread that moves its epoch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;
use leasehold_core::{time::BootTime, timing::EPOCH_TICK};
use wasmtime::{Config, Engine, WasmBacktraceDetails};

use crate::clock;

/// How often the epoch moves while nobody needs it, for those who ask whether it still does.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Moves the epoch every [`EPOCH_TICK`] while a guest's store is there, and now and then otherwise, until it is
/// dropped: a standby has nothing to end, and two hundred ticks a second cost it more than all else that it does.
///
/// A thread of its own and not a timer of the async runtime: where guests that compute hold
/// every worker, a timer there would never fire (bytecodealliance/wasmtime 5056).
#[derive(Debug)]
pub struct EpochTicker {
    end: Arc<AtomicBool>,
    /// By the boot clock, in nanoseconds.
    last_tick: Arc<AtomicU64>,
    /// How many stores need it.
    needed_by: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// A store that needs the ticks; to be kept in it.
#[derive(Debug)]
pub(super) struct Ticking(Arc<AtomicUsize>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl EpochTicker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(engine: &Engine) -> anyhow::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let last_tick = Arc::new(AtomicU64::new(clock::boot().as_nanos()));
        let needed_by = Arc::new(AtomicUsize::new(0));
        let (engine, ended, ticked, needed) = (engine.clone(), end.clone(), last_tick.clone(), needed_by.clone());
        let thread = thread::Builder::new()
            .name("epoch-ticker".into())
            .spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // Who needs it says so first, and then wakes this thread, or has this not park at all.
                    let idle = needed.load(Ordering::SeqCst) == 0;
                    thread::park_timeout(if idle { IDLE_TICK } else { EPOCH_TICK });
                    engine.increment_epoch();
                    ticked.store(clock::boot().as_nanos(), Ordering::Relaxed);
                }
            })
            .context("cannot start the epoch ticker's thread")?;
        Ok(Self { end, last_tick, needed_by, thread: Some(thread) })
    }

    /// The epoch moves every [`EPOCH_TICK`] until the result is dropped.
    pub(super) fn tick(&self) -> Ticking {
        self.needed_by.fetch_add(1, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        Ticking(self.needed_by.clone())
    }

    /// How long ago it ticked last.
    pub fn silent_for(&self) -> Duration {
        clock::boot().since(BootTime::from_nanos(self.last_tick.load(Ordering::Relaxed)))
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot have panicked: it only sleeps and counts.
            let _ = thread.join();
        }
    }
}

/// The engine that every module is compiled for. Compiled code depends on these settings.
///
/// # Errors
/// The settings do not suit this machine.
pub fn engine() -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    // A trap says the lines, where the module has debug information. It is parsed then, and not before.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    Engine::new(&config).map_err(|error| anyhow::anyhow!("cannot set up wasmtime: {error:#}"))
}
