//! A TCP server that keeps each line that it is told, on loopback.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::host_process::PATIENCE;

/// Its threads end with the test's process.
pub(crate) struct Monitor {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) connections: usize,
    pub(crate) lines: Vec<String>,
}

impl Monitor {
    /// It closes each connection after so many lines.
    pub(crate) fn start(lines_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        let told = Arc::<Mutex<Told>>::default();
        let keeping = told.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = BufReader::new(stream.expect("a connection"));
                let keeping = keeping.clone();
                lock(&keeping).connections += 1;
                thread::spawn(move || {
                    for line in stream.lines().map_while(Result::ok).take(lines_max) {
                        lock(&keeping).lines.push(line);
                    }
                });
            }
        });
        Self { address, told }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// Waits until `enough` is so of what it was told.
    ///
    /// # Panics
    /// It is not within [`PATIENCE`].
    pub(crate) fn wait_for(&self, what: &str, enough: impl Fn(&Told) -> bool) {
        let begun = Instant::now();
        while !enough(&self.told()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not so; it was told {:?}", self.told().lines);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
