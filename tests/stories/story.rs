//! One story: its namespace, what its Pods have logged, and what must hold whatever is told.

use std::{cell::RefCell, thread};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Event as KubernetesEvent, Pod},
};
use kube::ResourceExt;
use leasehold_tests::cluster::{
    Cluster, PATIENCE,
    containers::Kill,
    invariants,
    namespace::{Namespace, Namespaced},
    now_micros,
    pod_logs::PodEvent,
};

use crate::times::Times;

/// How many lines of each container's log are shown of a story that fails.
const LINES_SHOWN: usize = 40;

/// Told on a cluster, in a namespace of its own.
pub(crate) struct Story<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: Namespace<'a>,
    pub(crate) times: &'a Times,
    /// The names of Leasehold's Leases, for the judgement at the end.
    leases: RefCell<Vec<&'static str>>,
    /// A story before may have had a namespace of the same name.
    begun: i64,
    kills: RefCell<Vec<Kill>>,
}

impl<'a> Story<'a> {
    pub(crate) fn begin(cluster: &'a Cluster, namespace: &str, times: &'a Times) -> Self {
        let namespace = Namespace::make(cluster, namespace);
        let begun = now_micros();
        Self { cluster, namespace, times, leases: RefCell::default(), begun, kills: RefCell::default() }
    }

    /// Under this Lease there is one guest at a time.
    pub(crate) fn judge(&self, lease: &'static str) {
        self.leases.borrow_mut().push(lease);
    }

    /// Kills the Pod's container.
    pub(crate) fn kill(&self, pod: &Pod) -> Kill {
        let kill = self.cluster.kill_container(pod).unwrap_or_else(|error| panic!("{error:#}"));
        self.kills.borrow_mut().push(kill.clone());
        kill
    }

    /// All containers that were killed so far.
    pub(crate) fn kills(&self) -> Vec<Kill> {
        self.kills.borrow().clone()
    }

    /// What its Pods have logged so far.
    pub(crate) fn events(&self) -> Vec<PodEvent> {
        self.look(|events| events.iter().map(|event| (*event).clone()).collect())
    }

    /// The same, without a copy.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[&PodEvent]) -> T) -> T {
        self.cluster.logs().lines().look(|events| look(&self.of_this(events).collect::<Vec<_>>()))
    }

    /// Waits until `found` finds something in what its Pods have logged.
    pub(crate) fn wait_for_log<T>(&self, what: &str, found: impl Fn(&[&PodEvent]) -> Option<T>) -> T {
        let of_this = |events: &[PodEvent]| found(&self.of_this(events).collect::<Vec<_>>());
        let found = self.cluster.logs().lines().wait_until(PATIENCE, of_this);
        found.unwrap_or_else(|why| panic!("no {what}: {why}"))
    }

    fn of_this<'e>(&self, events: &'e [PodEvent]) -> impl Iterator<Item = &'e PodEvent> {
        let of_this =
            |event: &&PodEvent| event.run.namespace == self.namespace.name() && event.event.at_micros >= self.begun;
        events.iter().filter(of_this)
    }

    /// What holds in every story: never two guests, and tokens that only grow.
    pub(crate) fn end(self) {
        let (events, kills) = (self.events(), self.kills());
        for lease in &*self.leases.borrow() {
            let lease = format!("{}/{lease}", self.namespace.name());
            let wrong = invariants::violations(&lease, &events, &kills);
            assert!(wrong.is_empty(), "under {lease}:\n{}", wrong.join("\n"));
        }
    }

    /// All a person would look at.
    fn show(&self) {
        eprintln!("--- what there is in namespace {}:", self.namespace.name());
        self.show_all::<Lease>(|lease| format!("lease {}: {:?}", lease.name_any(), lease.spec));
        self.show_all::<Pod>(|pod| {
            let status = pod.status.clone().unwrap_or_default();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            let states: Vec<_> = status
                .container_statuses
                .iter()
                .flatten()
                .map(|status| (&status.state, &status.last_state, status.restart_count))
                .collect();
            let deleted = pod.metadata.deletion_timestamp.is_some();
            format!(
                "pod {} on {node}, {}, deleted: {deleted}: {states:?}",
                pod.name_any(),
                status.phase.unwrap_or_default()
            )
        });
        self.show_all::<KubernetesEvent>(|event| {
            let about = event.involved_object.name.clone().unwrap_or_default();
            format!(
                "event about {about}: {}: {}",
                event.reason.clone().unwrap_or_default(),
                event.message.clone().unwrap_or_default()
            )
        });
        let events = self.events();
        let mut runs: Vec<_> = events.iter().map(|event| event.run.clone()).collect();
        runs.sort_by_key(|run| (run.pod.clone(), run.restarts));
        runs.dedup();
        for run in runs {
            eprintln!("--- log of {}, after {} restarts:", run.pod, run.restarts);
            let lines: Vec<_> = events.iter().filter(|event| event.run == run).collect();
            let last = lines.len().saturating_sub(LINES_SHOWN);
            for (index, line) in lines.iter().enumerate() {
                // Of the guest only the last words, for there are many.
                if index >= last || line.event.name() != "guest-output" {
                    eprintln!("  {}", line.event);
                }
            }
        }
    }

    fn show_all<K: Namespaced>(&self, text: impl Fn(&K) -> String) {
        match self.namespace.list::<K>("") {
            Ok(objects) => objects.iter().for_each(|object| eprintln!("{}", text(object))),
            Err(error) => eprintln!("{} cannot be listed: {error:#}", K::plural(&())),
        }
    }
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show();
        }
    }
}
