//! The host process: its two runtimes, and how its tasks begin.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use bytesize::ByteSize;
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use leasehold_core::{
    election::{Contest, ElectionConfig},
    ports::LeaseStore,
};
use tokio::{sync::watch, task::JoinSet};

use super::running::{Running, Signals};
use crate::{
    admin::{self, Shown},
    clock,
    config::{Config, Name, StoreChoice, TaskSpec, check_identity},
    guest::{
        module::ReadyModule,
        runtime::{GuestConfig, GuestRuntime},
    },
    kubernetes::{
        cluster::{Cluster, first_contact},
        events::EventWriter,
        holder, own_pod,
    },
    lease::{access, candidate::CandidateStore, coordinated, file::FileStore, kubernetes::KubernetesStore},
    log::Subject,
    module::{Changes, ModuleSource},
    priority,
    report::{Report, happenings, health::Readiness, metrics::Metrics},
    supervisor::{
        self, Supervised,
        modules::{self, Rejected},
    },
    termination,
};

/// A task whose first module is ready.
struct Prepared {
    spec: TaskSpec,
    module: ReadyModule,
    changes: Changes,
}

/// The threads that guests run on: a guest may hold one for an epoch tick at a time, so never
/// just one.
///
/// # Errors
/// The system has no threads left.
fn guest_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .thread_name("guest")
        .on_thread_start(priority::give_way)
        .enable_all()
        .build()
        .context("cannot start the guests' threads")
}

/// Runs all tasks until the host is asked to end. `open` finds where a task's module comes from.
///
/// # Errors
/// What kept it from starting; or it was asked to end twice.
pub(super) fn host(
    config: Config,
    open: impl AsyncFn(&TaskSpec, &Cluster) -> anyhow::Result<ModuleSource>,
) -> anyhow::Result<()> {
    let Config { store, identity, pod, log_format: _, admin, tasks } = config;
    clock::tell_limits();
    let threads = guest_threads()?;
    let guests = Arc::new(GuestRuntime::new(threads.handle().clone())?);
    // The control thread is this one. Renewals run here, and no guest ever does.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control thread's runtime")?;
    // Unique for every boot of every replica: electors that take themselves for another of the same
    // name made several leaders (kubernetes/kubernetes 61151).
    let identity = format!("{}_{:08x}", identity.unwrap_or_else(host_name), fastrand::u32(..));
    termination::write_identity(&identity);
    let host = Host {
        identity: identity.into(),
        guests,
        readiness: Arc::new(Readiness::new(tasks.iter().map(|task| task.name.as_str()))),
        metrics: Arc::default(),
        cluster: Cluster::default(),
        shutdown: watch::Sender::new(false),
    };
    let result = control.block_on(async {
        let mut signals = Signals::listen()?;
        if let Some(address) = admin {
            let Host { readiness, metrics, guests, .. } = &host;
            let (readiness, metrics, guests) = (readiness.clone(), metrics.clone(), guests.clone());
            admin::serve(address, Shown { readiness, metrics, guests }).await?;
        }
        let started = async {
            let tasks = host.prepare_all(tasks, open).await?;
            host.start_all(&store, pod.as_deref(), tasks).await
        };
        let running = tokio::select! {
            running = started => running?,
            name = signals.next() => {
                tracing::info!(event = "shutdown", signal = name, "ending: nothing has begun yet");
                return Ok(());
            }
        };
        running.until_ended(signals, &host.shutdown).await
    });
    // What still runs there, a build or a guest that was given up, is not waited for.
    control.shutdown_background();
    threads.shutdown_background();
    result
}

/// What a task has only on a cluster.
struct OnCluster {
    events: Option<EventWriter>,
    /// Who holds the Lease, and of whom it is proven that they have ended.
    holder: watch::Sender<Option<String>>,
    ended: BoxStream<'static, String>,
    /// Its part in a coordinated election.
    candidate: Option<CandidateStore>,
}

/// What all tasks share.
struct Host {
    identity: Arc<str>,
    guests: Arc<GuestRuntime>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    cluster: Cluster,
    /// Becomes true when the host was asked to end.
    shutdown: watch::Sender<bool>,
}

impl Host {
    /// Makes the tasks' modules ready, before any Lease is touched.
    async fn prepare_all(
        &self,
        tasks: Vec<TaskSpec>,
        open: impl AsyncFn(&TaskSpec, &Cluster) -> anyhow::Result<ModuleSource>,
    ) -> anyhow::Result<Vec<Prepared>> {
        let mut prepared = Vec::new();
        for spec in tasks {
            self.readiness.waits(spec.name.as_str(), "its module is being read");
            let source = open(&spec, &self.cluster).await?;
            let cannot = || format!("task {}: module {} cannot be run", spec.name, spec.module);
            let (module, changes) = self.prepare(&spec, source).await.with_context(cannot)?;
            prepared.push(Prepared { spec, module, changes });
        }
        Ok(prepared)
    }

    async fn prepare(&self, spec: &TaskSpec, source: ModuleSource) -> anyhow::Result<(ReadyModule, Changes)> {
        // First, so that no change is missed while the bytes of now are read and compiled.
        let changes = source.changes()?;
        let bytes = match source.read().await {
            // Not the module's fault, and so not the caller's.
            Err(error) if error.is_of_the_source() => return Err(error.into()),
            read => read.map_err(Rejected::from)?,
        };
        // A large one takes many seconds, and whoever waits should know for what.
        let (task, size) = (spec.name.as_str(), ByteSize(bytes.len() as u64));
        tracing::info!(event = "module-loading", task, "compiling {} ({size})", spec.module);
        self.readiness.waits(task, "its module is being compiled");
        let (guests, pinned) = (self.guests.clone(), spec.digest.clone());
        let compiled = tokio::task::spawn_blocking(move || modules::prepare(&guests, &bytes, pinned.as_ref()));
        let module = compiled.await.context("compiling it failed, which is a defect")??;
        Ok((module, changes))
    }

    /// Starts the tasks' loops.
    async fn start_all(&self, store: &StoreChoice, pod: Option<&str>, tasks: Vec<Prepared>) -> anyhow::Result<Running> {
        let mut running = Running {
            tasks: JoinSet::new(),
            modules: JoinSet::new(),
            events: JoinSet::new(),
            pod_deleted: std::future::pending().boxed(),
        };
        match store {
            StoreChoice::Folder(folder) => {
                for task in tasks {
                    let namespace = task.spec.namespace.as_ref().map_or("default", Name::as_str).to_owned();
                    let store = open_folder(folder, &namespace, task.spec.lease.as_str())?;
                    let subject = self.subject(&task.spec, &namespace);
                    let cluster = OnCluster {
                        events: None,
                        holder: watch::Sender::new(None),
                        ended: stream::pending().boxed(),
                        candidate: None,
                    };
                    self.start(&mut running, task, store, namespace, subject, cluster);
                }
            }
            StoreChoice::Kubernetes => {
                let client = self.cluster.client().await?;
                let mut checked = Vec::new();
                for task in tasks {
                    let lease = task.spec.lease.as_str();
                    self.readiness.waits(task.spec.name.as_str(), "the cluster is asked what it allows");
                    let namespace =
                        task.spec.namespace.as_ref().map_or(client.default_namespace(), Name::as_str).to_owned();
                    let store = KubernetesStore::new(client.clone(), &namespace, lease);
                    let coordinated = task.spec.coordinated.as_ref();
                    first_contact(access::check(client, &store, &namespace, lease, coordinated.is_some())).await?;
                    if coordinated.is_some() {
                        check_identity(&self.identity)?;
                        first_contact(coordinated::check(client, &namespace, lease)).await?;
                    }
                    let subject = self.subject(&task.spec, &namespace);
                    let events = first_contact(EventWriter::new(client.clone(), &namespace, lease, &subject)).await?;
                    let (holder, holders) = watch::channel(None);
                    let ended = first_contact(holder::ended(client, &namespace, &subject, holders)).await?;
                    let candidate = coordinated.map(|versions| {
                        CandidateStore::new(client.clone(), &namespace, lease, &self.identity, versions.clone())
                    });
                    checked.push((task, store, namespace, subject, OnCluster { events, holder, ended, candidate }));
                }
                if let Some(pod) = pod {
                    running.pod_deleted = first_contact(own_pod::deletion(client, pod)).await?;
                }
                // None competes until all may.
                for (task, store, namespace, subject, cluster) in checked {
                    self.start(&mut running, task, store, namespace, subject, cluster);
                }
            }
        }
        Ok(running)
    }

    fn subject(&self, spec: &TaskSpec, namespace: &str) -> Subject {
        Subject {
            task: spec.name.as_str().into(),
            lease: format!("{namespace}/{}", spec.lease).into(),
            identity: self.identity.clone(),
        }
    }

    fn start<S: LeaseStore>(
        &self,
        running: &mut Running,
        task: Prepared,
        store: S,
        namespace: String,
        subject: Subject,
        cluster: OnCluster,
    ) {
        let Prepared { spec, module, changes } = task;
        let OnCluster { events, holder, ended, candidate } = cluster;
        let queue = events.map(|writer| {
            let (queue, happened) = happenings();
            running.events.spawn(writer.write_all(happened));
            queue
        });
        let metrics = self.metrics.of_task(spec.name.as_str(), spec.lease.as_str());
        let election = ElectionConfig {
            identity: subject.identity.to_string(),
            task: spec.name.as_str().to_owned(),
            adopt: spec.adopt,
            timing: spec.timing,
            contest: if candidate.is_some() { Contest::Coordinated } else { Contest::Open },
        };
        let guest_counts = metrics.guest_counts();
        let report = Arc::new(Report::new(subject, metrics, queue));
        report.module_loaded(&module);
        let (current, receiver) = watch::channel(Arc::new(module));
        running.tasks.spawn(supervisor::supervise(Supervised {
            store,
            candidate,
            guests: self.guests.clone(),
            report: report.clone(),
            namespace,
            lease: spec.lease.as_str().to_owned(),
            election,
            policy: spec.policy,
            guest: GuestConfig { counts: guest_counts, ..spec.guest },
            modules: receiver,
            holder,
            ended,
            shutdown: self.shutdown.subscribe(),
        }));
        let keep_ready = modules::keep_ready(self.guests.clone(), report.clone(), spec.digest, changes, current);
        running.modules.spawn(async move {
            keep_ready.await;
            report.module_unwatched();
        });
        self.readiness.ready(spec.name.as_str());
    }
}

/// Opens a Lease in a folder.
///
/// # Errors
/// Leases cannot be kept there.
fn open_folder(folder: &Path, namespace: &str, lease: &str) -> anyhow::Result<FileStore> {
    FileStore::open(folder, namespace, lease)
        .with_context(|| format!("cannot keep leases in {}: give a folder that can be written", folder.display()))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
