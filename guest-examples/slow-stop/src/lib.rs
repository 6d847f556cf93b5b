//! Works until it is asked to stop, then takes three seconds to finish.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::leadership;
use wasi::clocks::monotonic_clock;

const FINISH_NS: u64 = 3_000_000_000;

struct SlowStop;

impl Guest for SlowStop {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("working, token {}", term.token);
        leadership::subscribe_stop().block();
        println!("asked to stop: {:?}", leadership::stop_requested());
        monotonic_clock::subscribe_duration(FINISH_NS).block();
        println!("finished");
        Ok(())
    }
}

export!(SlowStop);
