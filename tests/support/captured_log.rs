//! The log of hosts that run within the test's own process.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{
    event_log::{Event, EventLog},
    host_process::PATIENCE,
};

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
pub struct CapturedLog(Arc<EventLog<Event>>);

impl CapturedLog {
    /// The lines printed by the guest that runs in the term with this token.
    pub fn guest_lines(&self, token: u64) -> Vec<Event> {
        self.0.look(|events| events.iter().filter(|event| of_guest(event, token)).cloned().collect())
    }

    /// What was logged under this event's name in the term with this token.
    pub fn events_named(&self, token: u64, name: &str) -> Vec<Event> {
        let is = |event: &&Event| event.name() == name && event.line["token"] == token;
        self.0.look(|events| events.iter().filter(is).cloned().collect())
    }

    /// Waits for the guest's first line that contains `text`.
    ///
    /// # Panics
    /// It does not come within [`PATIENCE`].
    pub fn wait_for_guest_line(&self, token: u64, text: &str) -> Event {
        let what = format!("line {text:?} of the guest with token {token}");
        self.wait_for(&what, |event| of_guest(event, token) && event.message().contains(text))
    }

    /// Waits for the first event that is `wanted`.
    ///
    /// # Panics
    /// It does not come within [`PATIENCE`].
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = self.0.wait_until(PATIENCE, |events| events.iter().find(|event| wanted(event)).cloned());
        found.unwrap_or_else(|why| panic!("there is no {what}: {why}"))
    }
}

fn of_guest(event: &Event, token: u64) -> bool {
    event.name() == "guest-output" && event.line["token"] == token
}

impl io::Write for CapturedLog {
    /// `tracing_subscriber` writes a line a call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(Event::parse(bytes)?);
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
