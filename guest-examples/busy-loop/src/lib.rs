//! Computes for ever without a host call: only an epoch interruption ends it.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

struct BusyLoop;

impl Guest for BusyLoop {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("spinning, token {}", term.token);
        let mut state = term.token;
        loop {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

export!(BusyLoop);
