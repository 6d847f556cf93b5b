//! What all Pods log, on one clock, for as long as anybody asks: also the last words of a Pod that is deleted, and
//! those from a node that nobody reaches.

use std::{path::Path, process::Command, sync::Arc};

use serde_json::json;

use super::follow;
use crate::event_log::{Event, EventLog};

/// One run of a container.
#[derive(Debug, PartialEq, Eq)]
pub struct ContainerRun {
    /// Its Pod's namespace.
    pub namespace: String,
    /// Its Pod's name.
    pub pod: String,
    /// Its Pod's uid.
    pub uid: String,
    /// Its own name.
    pub container: String,
    /// How often it had been restarted before.
    pub restarts: u32,
}

/// A line of a container's log.
#[derive(Clone, Debug)]
pub struct PodEvent {
    /// Whose.
    pub run: Arc<ContainerRun>,
    /// The line. One that is not JSON is the event's message, and the event has no name.
    pub event: Event,
}

/// Reads them until it is dropped.
pub struct PodLogs {
    log: Arc<EventLog<PodEvent>>,
    following: follow::Following,
}

impl PodLogs {
    /// From the files that the nodes of tests/cluster write, on this machine.
    pub(super) fn of_nodes(folder: &Path) -> Self {
        let log = Arc::new(EventLog::default());
        let folders = ["node1", "node2"].map(|node| folder.join(node).join("logs"));
        let following = follow::Following::files(folders.into(), log.clone());
        Self { log, following }
    }

    /// From the API server, by this kubectl.
    pub(super) fn of_api_server(kubectl: Command) -> Self {
        let log = Arc::new(EventLog::default());
        let following = follow::Following::kubectl(kubectl, log.clone());
        Self { log, following }
    }

    /// Pods of this namespace are to be read, too. (Where files are read, all are.)
    pub(super) fn add_namespace(&self, namespace: &str) {
        self.following.add_namespace(namespace);
    }

    /// The lines themselves.
    pub fn lines(&self) -> &EventLog<PodEvent> {
        &self.log
    }
}

impl PodEvent {
    /// From a line's text and the time at which the node got it.
    pub(super) fn new(run: &Arc<ContainerRun>, time: &str, text: &str) -> Self {
        let at_node = time.parse::<jiff::Timestamp>().map_or(0, |time| time.as_microsecond());
        let event = match Event::parse(text.as_bytes()) {
            Ok(event) if event.at_micros != 0 => event,
            Ok(event) => Event { at_micros: at_node, ..event },
            Err(_) => Event { line: json!({"message": text}), at_micros: at_node },
        };
        Self { run: run.clone(), event }
    }
}
