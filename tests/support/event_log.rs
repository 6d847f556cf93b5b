//! What hosts log, as the tests read it, and waiting for it.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A log line.
#[derive(Clone, Debug)]
pub struct Event {
    /// The whole line, as JSON.
    pub line: Value,
    /// When the host wrote it: microseconds since the Unix epoch. All hosts of a test share the clock.
    pub at_micros: i64,
}

impl Event {
    /// From a line of JSON.
    pub fn parse(line: &[u8]) -> serde_json::Result<Self> {
        let line: Value = serde_json::from_slice(line)?;
        let at = line["timestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let at_micros = at.map_or(0, |time| time.as_microsecond());
        Ok(Self { line, at_micros })
    }

    /// The line's `event`.
    pub fn name(&self) -> &str {
        self.line["event"].as_str().unwrap_or_default()
    }

    /// The line's `message`.
    pub fn message(&self) -> &str {
        self.line["message"].as_str().unwrap_or_default()
    }

    /// The line's `token`.
    pub fn token(&self) -> u64 {
        self.line["token"].as_u64().unwrap_or_else(|| panic!("no token in {}", self.line))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

/// Lines that one thread adds, and others wait for.
pub struct EventLog<E> {
    lines: Mutex<Lines<E>>,
    more: Condvar,
}

struct Lines<E> {
    events: Vec<E>,
    ended: bool,
}

/// Why something was not found in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLogged {
    /// Nothing will be added any more.
    Ended,
    /// It has not come in time.
    InTime,
}

impl fmt::Display for NotLogged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "it has ended",
            Self::InTime => "it has not come in time",
        })
    }
}

impl<E> Default for EventLog<E> {
    fn default() -> Self {
        Self { lines: Mutex::new(Lines { events: Vec::new(), ended: false }), more: Condvar::new() }
    }
}

impl<E> EventLog<E> {
    /// Adds a line.
    pub fn push(&self, event: E) {
        self.lines().events.push(event);
        self.more.notify_all();
    }

    /// Nothing will be added any more.
    pub fn end(&self) {
        self.lines().ended = true;
        self.more.notify_all();
    }

    /// Calls `look` with all there is.
    pub fn look<T>(&self, look: impl FnOnce(&[E]) -> T) -> T {
        look(&self.lines().events)
    }

    /// Waits until `found` finds something in all that was logged.
    ///
    /// # Errors
    /// It does not within `patience`, or the log ends without it.
    pub fn wait_until<T>(&self, patience: Duration, found: impl Fn(&[E]) -> Option<T>) -> Result<T, NotLogged> {
        let begun = Instant::now();
        let mut lines = self.lines();
        loop {
            if let Some(found) = found(&lines.events) {
                return Ok(found);
            }
            let left = patience.saturating_sub(begun.elapsed());
            match (lines.ended, left.is_zero()) {
                (true, _) => return Err(NotLogged::Ended),
                (false, true) => return Err(NotLogged::InTime),
                (false, false) => {
                    lines = self.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines<E>> {
        // A reader's panic, in a condition of its own, leaves the lines as they are.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
