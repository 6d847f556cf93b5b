//! The last lines that a task has printed: what somebody who looks at it now wants to see, without the log at hand.
//!
//! It has no line that the log has not: what is written faster than `limits.output` is in neither, and where the log is to
//! tell less than [`Level::INFO`](tracing::Level::INFO), nothing is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// So many lines are kept.
pub const LINES_MAX: usize = 50;
/// So many bytes of text, of all lines together.
pub const BYTES_MAX: usize = 16 * 1024;
/// Of one line so much; the log has all of it.
pub const LINE_BYTES_MAX: usize = 2 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// How many were before it. Where one is missing, it was too old to be kept.
    pub number: u64,
    /// When it was printed.
    pub at: Timestamp,
    /// The token of the term.
    pub token: u64,
    /// `stdout`, `stderr`, or `host` for a word of the host's about lines that are not shown.
    pub stream: &'static str,
    /// The callback that has printed it; null: the task itself.
    pub export: Option<&'static str>,
    /// What it says, without its end. Whatever a component prints: it may have control characters in it.
    pub text: Box<str>,
    /// Whether it was longer.
    pub cut: bool,
}

/// Shared by who writes it and who reads it. Has no memory for lines before there is one.
#[derive(Clone, Debug)]
pub struct Tail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// How many there have been.
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self(Arc::new(Shared { kept: Mutex::default(), count: watch::Sender::new(0) }))
    }
}

impl Tail {
    /// Another line.
    pub(super) fn push(&self, token: u64, stream: &'static str, export: Option<&'static str>, text: &str) {
        let kept_text = &text[..text.floor_char_boundary(LINE_BYTES_MAX)];
        let line = Line {
            number: 0,
            at: Timestamp::now(),
            token,
            stream,
            export,
            text: kept_text.into(),
            cut: kept_text.len() < text.len(),
        };
        let mut kept = self.kept();
        // Under the lock: numbers are in the order of the lines.
        self.0.count.send_modify(|count| {
            kept.push(Line { number: *count, ..line });
            *count += 1;
        });
    }

    /// How many lines there have been, now and later.
    pub fn count(&self) -> watch::Receiver<u64> {
        self.0.count.subscribe()
    }

    /// Those that are kept, from this number on.
    pub fn from(&self, number: u64) -> Vec<Line> {
        let kept = self.kept();
        let first = kept.lines.partition_point(|line| line.number < number);
        kept.lines.range(first..).cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_are_bounded_and_the_newest_are_kept() {
        let tail = Tail::default();
        let count = tail.count();
        for number in 0..200 {
            tail.push(7, "stdout", None, &number.to_string());
        }
        let lines = tail.from(0);
        assert_eq!((lines.len(), &*lines[0].text, lines[0].number), (LINES_MAX, "150", 150));
        assert_eq!((&*lines[LINES_MAX - 1].text, *count.borrow()), ("199", 200));
        assert_eq!(tail.from(198).len(), 2);
        assert!(tail.from(200).is_empty() && tail.from(1000).is_empty());

        let long = "ü".repeat(LINE_BYTES_MAX);
        for _ in 0..100 {
            tail.push(7, "stderr", None, &long);
        }
        let lines = tail.from(0);
        assert_eq!(lines.len(), BYTES_MAX / LINE_BYTES_MAX);
        assert!(lines.iter().all(|line| line.cut && line.text.len() == LINE_BYTES_MAX));
    }
}
