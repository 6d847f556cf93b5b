//! Ends in a trap, as a panicking task does.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

struct Traps;

impl Guest for Traps {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("about to trap, token {}", term.token);
        core::arch::wasm32::unreachable()
    }
}

export!(Traps);
