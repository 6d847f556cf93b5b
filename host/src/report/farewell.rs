//! What each task of a host that was asked to end still waits for, in words: for the log, and for who ends it all the same.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use leasehold_core::{task::Remaining, time::BootTime};

use crate::clock;

/// So many tasks are named; of a host of a thousand, that will do.
const NAMED_MAX: usize = 5;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Farewell(Mutex<BTreeMap<String, Remaining>>);

impl Farewell {
    /// What the task waits for; `None`: nothing.
    pub fn waits(&self, task: &str, remaining: Option<Remaining>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match remaining {
            Some(remaining) => drop(tasks.insert(task.to_owned(), remaining)),
            None => drop(tasks.remove(task)),
        }
    }

    fn shown_at(&self, now: BootTime, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            return f.write_str("its tasks");
        }
        for (index, (task, remaining)) in tasks.iter().take(NAMED_MAX).enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}task {task}: {}", Words(*remaining, now))?;
        }
        match tasks.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} tasks more"),
        }
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown_at(clock::boot(), f)
    }
}

struct Words(Remaining, BootTime);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = |until: BootTime| until.since(self.1).as_secs_f64();
        match self.0 {
            Remaining::Grace { until } => {
                write!(f, "the component, which was asked to stop and is ended in {:.1} s", left(until))
            }
            Remaining::Ended => f.write_str("the component, which was ended, to be gone"),
            Remaining::Callback => f.write_str("on-stop-leading to return"),
            Remaining::Permitted { until } => {
                let left = left(until);
                write!(f, "what on-stop-leading has failed to end, which its term permits for {left:.1} s more")
            }
            Remaining::Label { until } => {
                write!(f, "the leader's label to be off this Pod, for {:.1} s at most", left(until))
            }
            Remaining::Release { until } => {
                write!(f, "the lease to be released, or else its term to end in {:.1} s", left(until))
            }
            Remaining::Withdrawal { until } => {
                write!(f, "an answer to what was asked about the lease, for {:.1} s at most", left(until))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct At<'a>(&'a Farewell, BootTime);

    impl fmt::Display for At<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.shown_at(self.1, f)
        }
    }

    #[test]
    fn each_task_that_waits_is_named_with_what_it_waits_for_and_of_many_a_few() {
        let (farewell, now) = (Farewell::default(), BootTime::ZERO);
        let until = now + Duration::from_millis(2_500);
        farewell.waits("a", Some(Remaining::Grace { until }));
        farewell.waits("b", Some(Remaining::Release { until }));
        farewell.waits("c", Some(Remaining::Callback));
        farewell.waits("c", None);
        assert_eq!(
            At(&farewell, now).to_string(),
            "task a: the component, which was asked to stop and is ended in 2.5 s; \
             task b: the lease to be released, or else its term to end in 2.5 s"
        );
        for task in 0..10 {
            farewell.waits(&format!("a{task}"), Some(Remaining::Ended));
        }
        assert!(At(&farewell, now).to_string().ends_with("; and 7 tasks more"));
        for task in 0..10 {
            farewell.waits(&format!("a{task}"), None);
        }
        farewell.waits("a", None);
        farewell.waits("b", None);
        assert_eq!(farewell.to_string(), "its tasks");
    }
}
