//! Counts, once a second (or every `COUNT_MS` milliseconds), on from where the last leader left off, on
//! whatever node that was: the count is saved before it is told.

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::{
    checkpoint::{self, SaveError},
    leadership,
};
use wasi::{clocks::monotonic_clock, io::poll};

struct Counter;

impl Guest for Counter {
    fn on_start_leading(term: Term) -> Result<(), String> {
        let count_ms = match std::env::var("COUNT_MS") {
            Ok(text) => text.parse().map_err(|error| format!("COUNT_MS={text}: {error}"))?,
            Err(_) => 1000,
        };
        let mut count = loaded()?;
        println!("going on from {count}, token {}", term.token);
        let stop = leadership::subscribe_stop();
        while leadership::stop_requested().is_none() {
            count += 1;
            save(count)?;
            println!("counted {count}");
            poll::poll(&[&stop, &monotonic_clock::subscribe_duration(count_ms * 1_000_000)]);
        }
        Ok(())
    }
}

fn loaded() -> Result<u64, String> {
    let Some(state) = checkpoint::load() else { return Ok(0) };
    let text = String::from_utf8(state).map_err(|error| format!("the checkpoint is no text: {error}"))?;
    text.parse().map_err(|error| format!("the checkpoint is no count, but {text:?}: {error}"))
}

fn save(count: u64) -> Result<(), String> {
    checkpoint::save(count.to_string().as_bytes()).map_err(|error| match error {
        SaveError::TooLarge(max) => format!("a count of more than {max} digits cannot be saved"),
        SaveError::NotLeading => "another one counts now".to_owned(),
        SaveError::Refused(why) => format!("the count cannot be saved: {why}"),
    })
}

export!(Counter);
