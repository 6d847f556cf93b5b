//! A line a second (or every `BEAT_MS` milliseconds) with the term's fencing token; ends when it
//! is asked to.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::leadership;
use wasi::{clocks::monotonic_clock, io::poll};

struct Heartbeat;

impl Guest for Heartbeat {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let beat_ms = match std::env::var("BEAT_MS") {
            Ok(text) => text.parse().map_err(|error| format!("BEAT_MS={text}: {error}"))?,
            Err(_) => 1000,
        };
        let stop = leadership::subscribe_stop();
        for beat in 1u64.. {
            println!("beat {beat}, token {}", term.token);
            let next = monotonic_clock::subscribe_duration(beat_ms * 1_000_000);
            poll::poll(&[&stop, &next]);
            if let Some(reason) = leadership::stop_requested() {
                println!("asked to stop: {reason:?}");
                break;
            }
        }
        Ok(())
    }
}

export!(Heartbeat);
