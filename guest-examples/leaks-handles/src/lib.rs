//! Keeps every handle it is given: each is memory of the host's.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use wasi::clocks::monotonic_clock;

struct LeaksHandles;

impl Guest for LeaksHandles {
    fn on_start_leading(_term: Term) -> Result<(), String> {
        let mut kept = Vec::new();
        loop {
            kept.push(monotonic_clock::subscribe_duration(1));
            if kept.len().is_multiple_of(1000) {
                println!("{} handles", kept.len());
            }
        }
    }
}

export!(LeaksHandles);
