//! Callbacks that fail, as `HOW` says: `trap`, `spin`, `park`, `fill` (the memory), or not at all.

wit_bindgen::generate!({ path: "../../wit", world: "observing-leader-task", generate_all });

use leasehold::task::leadership;
use wasi::clocks::monotonic_clock;

struct CallbacksFail;

impl Guest for CallbacksFail {
    fn on_start_leading(term: Term) -> Result<(), String> {
        println!("working, token {}", term.token);
        leadership::subscribe_stop().block();
        Ok(())
    }

    fn on_stop_leading(term: Term, reason: StopReason) {
        println!("stopped leading, token {}: {reason:?}", term.token);
        fail();
    }

    fn on_new_leader(identity: String) {
        println!("{identity} leads");
        fail();
    }
}

fn fail() {
    match std::env::var("HOW").as_deref() {
        Ok("trap") => core::arch::wasm32::unreachable(),
        Ok("park") => monotonic_clock::subscribe_duration(i64::MAX as u64).block(),
        Ok("spin") => {
            let mut state = 1u64;
            loop {
                state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        Ok("fill") => {
            let mut all = Vec::new();
            loop {
                all.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        _ => {}
    }
}

export!(CallbacksFail);
