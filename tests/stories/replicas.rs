//! The replicas of one elector, as a story sees them: who leads, who stands by, what they log.

use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Pod,
};
use kube::ResourceExt;
use leasehold_tests::{
    cluster::{
        namespace::restarts,
        pod_logs::{ContainerRun, PodEvent},
        wait_for,
    },
    event_log::Event,
};
use serde_json::{Value, json};

use crate::{manifests::Elector, story::Story};

/// client-go's and Leasehold's default.
pub(crate) const LEASE_DURATION_MICROS: i64 = 15_000_000;

/// The replicas of an elector that was deployed.
pub(crate) struct Replicas<'s> {
    story: &'s Story<'s>,
    elector: Elector,
}

/// The one that leads.
pub(crate) struct Leader {
    pub(crate) pod: Pod,
    /// What it calls itself on the Lease.
    pub(crate) identity: String,
    /// The run of its container.
    pub(crate) run: Arc<ContainerRun>,
}

impl<'s> Replicas<'s> {
    /// Applies its objects.
    pub(crate) fn deploy(story: &'s Story<'s>, elector: Elector, role: &str) -> Self {
        story.namespace.apply(&elector.objects(role));
        Self { story, elector }
    }

    /// Those that are not deleted.
    pub(crate) fn pods(&self) -> Result<Vec<Pod>> {
        let mut pods = self.story.namespace.list::<Pod>(&format!("app={}", self.elector.name))?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// What the Lease says.
    pub(crate) fn lease(&self) -> Result<LeaseSpec> {
        self.story.namespace.get::<Lease>(self.elector.name)?.spec.context("a Lease without a spec")
    }

    /// Waits until the Lease's spec is as wanted.
    pub(crate) fn wait_for_lease(&self, what: &str, is: impl Fn(&LeaseSpec) -> bool) -> LeaseSpec {
        wait_for(what, || Ok(Some(self.lease()?).filter(&is)))
    }

    /// Waits until all replicas are ready, one leads and works, and each other one stands by.
    pub(crate) fn settled(&self) -> Leader {
        wait_for(&format!("{}: one leads, the others stand by", self.elector.name), || self.leader_if_settled())
    }

    /// Changes the Pods' template, and waits until all Pods are of the new one.
    pub(crate) fn roll_out(&self, template: &Value) {
        let namespace = &self.story.namespace;
        let patch = json!({"spec": {"template": template}});
        let wanted = namespace.patch::<Deployment>(self.elector.name, &patch).metadata.generation;
        wait_for("the rollout is complete", || {
            let status = namespace.get::<Deployment>(self.elector.name)?.status.unwrap_or_default();
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            Ok((status.observed_generation >= wanted && counts == [Some(3); 3]).then_some(()))
        });
        self.settled();
    }

    fn leader_if_settled(&self) -> Result<Option<Leader>> {
        let pods = self.pods()?;
        let identity = self.lease()?.holder_identity.context("nobody leads")?;
        // Leasehold adds a nonce; a Pod's name has no underscore.
        let name = identity.split('_').next().unwrap_or_default();
        let mut leader = None;
        for pod in &pods {
            anyhow::ensure!(is_ready(pod), "{} is not ready", pod.name_any());
            if pod.name_any() == name {
                let works = self.last_of(pod, &["guest-output"]);
                let (_, run) = works.with_context(|| format!("{name} does not work yet"))?;
                leader = Some(Leader { pod: pod.clone(), identity: identity.clone(), run });
            } else {
                let last = self.last_of(pod, &["leading", "guest-output", "guest-stopped", "new-leader"]);
                let last = last.map_or_else(String::new, |(last, _)| last);
                anyhow::ensure!(last == "new-leader", "the last thing that {} says is {last:?}", pod.name_any());
            }
        }
        anyhow::ensure!(pods.len() == self.elector.replicas as usize, "{} replicas", pods.len());
        Ok(leader)
    }

    /// The last of these events that was logged by what runs now in this Pod, and by which run.
    fn last_of(&self, pod: &Pod, names: &[&str]) -> Option<(String, Arc<ContainerRun>)> {
        self.story.look(|events| {
            let last = events.iter().rfind(|event| is_of(event, pod) && names.contains(&event.event.name()));
            last.map(|event| (event.event.name().to_owned(), event.run.clone()))
        })
    }

    /// Who leads, in the words of this Pod.
    pub(crate) fn last_leader_seen_by(&self, pod: &str) -> String {
        self.story.look(|events| {
            let last = events.iter().rfind(|event| event.run.pod == pod && event.event.name() == "new-leader");
            last.and_then(|event| event.event.line["leader"].as_str()).unwrap_or_default().to_owned()
        })
    }

    /// What was logged since `micros`, by these replicas.
    pub(crate) fn events_since(&self, micros: i64) -> Vec<PodEvent> {
        let mut events = self.story.events();
        events.retain(|event| self.is_mine(&event.run) && event.event.at_micros >= micros);
        events
    }

    /// Waits for the first line of this name after `micros` that another run than this one logs.
    pub(crate) fn wait_for_other(&self, run: &ContainerRun, name: &str, micros: i64) -> PodEvent {
        let what = format!("{name} of another replica of {}", self.elector.name);
        self.wait_for_event(&what, |event| {
            *event.run != *run && event.event.name() == name && event.event.at_micros >= micros
        })
    }

    /// Waits for the first line of this name after `micros` that this run logs.
    pub(crate) fn wait_for_same(&self, run: &ContainerRun, name: &str, micros: i64) -> Event {
        let what = format!("{name} of {}", run.pod);
        let found = self.wait_for_event(&what, |event| {
            *event.run == *run && event.event.name() == name && event.event.at_micros >= micros
        });
        found.event
    }

    /// Waits for a line.
    pub(crate) fn wait_for_event(&self, what: &str, is: impl Fn(&PodEvent) -> bool) -> PodEvent {
        self.story.wait_for_log(what, |events| {
            // By their times: logs of several nodes are read in turn.
            let found = events.iter().filter(|event| self.is_mine(&event.run) && is(event));
            found.min_by_key(|event| event.event.at_micros).map(|event| (*event).clone())
        })
    }

    fn is_mine(&self, run: &ContainerRun) -> bool {
        // DEPLOYMENT-REPLICASET-NONCE
        let mut parts = run.pod.rsplitn(3, '-');
        parts.nth(2) == Some(self.elector.name)
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// Of what runs now in this Pod.
fn is_of(event: &PodEvent, pod: &Pod) -> bool {
    Some(&event.run.uid) == pod.metadata.uid.as_ref() && i64::from(event.run.restarts) == i64::from(restarts(pod))
}

/// A time in a Lease, as events tell it.
pub(crate) fn micros(time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>) -> i64 {
    time.expect("the Lease has that time").0.as_microsecond()
}
