//! A small store that checks fencing tokens: all that a receiver of a task's writes has to do.

use crate::event_log::Event;

/// What a task wants to have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The fencing token of the term it comes from.
    pub token: u64,
    /// Counts the writes of a run.
    pub seq: u64,
}

impl Write {
    /// What the guest `fenced-writer` has put out, if this line is that.
    ///
    /// # Panics
    /// It begins like one and is none.
    pub fn of(event: &Event) -> Option<Self> {
        let fields = event.message().strip_prefix("write token=").filter(|_| event.name() == "guest-output")?;
        let (token, seq) = fields.split_once(" seq=").expect("a token, then a number");
        Some(Self { token: token.parse().expect("a token"), seq: seq.parse().expect("a number") })
    }
}

/// It comes from a term that is over: the store has seen this later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The highest token seen.
    pub highest: u64,
}

/// One value, and the highest token that came with a write to it. In SQL:
/// `UPDATE register SET token = $1, seq = $2 WHERE token <= $1`, refused where that changes no row.
#[derive(Debug, Default)]
pub struct Register(Option<Write>);

impl Register {
    /// Writes, unless a higher token was seen before.
    ///
    /// # Errors
    /// It was, and nothing is changed.
    pub fn write(&mut self, write: Write) -> Result<(), Refused> {
        match self.0 {
            Some(Write { token: highest, .. }) if write.token < highest => Err(Refused { highest }),
            _ => {
                self.0 = Some(write);
                Ok(())
            }
        }
    }

    /// The last write that was not refused.
    pub fn value(&self) -> Option<Write> {
        self.0
    }
}
