//! A terminal's screen that is drawn again and again, and given back as it was.

use std::{
    io::{self, Stdout, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    termios::tcgetwinsize,
};
use tokio::sync::oneshot;

/// The other screen that terminals have, without a cursor, and with long lines cut and not wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
/// Where the terminal does not say.
const ROWS: usize = 24;

/// See the module's documentation. Given back when this is dropped.
pub(super) struct Screen(Stdout);

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let mut screen = Self(io::stdout());
        screen.0.write_all(ENTER.as_bytes())?;
        Ok(screen)
    }

    /// Draws these lines, as far as there is room. `notes` are always to be seen, at the end.
    pub(super) fn draw(&mut self, lines: &[String], notes: &[String]) -> io::Result<()> {
        let rows =
            tcgetwinsize(&self.0).map(|size| usize::from(size.ws_row)).ok().filter(|rows| *rows > 0).unwrap_or(ROWS);
        let mut text = HOME.to_owned();
        for line in fitting(lines, notes, rows) {
            // Not after the last: on the lowest row, a line feed would move all up.
            if text.len() > HOME.len() {
                text.push_str("\r\n");
            }
            text.push_str(&line);
            text.push_str(CLEAR_REST_OF_LINE);
        }
        text.push_str(CLEAR_REST);
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.0.write_all(LEAVE.as_bytes());
        let _ = self.0.flush();
    }
}

fn fitting(lines: &[String], notes: &[String], rows: usize) -> Vec<String> {
    let room = rows.saturating_sub(notes.len() + usize::from(!notes.is_empty()));
    let mut fitting = lines.to_vec();
    if fitting.len() > room {
        let kept = room.saturating_sub(1);
        let more = fitting.len() - kept;
        fitting.truncate(kept);
        fitting.push(format!("... and {more} more: a larger window has room for them, or name those to be shown"));
    }
    if !notes.is_empty() {
        fitting.push(String::new());
        fitting.extend_from_slice(notes);
    }
    fitting.truncate(rows);
    fitting
}

/// Comes when nobody reads stdout any more: without it, somebody who writes little would only notice at the next line.
///
/// # Errors
/// The system has no threads or no file handles left.
pub(super) fn nobody_reads() -> io::Result<oneshot::Receiver<()>> {
    let stdout: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    let (tell, told) = oneshot::channel();
    // It waits for as long as the process lives, and ends with it.
    std::thread::Builder::new().name("stdout".into()).spawn(move || {
        loop {
            // Errors and a hang-up are told unasked.
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Then a write will tell.
                Err(_) => return,
            }
        }
        let _ = tell.send(());
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_has_no_room_is_counted_and_notes_are_always_seen() {
        let table = lines(&["HEADER", "a", "b", "c"]);
        let notes = lines(&["a note"]);
        assert_eq!(fitting(&table, &[], 4), table);
        assert_eq!(fitting(&table, &notes, 6), lines(&["HEADER", "a", "b", "c", "", "a note"]));
        let cut = fitting(&table, &notes, 5);
        assert_eq!((cut.len(), &*cut[1]), (5, "a"));
        assert!(cut[2].starts_with("... and 2 more"), "{cut:?}");
        assert_eq!(cut[3..], lines(&["", "a note"]));
        assert_eq!(fitting(&table, &notes, 1).len(), 1);
    }
}
