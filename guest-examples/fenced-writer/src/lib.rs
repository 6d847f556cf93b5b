//! Sends the term's fencing token along with each of its writes, so that the store they go to can
//! refuse those of an earlier term that arrive late. Each is a line on stdout here; the store in
//! `tests/support/register.rs` takes them from there.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::leadership;
use wasi::{clocks::monotonic_clock, io::poll};

const PAUSE_NS: u64 = 20_000_000;

struct FencedWriter;

impl Guest for FencedWriter {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let stop = leadership::subscribe_stop();
        for seq in 1u64.. {
            println!("write token={} seq={seq}", term.token);
            poll::poll(&[&stop, &monotonic_clock::subscribe_duration(PAUSE_NS)]);
            if leadership::stop_requested().is_some() {
                break;
            }
        }
        Ok(())
    }
}

export!(FencedWriter);
