//! The one pipe that all hosts write into, and this process as well when it does something to them:
//! what is read from it is in the order in which it was written, and no line is in another.
//!
//! (A pipe takes a write of up to 4 KiB as a whole or, where the writer is killed before, not at all.)

use std::{
    io::{BufRead, BufReader, PipeReader, PipeWriter, Write},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use leasehold_tests::event_log::Event;
use serde_json::{Value, json};

use crate::judge::Judge;

/// The host whose line it is: its identity, without what makes it unique.
pub(crate) fn host_of(event: &Event) -> Option<&str> {
    let (host, _nonce) = event.line["identity"].as_str()?.rsplit_once('_')?;
    Some(host)
}

/// What this process tells in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Note {
    /// By SIGSTOP, all threads of it.
    Stopped,
    /// SIGCONT will be sent.
    GoesOn,
    /// The process has ended.
    Gone,
    /// Nothing is done to anybody any more.
    Calm,
    /// And nobody is started any more: how long nobody leads says nothing from now on.
    Over,
    /// Whatever else is done, for people.
    Did,
}

impl Note {
    const ALL: [(Self, &str); 6] = [
        (Self::Stopped, "chaos-stopped"),
        (Self::GoesOn, "chaos-goes-on"),
        (Self::Gone, "chaos-gone"),
        (Self::Calm, "chaos-calm"),
        (Self::Over, "chaos-over"),
        (Self::Did, "chaos-did"),
    ];

    /// And about whom it is.
    pub(crate) fn of(event: &Event) -> Option<(Self, &str)> {
        let (note, _) = Self::ALL.into_iter().find(|(_, name)| *name == event.name())?;
        Some((note, event.message()))
    }

    /// As a line, now.
    pub(crate) fn line(self, message: &str) -> Value {
        let (_, event) = Self::ALL.into_iter().find(|(note, _)| *note == self).expect("all are there");
        json!({"timestamp": jiff::Timestamp::now().to_string(), "event": event, "message": message})
    }
}

/// What was wanted of a process that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// That it be gone, by SIGKILL.
    Killed,
    /// By SIGTERM, that it end well.
    Asked,
    /// Not its end.
    Nothing,
}

impl Wanted {
    const ALL: [(Self, &str); 3] = [(Self::Killed, "killed"), (Self::Asked, "asked"), (Self::Nothing, "nothing")];

    /// Of a [`Note::Gone`], and the process's exit code.
    pub(crate) fn of(event: &Event) -> Option<(Self, Option<i64>)> {
        let (wanted, _) = Self::ALL.into_iter().find(|(_, name)| event.line["wanted"] == *name)?;
        Some((wanted, event.line["code"].as_i64()))
    }

    /// As a line, now.
    pub(crate) fn line(name: &str, wanted: Self, code: Option<i32>) -> Value {
        let (_, wanted) = Self::ALL.into_iter().find(|(one, _)| *one == wanted).expect("all are there");
        let mut line = Note::Gone.line(name);
        line["wanted"] = wanted.into();
        line["code"] = code.into();
        line
    }
}

/// See the module's documentation.
pub(crate) struct History {
    pipe: PipeWriter,
    told: Arc<Mutex<Told>>,
    reading: JoinHandle<()>,
}

/// What has been read so far.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) judge: Judge,
    /// When which host was asked to step down.
    pub(crate) stepped_down: Vec<(String, Instant)>,
    pub(crate) lines: Vec<String>,
}

impl History {
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let (reader, pipe) = std::io::pipe()?;
        let told = Arc::new(Mutex::new(Told::default()));
        let telling = told.clone();
        let reading = thread::spawn(move || read(reader, &telling));
        Ok(Self { pipe, told, reading })
    }

    /// For a host to write to.
    pub(crate) fn stdout(&self) -> anyhow::Result<Stdio> {
        Ok(self.pipe.try_clone()?.into())
    }

    pub(crate) fn note(&self, note: Note, message: &str) {
        self.write(&note.line(message));
    }

    /// [`Note::Gone`].
    pub(crate) fn note_end(&self, name: &str, wanted: Wanted, code: Option<i32>) {
        self.write(&Wanted::line(name, wanted, code));
    }

    fn write(&self, line: &Value) {
        let line = format!("{line}\n");
        (&self.pipe).write_all(line.as_bytes()).expect("the pipe is read as long as this process lives");
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// All of it, when no host lives any more.
    pub(crate) fn end(self) -> Told {
        let Self { pipe, told, reading } = self;
        drop(pipe);
        reading.join().expect("the reader does not panic");
        std::mem::take(&mut *lock(&told))
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(pipe: PipeReader, told: &Mutex<Told>) {
    for line in BufReader::new(pipe).lines() {
        let line = line.expect("log lines are UTF-8");
        let mut told = lock(told);
        match Event::parse(line.as_bytes()) {
            Ok(event) => {
                if event.name() == "step-down-requested"
                    && let Some(host) = host_of(&event)
                {
                    told.stepped_down.push((host.to_owned(), Instant::now()));
                }
                told.judge.hears(&event);
            }
            Err(error) => told.judge.violations.push(format!("not a log line ({error}): {line}")),
        }
        told.lines.push(line);
    }
}
