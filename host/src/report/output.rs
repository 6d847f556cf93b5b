//! What tasks have printed last, by their names.

use std::collections::BTreeMap;

use crate::guest::imports::output::tail::Tail;

/// Of all tasks of this host.
#[derive(Debug)]
pub struct Outputs(BTreeMap<String, Tail>);

impl Outputs {
    /// Of the tasks with these names; none has printed anything.
    pub fn new<'a>(tasks: impl Iterator<Item = &'a str>) -> Self {
        Self(tasks.map(|task| (task.to_owned(), Tail::default())).collect())
    }

    /// Of the task of this name.
    pub fn of_task(&self, task: &str) -> Option<Tail> {
        self.0.get(task).cloned()
    }
}
