//! Lines to stdout, which may be a pipe that nobody reads: a log collector that hangs, a node whose disk is full, a
//! terminal that was stopped. Whoever tells something does not wait for that, and least of all the thread that renews.
//!
//! A line is written by who tells it, at once, as long as the system takes it: so lines of several processes on one pipe
//! stand in the order in which things happened. Where it does not take one, that and all that follow are handed to a
//! thread that waits for it, [`WAITING_BYTES_MAX`] of them; more are left out, and counted, and that is told when
//! the reader reads again.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Lines may wait for a reader up to this size together.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// A pipe that takes anything takes so much at once: `PIPE_BUF`.
const TAKEN_AT_ONCE: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };
/// A longer line is waited for so long, as it may find less room than it needs.
const LONG_LINE_WAITS: Duration = Duration::from_millis(20);
/// And at the end of the process, all that wait.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// How many lines were left out since this process began.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were left out since this process began, because nobody read it.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

struct Shared {
    out: File,
    waiting: Mutex<Waiting>,
    /// There is something to write.
    come: Condvar,
    /// Something was written.
    gone: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread writes one of them, or is about to.
    writes: bool,
    /// Since this was last told.
    dropped: u64,
}

impl Waiting {
    fn is_behind(&self) -> bool {
        self.writes || !self.lines.is_empty()
    }
}

impl Lines {
    /// To `out`. `told` is called by the thread when lines were left out, and says how many: it may tell a line itself.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(super) fn to(out: File, told: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { out, waiting: Mutex::default(), come: Condvar::new(), gone: Condvar::new() });
        let writes = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || writes.write_what_waits(told))?;
        Ok(Self { shared })
    }

    /// Waits until all is written, but not for long.
    pub(super) fn flush(&self) {
        self.shared.wait_until_written(self.shared.waiting(), LAST_LINES_WAIT);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if !waiting.is_behind() && line.len() <= TAKEN_AT_ONCE && takes_something(&self.out) {
            // Whose reader is gone has no use for it.
            if (&self.out).write_all(line).is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_behind = waiting.is_behind();
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_owned());
        self.come.notify_one();
        if !was_behind && line.len() > TAKEN_AT_ONCE {
            self.wait_until_written(waiting, LONG_LINE_WAITS);
        }
    }

    fn wait_until_written(&self, mut waiting: MutexGuard<'_, Waiting>, at_most: Duration) {
        let begun = Instant::now();
        while waiting.is_behind() {
            let Some(left) = at_most.checked_sub(begun.elapsed()) else { return };
            waiting = self.gone.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write_what_waits(&self, told: impl Fn(u64)) {
        let mut waiting = self.waiting();
        loop {
            let Some(line) = waiting.lines.pop_front() else {
                waiting.writes = false;
                self.gone.notify_all();
                let dropped = std::mem::take(&mut waiting.dropped);
                if dropped > 0 {
                    drop(waiting);
                    told(dropped);
                    waiting = self.waiting();
                } else {
                    waiting = self.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                continue;
            };
            waiting.writes = true;
            waiting.bytes -= line.len();
            drop(waiting);
            let written = (&self.out).write_all(&line);
            waiting = self.waiting();
            if written.is_err() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Whether a write of [`TAKEN_AT_ONCE`] does not wait: of a pipe, that it has a free page; of a file, always.
fn takes_something(out: &File) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::OUT)];
    // Where the system cannot say, the write will.
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// One line: what formats it writes it in one piece.
pub(super) struct Line<'a>(&'a Shared);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.tell(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.shared)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, PipeReader, PipeWriter, pipe},
        os::fd::OwnedFd,
        sync::mpsc,
    };

    use super::*;

    fn tell(lines: &Lines, line: &str) {
        // In one piece, as it is formatted.
        lines.make_writer().write_all(format!("{line}\n").as_bytes()).expect("it is taken, or left out");
    }

    fn to(writer: PipeWriter, told: impl Fn(u64) + Send + 'static) -> Lines {
        Lines::to(File::from(OwnedFd::from(writer)), told).expect("a thread")
    }

    /// What comes up to the line that begins with this.
    fn read_to(last: String, reader: PipeReader) -> thread::JoinHandle<Vec<String>> {
        thread::spawn(move || {
            let mut read = Vec::new();
            for line in BufReader::new(reader).lines().map(|line| line.expect("a line")) {
                let is_last = line.starts_with(&last);
                read.push(line);
                if is_last {
                    break;
                }
            }
            read
        })
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_then_has_what_waited_in_order() {
        let (reader, writer) = pipe().expect("a pipe");
        let (tell_dropped, told) = mpsc::channel();
        let lines = to(writer, move |dropped| tell_dropped.send(dropped).expect("it is heard"));
        // A pipe has 64 KiB, as a rule, and a mebibyte may wait.
        let (all, padding) = (5_000_u64, "x".repeat(1_000));
        for number in 0..all {
            tell(&lines, &format!("{number} {padding}"));
        }
        assert!(dropped() > 0, "nobody has read anything");
        let reading = read_to(format!("{all} "), reader);
        let left_out = told.recv_timeout(Duration::from_secs(60)).expect("it says how many");
        assert!((1..all).contains(&left_out), "{left_out}");
        // It has caught up: who tells writes again.
        tell(&lines, &format!("{all} {padding}"));
        lines.flush();
        assert!(!lines.shared.waiting().is_behind());
        let read = reading.join().expect("it reads");
        let numbers: Vec<u64> =
            read.iter().map(|line| line.split_once(' ').expect("two").0.parse().expect("one")).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next) && numbers.last() == Some(&all), "{numbers:?}");
        assert_eq!(numbers.len() as u64, all - left_out + 1);
    }

    #[test]
    fn a_long_line_is_written_whole_and_in_its_place() {
        let (reader, writer) = pipe().expect("a pipe");
        let lines = to(writer, |_| {});
        let long = "y".repeat(TAKEN_AT_ONCE * 3);
        for line in ["before", &long, "after"] {
            tell(&lines, line);
        }
        lines.flush();
        let read: Vec<_> = BufReader::new(reader).lines().take(3).map(|line| line.expect("a line")).collect();
        assert_eq!(read, ["before", &long, "after"]);
    }

    #[test]
    fn a_reader_that_is_gone_costs_the_line() {
        let (reader, writer) = pipe().expect("a pipe");
        let lines = to(writer, |_| {});
        drop(reader);
        let before = dropped();
        tell(&lines, "to nobody");
        lines.flush();
        assert!(dropped() > before);
    }
}
