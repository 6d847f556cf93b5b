//! Prints its arguments, a line each, one after the other and again, one a second (or every `PAUSE_MS` milliseconds), and
//! reports each as progress: whatever there is in them. With `FAIL` it returns that as an error after the last of them.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::{leadership, progress};
use wasi::{clocks::monotonic_clock, io::poll};

struct Prints;

impl Guest for Prints {
    fn on_start_leading(_: Term) -> Result<(), String> {
        let pause_ms: u64 = match std::env::var("PAUSE_MS") {
            Ok(text) => text.parse().map_err(|error| format!("PAUSE_MS={text}: {error}"))?,
            Err(_) => 1000,
        };
        let lines: Vec<String> = std::env::args().skip(1).collect();
        let stop = leadership::subscribe_stop();
        loop {
            for line in &lines {
                println!("{line}");
                progress::report(line);
                poll::poll(&[&stop, &monotonic_clock::subscribe_duration(pause_ms * 1_000_000)]);
                if leadership::stop_requested().is_some() {
                    return Ok(());
                }
            }
            if let Ok(error) = std::env::var("FAIL") {
                return Err(error);
            }
        }
    }
}

export!(Prints);
