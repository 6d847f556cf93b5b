//! Works through items, one a second (or every `PAUSE_MS` milliseconds; 0 does not pause), and reports each as
//! progress. Where its config has a progress deadline, the host finds out when it stalls, which it does at the item
//! `STALL_AT`, as a task does that waits for an answer that never comes.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::{leadership, progress};
use wasi::{clocks::monotonic_clock, io::poll};

struct ReportsProgress;

impl Guest for ReportsProgress {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let (pause_ms, stall_at) = (number("PAUSE_MS")?.unwrap_or(1000), number("STALL_AT")?);
        println!("working, token {}", term.token);
        let stop = leadership::subscribe_stop();
        for item in 1u64.. {
            if stall_at == Some(item) {
                println!("stalling at item {item}");
                monotonic_clock::subscribe_duration(i64::MAX as u64).block();
            }
            progress::report(&format!("item {item} is done"));
            if pause_ms > 0 {
                poll::poll(&[&stop, &monotonic_clock::subscribe_duration(pause_ms * 1_000_000)]);
            }
            if leadership::stop_requested().is_some() {
                break;
            }
        }
        Ok(())
    }
}

/// The environment variable of this name.
fn number(name: &str) -> Result<Option<u64>, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map(Some).map_err(|error| format!("{name}={text}: {error}")),
        Err(_) => Ok(None),
    }
}

export!(ReportsProgress);
