//! The one wasmtime [`Engine`], and the OS thread that moves its epoch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;
use leasehold_core::timing::EPOCH_TICK;
use wasmtime::{Config, Engine, WasmBacktraceDetails};

use crate::{clock, report::liveness::Pulse};

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
    pulse: Pulse,
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
        let pulse = Pulse::default();
        let needed_by = Arc::new(AtomicUsize::new(0));
        let (engine, ended, ticking, needed) = (engine.clone(), end.clone(), pulse.clone(), needed_by.clone());
        let thread = thread::Builder::new()
            .name("epoch-ticker".into())
            .spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // However often it is needed: who looks has seconds to spare.
                    ticking.due(Some(clock::boot() + IDLE_TICK));
                    // Who needs it says so first, and then wakes this thread, or has this not park at all.
                    let idle = needed.load(Ordering::SeqCst) == 0;
                    thread::park_timeout(if idle { IDLE_TICK } else { EPOCH_TICK });
                    engine.increment_epoch();
                }
            })
            .context("cannot start the epoch ticker's thread")?;
        Ok(Self { end, pulse, needed_by, thread: Some(thread) })
    }

    /// The epoch moves every [`EPOCH_TICK`] until the result is dropped.
    pub(super) fn tick(&self) -> Ticking {
        self.needed_by.fetch_add(1, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        Ticking(self.needed_by.clone())
    }

    /// By when it ticks again.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that is stuck would keep this process from ending for just that.
            if !self.pulse.is_late() {
                // It cannot have panicked: it only sleeps and counts.
                let _ = thread.join();
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::liveness::Liveness;

    #[test]
    fn a_ticker_whose_thread_has_ended_is_told_of_and_one_that_nobody_needs_is_not() {
        let ticker = EpochTicker::start(&engine().expect("an engine")).expect("a thread");
        let liveness = Liveness::new(ticker.pulse());
        // Long enough for its next idle tick to be overdue, were it not made.
        thread::sleep(8 * IDLE_TICK);
        assert_eq!(liveness.stuck(), []);
        ticker.end.store(true, Ordering::Relaxed);
        while !ticker.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            thread::sleep(EPOCH_TICK);
        }
        while liveness.stuck().is_empty() {
            thread::sleep(EPOCH_TICK);
        }
        assert!(liveness.stuck()[0].to_string().contains("epoch ticker"));
    }
}
