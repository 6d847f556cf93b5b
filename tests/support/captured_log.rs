//! The log of hosts that run within the test's own process.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, OnceLock},
    time::Instant,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::host_process::{Event, PATIENCE};

/// Everything this process has logged since the first call.
pub fn captured_log() -> &'static CapturedLog {
    static LOG: OnceLock<CapturedLog> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = CapturedLog::default();
        let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_target(false).json();
        let lines = lines.flatten_event(true).with_current_span(false).with_span_list(false);
        lines.with_writer(log.clone()).init();
        log
    })
}

/// See [`captured_log`].
#[derive(Clone, Default)]
pub struct CapturedLog(Arc<(Mutex<Vec<Event>>, Condvar)>);

impl CapturedLog {
    /// The lines printed by the guest that runs in the term with this token.
    pub fn guest_lines(&self, token: u64) -> Vec<Event> {
        let events = self.0.0.lock().expect("no writer panics");
        let of_guest = |event: &&Event| event.name() == "guest-output" && event.line["token"] == token;
        events.iter().filter(of_guest).cloned().collect()
    }

    /// Waits for the guest's first line that contains `text`.
    ///
    /// # Panics
    /// It does not come within [`PATIENCE`].
    pub fn wait_for_guest_line(&self, token: u64, text: &str) -> Event {
        let begun = Instant::now();
        let (events, more) = &*self.0;
        let mut events = events.lock().expect("no writer panics");
        loop {
            let wanted = |event: &&Event| {
                event.name() == "guest-output" && event.line["token"] == token && event.message().contains(text)
            };
            if let Some(event) = events.iter().find(wanted) {
                return event.clone();
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "the guest with token {token} has not printed {text:?}");
            events = more.wait_timeout(events, left).expect("no writer panics").0;
        }
    }
}

impl io::Write for CapturedLog {
    /// `tracing_subscriber` writes a line a call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let event = Event::parse(bytes)?;
        self.0.0.lock().expect("no writer panics").push(event);
        self.0.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for CapturedLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
