//! Whether this process works (`/livez`), and whether its tasks are ready to run (`/readyz`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::{Mutex, PoisonError},
};

/// What each task waits for, until it is ready.
#[derive(Debug)]
pub struct Readiness(Mutex<BTreeMap<String, State>>);

#[derive(Debug)]
enum State {
    /// For this.
    Waits(String),
    Ready,
    /// And there is something to know about it.
    ReadyBut(String),
}

/// What there is to know of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is not ready for that.
    pub waits: bool,
    /// In words.
    pub what: String,
}

impl Readiness {
    /// All of them wait.
    pub fn new<'a>(tasks: impl Iterator<Item = &'a str>) -> Self {
        let waits = tasks.map(|task| (task.to_owned(), State::Waits("it has not begun".to_owned())));
        Self(Mutex::new(waits.collect()))
    }

    /// The task waits for something.
    pub fn waits(&self, task: &str, what: &str) {
        self.set(task, State::Waits(what.to_owned()));
    }

    /// The task competes, and could run its module at once.
    pub fn ready(&self, task: &str) {
        self.set(task, State::Ready);
    }

    /// The same, with something that is to be known: a newer module is not ready yet, or is not taken.
    pub fn ready_but(&self, task: &str, what: &str) {
        self.set(task, State::ReadyBut(what.to_owned()));
    }

    fn set(&self, task: &str, state: State) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task.to_owned(), state);
    }

    /// Those of which there is something to know: whether they wait, and the words.
    pub fn notes(&self) -> BTreeMap<String, Note> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let note = |(task, state): (&String, &State)| match state {
            State::Ready => None,
            State::ReadyBut(what) => Some((task.clone(), Note { waits: false, what: what.clone() })),
            State::Waits(what) => Some((task.clone(), Note { waits: true, what: what.clone() })),
        };
        tasks.iter().filter_map(note).collect()
    }

    /// A line a task; as an error, unless all are ready. Those that are `barred` are not: their Lease is another task's.
    ///
    /// # Errors
    /// Some task is not ready.
    pub fn told(&self, barred: &BTreeSet<&str>) -> Result<String, String> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        for (task, state) in &*tasks {
            // Writing to a String does not fail.
            let _ = match state {
                _ if barred.contains(task.as_str()) => {
                    writeln!(
                        lines,
                        "{task}: not ready: its Lease is marked as another task's (`other-task` in the log)"
                    )
                }
                State::Ready => writeln!(lines, "{task}: ready"),
                State::ReadyBut(what) => writeln!(lines, "{task}: ready, {what}"),
                State::Waits(what) => writeln!(lines, "{task}: not ready: {what}"),
            };
        }
        let waits = !barred.is_empty() || tasks.values().any(|state| matches!(state, State::Waits(_)));
        if waits { Err(lines) } else { Ok(lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_that_waits_is_named_and_the_host_is_not_ready() {
        let readiness = Readiness::new(["a", "b"].into_iter());
        readiness.ready("a");
        readiness.waits("b", "its module is being compiled");
        let lines = readiness.told(&BTreeSet::new()).expect_err("b waits");
        assert_eq!(lines, "a: ready\nb: not ready: its module is being compiled\n");
        readiness.ready("b");
        readiness.ready_but("a", "with sha256:1; its module sha256:2 is being compiled");
        let lines = readiness.told(&BTreeSet::new()).expect("all are ready");
        assert_eq!(lines, "a: ready, with sha256:1; its module sha256:2 is being compiled\nb: ready\n");
        let lines = readiness.told(&BTreeSet::from(["b"])).expect_err("b does not compete");
        assert!(lines.ends_with("b: not ready: its Lease is marked as another task's (`other-task` in the log)\n"));
    }
}
