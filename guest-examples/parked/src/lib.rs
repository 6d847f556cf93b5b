//! Waits in a host call for about 292 years: no guest code runs, so no epoch check is reached.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use wasi::clocks::monotonic_clock;

struct Parked;

impl Guest for Parked {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("parked, token {}", term.token);
        monotonic_clock::subscribe_duration(i64::MAX as u64).block();
        Err("woke up".into())
    }
}

export!(Parked);
