//! Guests in the test's own process, without an election: the test says how long the term is.

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use leasehold::{
    clock,
    guest::{
        imports::checkpoint::CheckpointCall,
        module::ReadyModule,
        runtime::{GuestConfig, GuestRuntime, GuestTerm, Run, RunEvents, RunningGuest},
        world::Call,
    },
    log::Subject,
};
use leasehold_core::task::{GuestEvent, Outcome, RunId};
use tokio::sync::mpsc;

use crate::{build, host_process::PATIENCE};

/// The guests' threads: as few as a host has.
pub const WORKERS: usize = 2;

/// A runtime for guests.
pub struct GuestBench {
    /// What is tested.
    pub guests: GuestRuntime,
    threads: tokio::runtime::Runtime,
}

/// A guest that was started, and what it told.
pub struct Started {
    /// Its handle.
    pub guest: RunningGuest,
    /// Its term's token, which no other guest of the process has.
    pub token: u64,
    events: mpsc::Receiver<(RunId, GuestEvent)>,
    calls: mpsc::Receiver<CheckpointCall>,
}

impl Default for GuestBench {
    fn default() -> Self {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().expect("threads");
        let guests = GuestRuntime::new(threads.handle().clone()).expect("wasmtime suits this machine");
        Self { guests, threads }
    }
}

impl GuestBench {
    /// The guest of this name, ready to be started.
    pub fn module(&self, name: &str) -> Arc<ReadyModule> {
        self.module_at(&build::guest(name))
    }

    /// The guest in this file, ready to be started.
    pub fn module_at(&self, path: &Path) -> Arc<ReadyModule> {
        self.module_of(&std::fs::read(path).expect("the guest was just built"))
    }

    /// The guest of these bytes, ready to be started.
    pub fn module_of(&self, bytes: &[u8]) -> Arc<ReadyModule> {
        Arc::new(self.guests.prepare(bytes).expect("the guest is a task"))
    }

    /// Starts it in a term that ends `valid_for` from now.
    pub fn start(&self, module: &Arc<ReadyModule>, valid_for: Duration) -> Started {
        self.start_with(module, valid_for, |_| {})
    }

    /// The same, with what the guest gets changed.
    pub fn start_with(
        &self,
        module: &Arc<ReadyModule>,
        valid_for: Duration,
        change: impl FnOnce(&mut GuestConfig),
    ) -> Started {
        self.call_with(module, Call::StartLeading, valid_for, change)
    }

    /// Makes this call in place of `on-start-leading`.
    pub fn call_with(
        &self,
        module: &Arc<ReadyModule>,
        call: Call,
        valid_for: Duration,
        change: impl FnOnce(&mut GuestConfig),
    ) -> Started {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        let mut config = GuestConfig::default();
        change(&mut config);
        let subject = Subject { task: "test".into(), lease: "default/test".into(), identity: "tester".into() };
        let term = GuestTerm {
            namespace: "default".into(),
            lease: "test".into(),
            token,
            valid_until: clock::boot() + valid_for,
        };
        let (sender, events, calls) = RunEvents::channel();
        let run = Run { id: RunId(token), module: module.clone(), call, term };
        let guest = self.guests.start(run, &config, &subject, sender);
        Started { guest, token, events, calls }
    }

    /// Blocks every async worker, as code would that forgets where it runs, until the result is dropped.
    pub fn block_workers(&self) -> BlockedWorkers {
        let state = Arc::new((Mutex::new((0, false)), Condvar::new()));
        for _ in 0..WORKERS {
            let state = state.clone();
            self.threads.spawn(async move {
                let (lock, changed) = &*state;
                let mut counts = lock.lock().expect("no blocker panics");
                counts.0 += 1;
                changed.notify_all();
                while !counts.1 {
                    counts = changed.wait(counts).expect("no blocker panics");
                }
            });
        }
        let (lock, changed) = &*state;
        let all_blocked =
            changed.wait_timeout_while(lock.lock().expect("no blocker panics"), PATIENCE, |counts| counts.0 < WORKERS);
        assert!(!all_blocked.expect("no blocker panics").1.timed_out(), "not every worker could be blocked");
        BlockedWorkers(state)
    }
}

/// How many workers are blocked, and whether they may go on.
type Blocking = Arc<(Mutex<(usize, bool)>, Condvar)>;

/// See [`GuestBench::block_workers`].
pub struct BlockedWorkers(Blocking);

impl Drop for BlockedWorkers {
    fn drop(&mut self) {
        if let Ok(mut counts) = self.0.0.lock() {
            counts.1 = true;
        }
        self.0.1.notify_all();
    }
}

impl Started {
    /// Waits until the guest is gone.
    ///
    /// # Panics
    /// It is not within [`PATIENCE`].
    pub fn outcome(&mut self) -> Outcome {
        loop {
            if let GuestEvent::Ended(outcome) = self.event() {
                return outcome;
            }
        }
    }

    /// Waits for the next thing the guest tells.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`].
    pub fn event(&mut self) -> GuestEvent {
        let begun = Instant::now();
        loop {
            match self.events.try_recv() {
                Ok((run, event)) => {
                    assert_eq!(run, RunId(self.token));
                    return event;
                }
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_micros(50)),
                Err(error) => panic!("the guest tells nothing: {error}"),
            }
        }
    }

    /// Waits for what the guest asks for about its checkpoint. It waits for the answer, which is up to the test.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`].
    pub fn call(&mut self) -> CheckpointCall {
        let begun = Instant::now();
        loop {
            match self.calls.try_recv() {
                Ok(call) => return call,
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_micros(50)),
                Err(error) => panic!("the guest asks for nothing: {error}"),
            }
        }
    }

    /// Whether it has told anything that was not taken yet.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }
}
