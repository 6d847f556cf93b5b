//! Gives its leadership up at once, and ends when the host asks it to.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::leadership;

struct StepsDown;

impl Guest for StepsDown {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("stepping down, token {}", term.token);
        leadership::step_down();
        leadership::subscribe_stop().block();
        println!("asked to stop: {:?}", leadership::stop_requested());
        Ok(())
    }
}

export!(StepsDown);
