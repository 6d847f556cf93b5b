//! `leasehold:task/progress`

use leasehold_core::time::BootTime;
use tokio::sync::watch;

use super::bindings::leasehold::task::progress;
use crate::{clock, guest::state::State};

/// Of a message, so many bytes are kept.
const MESSAGE_BYTES_MAX: usize = 256;

/// What a guest reported last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// When.
    pub at: BootTime,
    /// In its words.
    pub message: String,
}

/// The newest report of one run, and nothing before it: a guest that reports in a tight loop costs itself time,
/// and nobody else. Whoever reads decides how often.
#[derive(Debug)]
pub struct Reports(watch::Sender<Option<Reported>>);

impl Reports {
    /// None yet, and their reading end.
    pub fn channel() -> (Self, watch::Receiver<Option<Reported>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    fn report(&self, message: String) {
        // The clock is read while the reader is kept out: who reads the clock and then finds no newer report
        // knows that there was none by then.
        self.0.send_modify(|last| *last = Some(Reported { at: clock::boot(), message }));
    }
}

impl progress::Host for State {
    fn report(&mut self, mut message: String) -> wasmtime::Result<()> {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        self.reports.report(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_many_reports_is_what_is_read() {
        let (reports, mut reader) = Reports::channel();
        for number in 0..1000 {
            reports.report(number.to_string());
        }
        let last = reader.borrow_and_update().clone().expect("there is one");
        assert_eq!(last.message, "999");
        assert!(last.at <= clock::boot() && !reader.has_changed().expect("the sender is there"));
    }
}
