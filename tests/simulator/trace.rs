//! What happened, line by line: kept only where somebody is going to read it.

use std::collections::VecDeque;

use crate::clock::{MICROSECOND, SECOND, TrueTime};

#[derive(Debug)]
pub(crate) enum Trace {
    Off,
    /// Every line goes out.
    Printed,
    /// The last lines, at most so many.
    Kept(VecDeque<String>, usize),
}

impl Trace {
    pub(crate) fn last_lines(count: usize) -> Self {
        Self::Kept(VecDeque::with_capacity(count), count)
    }

    pub(crate) fn line(&mut self, at: TrueTime, text: impl FnOnce() -> String) {
        let line = |text: String| format!("{:>5}.{:06} {text}", at / SECOND, at % SECOND / MICROSECOND);
        match self {
            Self::Off => {}
            Self::Printed => println!("{}", line(text())),
            Self::Kept(lines, limit) => {
                if lines.len() == *limit {
                    lines.pop_front();
                }
                lines.push_back(line(text()));
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Kept(lines, _) => lines.iter().flat_map(|line| [line, "\n"]).collect(),
            Self::Off | Self::Printed => String::new(),
        }
    }
}
