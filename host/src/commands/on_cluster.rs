//! What tasks need of a cluster before they compete: found out for all of them, some at a time, and shared where
//! they need the same.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::Context;
use futures_core::{future::BoxFuture, stream::BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::Client;
use tokio::sync::{OnceCell, watch};

use super::host::{Followed, Host};
use crate::{
    config::{Name, PodEnv, check_identity},
    kubernetes::{
        access::Access,
        cluster::first_contact,
        events::{self, EventRoom, EventWriter},
        holder, own_pod,
        pods::{self, Pods},
    },
    lease::{
        access,
        candidate::CandidateStore,
        coordinated,
        kubernetes::KubernetesStore,
        leader_label::PodLabels,
        own_writes::OwnWrites,
        room::Room,
        shared::{self, SharedWatch},
    },
    log::Subject,
};

/// How many tasks are checked at a time.
const CHECKED_AT_ONCE_MAX: usize = 16;

/// What a task has beside its Lease.
pub(super) struct Beside {
    pub(super) events: Option<EventWriter>,
    /// Who holds the Lease, and of whom it is proven that they have ended.
    pub(super) holder: watch::Sender<Option<String>>,
    pub(super) ended: BoxStream<'static, String>,
    /// Its part in a coordinated election.
    pub(super) candidate: Option<CandidateStore>,
    /// The label on the leader's Pod.
    pub(super) labels: Option<PodLabels>,
}

impl Beside {
    /// For a task that runs without a cluster.
    pub(super) fn nothing() -> Self {
        let (holder, ended) = (watch::Sender::new(None), stream::pending().boxed());
        Self { events: None, holder, ended, candidate: None, labels: None }
    }
}

/// A task that may compete.
pub(super) struct Checked {
    pub(super) task: Followed,
    pub(super) store: KubernetesStore,
    pub(super) namespace: String,
    pub(super) subject: Subject,
    pub(super) beside: Beside,
}

/// What the tasks of one namespace share.
struct InNamespace {
    leases: Option<SharedWatch>,
    /// Asked when a Lease has been found to be in order: what is wrong there is told first.
    beside: OnceCell<MayBeside>,
}

/// What is allowed beside the Leases of a namespace.
struct MayBeside {
    events: bool,
    pods: Option<Arc<Pods>>,
}

impl InNamespace {
    async fn new(access: &Access, namespace: &str, leases: &[&str]) -> anyhow::Result<Self> {
        let leases =
            first_contact(shared::watch(access, namespace, leases)).await.context("cannot reach the cluster")?;
        Ok(Self { leases, beside: OnceCell::new() })
    }

    async fn beside(&self, access: &Access, namespace: &str) -> anyhow::Result<&MayBeside> {
        let ask = || async {
            Ok(MayBeside {
                events: first_contact(events::allowed(access, namespace)).await?,
                pods: first_contact(pods::of_leaders(access, namespace)).await?.map(Arc::new),
            })
        };
        self.beside.get_or_try_init(ask).await
    }
}

/// What all tasks share.
pub(super) struct OnCluster {
    access: Access,
    event_room: EventRoom,
    request_room: Room,
    namespaces: HashMap<String, InNamespace>,
    pod: Option<PodEnv>,
    own_writes: Arc<OwnWrites>,
}

impl OnCluster {
    /// Asks what is allowed in the namespaces of these tasks.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(super) async fn new(client: Client, pod: Option<PodEnv>, tasks: &[Followed]) -> anyhow::Result<Self> {
        let mut by_namespace = BTreeMap::<_, Vec<_>>::new();
        for task in tasks {
            by_namespace.entry(namespace(&client, task)).or_default().push(task.spec.lease.as_str());
        }
        let access = Access::new(client.clone());
        let mut namespaces = HashMap::new();
        for (namespace, leases) in by_namespace {
            let shared = InNamespace::new(&access, &namespace, &leases).await?;
            namespaces.insert(namespace, shared);
        }
        let (event_room, request_room, own_writes) = (EventRoom::new(client), Room::default(), Arc::default());
        Ok(Self { access, event_room, request_room, namespaces, pod, own_writes })
    }

    /// Checks that each task may compete.
    ///
    /// # Errors
    /// One may not, and why.
    pub(super) async fn check_all(&self, host: &Host, tasks: Vec<Followed>) -> anyhow::Result<Vec<Checked>> {
        let checks = tasks.into_iter().map(|task| self.check(host, task));
        stream::iter(checks).buffered(CHECKED_AT_ONCE_MAX).try_collect().await
    }

    /// Comes when the host's own Pod is to end; where there is none, never.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(super) async fn own_deletion(&self) -> anyhow::Result<BoxFuture<'static, ()>> {
        let Some(pod) = &self.pod else { return Ok(std::future::pending().boxed()) };
        let namespace = pod.namespace_or(self.access.client().default_namespace());
        let pod = &pod.name;
        Ok(match self.namespaces.get(namespace) {
            Some(shared) => own_pod::deletion(shared.beside(&self.access, namespace).await?.pods.as_deref(), pod),
            None => own_pod::deletion(first_contact(pods::of_namespace(&self.access, namespace)).await?.as_ref(), pod),
        })
    }

    async fn check(&self, host: &Host, task: Followed) -> anyhow::Result<Checked> {
        let client = self.access.client();
        let (namespace, lease) = (namespace(client, &task), task.spec.lease.as_str());
        let shared = &self.namespaces[&namespace];
        host.readiness.waits(task.spec.name.as_str(), "the cluster is asked what it allows");
        let coordinated = task.spec.coordinated.as_ref();
        // A shared watch may leave out states that follow each other closely; whom the API server has displaced counts.
        let watch = shared.leases.clone().filter(|_| coordinated.is_none());
        let store = KubernetesStore::new(client.clone(), &namespace, lease).sharing(self.request_room.clone(), watch);
        first_contact(access::check(&self.access, &store, &namespace, lease, coordinated.is_some())).await?;
        if coordinated.is_some() {
            check_identity(&host.identity)?;
            first_contact(coordinated::check(client, &namespace, lease)).await?;
        }
        let candidate = coordinated
            .map(|versions| CandidateStore::new(client.clone(), &namespace, lease, &host.identity, versions.clone()));
        let subject = host.subject(&task.spec, &namespace);
        let MayBeside { events, pods } = shared.beside(&self.access, &namespace).await?;
        let events = events.then(|| {
            let of_store = store.clone();
            EventWriter::new(self.event_room.clone(), &namespace, lease, move || of_store.uid(), &subject)
        });
        let (holder, holders) = watch::channel(None);
        let ended = holder::ended(pods.clone().filter(|_| task.spec.early_takeover), holders);
        let labels = match (&self.pod, &task.spec.leader_label) {
            (Some(pod), Some(label)) => {
                let name = task.spec.name.as_str();
                first_contact(PodLabels::open(&self.access, pod, &self.own_writes, name, label)).await?
            }
            _ => None,
        };
        let beside = Beside { events, holder, ended, candidate, labels };
        Ok(Checked { store, namespace, subject, beside, task })
    }
}

fn namespace(client: &Client, task: &Followed) -> String {
    task.spec.namespace.as_ref().map_or(client.default_namespace(), Name::as_str).to_owned()
}
