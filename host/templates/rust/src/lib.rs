//! Runs while this replica leads.

wit_bindgen::generate!({ path: "wit", world: "leader-task", generate_all });

use leasehold::task::leadership;
use wasi::{clocks::monotonic_clock, io::poll};

const PAUSE_NS: u64 = 1_000_000_000;

struct Task;

impl Guest for Task {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let stop = leadership::subscribe_stop();
        for round in 1u64.. {
            // The work comes here. Send the token along with what is written, and let the receiver refuse lower ones.
            println!("round {round}, token {}", term.token);

            poll::poll(&[&stop, &monotonic_clock::subscribe_duration(PAUSE_NS)]);
            if let Some(reason) = leadership::stop_requested() {
                println!("asked to stop: {reason:?}");
                break;
            }
        }
        Ok(())
    }
}

export!(Task);
