//! The host process: its two runtimes, and how its tasks begin.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use futures_util::FutureExt;
use http::uri::Scheme;
use leasehold_core::{
    election::{Contest, ElectionConfig},
    ports::LeaseStore,
    task::TaskConfig,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use super::{
    grants::{http_grant, roots, with_grants},
    on_cluster::{Beside, Checked, OnCluster},
    running::{Ending, Running, Signals},
};
use crate::{
    admin::{self, Shown},
    clock,
    config::{AtStart, Config, Name, PodEnv, StoreChoice, TaskSpec, TracesConfig},
    guest::{
        imports::http::{grant::HttpGrant, tls::client_config},
        runtime::{GuestConfig, GuestRuntime},
    },
    kubernetes::cluster::Cluster,
    leader_endpoint::LeaderEndpoint,
    lease::file::FileStore,
    log::Subject,
    module::ModuleSource,
    priority::{self, Work},
    report::{
        Report,
        farewell::Farewell,
        happenings,
        health::Readiness,
        liveness::Liveness,
        metrics::Metrics,
        output::Outputs,
        tasks::Tasks,
        traces::{
            TermTraces,
            export::{Exporter, Tracer},
        },
    },
    supervisor::{
        self, Supervised,
        modules::{Modules, Rejected, Version},
        ready::KeepReady,
    },
    termination,
};

/// A task whose module is followed.
pub(super) struct Followed {
    pub(super) spec: TaskSpec,
    versions: watch::Receiver<Version>,
    http: HttpGrant,
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
        .on_thread_start(|| priority::give_way(Work::Guests))
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
    let Config {
        store,
        identity,
        pod,
        log_format: _,
        admin,
        traces,
        leader_address,
        shutdown_timeout,
        cache,
        at_start,
        tasks,
    } = config;
    clock::tell_limits();
    raise_open_files_max();
    let threads = guest_threads()?;
    let metrics = Arc::new(Metrics::default());
    let guests = GuestRuntime::new(threads.handle().clone())?;
    let guests = Arc::new(match &cache {
        Some(cache) => guests.with_cache(cache, metrics.cache_counts()),
        None => guests,
    });
    // The control thread is this one. Renewals run here, and no guest ever does.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control thread's runtime")?;
    // Unique for every boot of every replica: electors that take themselves for another of the same
    // name made several leaders (kubernetes/kubernetes 61151).
    let identity = format!("{}_{:08x}", identity.unwrap_or_else(host_name), fastrand::u32(..));
    termination::write_identity(&identity);
    let exporter = traces.map(|config| start_exporter(config, &identity, &metrics)).transpose()?;
    let host = Host {
        identity: identity.into(),
        tracer: exporter.as_ref().map(Exporter::tracer),
        modules: Arc::new(Modules::new(guests.clone())),
        liveness: Arc::new(Liveness::new(guests.ticker_pulse())),
        farewell: Arc::default(),
        guests,
        readiness: Arc::new(Readiness::new(tasks.iter().map(|task| task.name.as_str()))),
        metrics,
        tasks: Arc::new(Tasks::new(tasks.iter().map(|task| (task.name.as_str(), task.lease.as_str())))),
        // Kept where somebody can look.
        outputs: admin.map(|_| Arc::new(Outputs::new(tasks.iter().map(|task| task.name.as_str())))),
        cluster: Cluster::default(),
        shutdown: watch::Sender::new(false),
    };
    let leader_endpoint = leader_address.map(|address| LeaderEndpoint::start(address, &host.tasks)).transpose()?;
    let result = control.block_on(async {
        let mut signals = Signals::listen()?;
        if let (Some(address), Some(outputs)) = (admin, &host.outputs) {
            let Host { tasks, readiness, metrics, liveness, .. } = &host;
            let (tasks, outputs, readiness) = (tasks.clone(), outputs.clone(), readiness.clone());
            let (metrics, liveness) = (metrics.clone(), liveness.clone());
            admin::serve(address, Shown { tasks, outputs, readiness, metrics, liveness }).await?;
        }
        let started = async {
            if at_start == AtStart::Awaited && store == StoreChoice::Kubernetes {
                host.await_cluster(&tasks).await?;
            }
            let tasks = host.follow_all(tasks, open).await?;
            if at_start == AtStart::Required {
                for task in &tasks {
                    host.require(task).await.with_context(|| cannot_run(&task.spec))?;
                }
            }
            host.start_all(&store, pod, tasks).await
        };
        let running = tokio::select! {
            running = started => running?,
            name = signals.next() => {
                tracing::info!(event = "shutdown", signal = name, "ending: nothing has begun yet");
                return Ok(());
            }
        };
        let Host { shutdown, liveness, farewell, .. } = &host;
        running
            .until_ended(signals, Ending { shutdown, liveness: liveness.clone(), farewell, timeout: shutdown_timeout })
            .await
    });
    // Who has asked a second time does not wait any more.
    if let (Some(exporter), Ok(())) = (exporter, &result) {
        exporter.flush();
    }
    // What still runs there, a build or a guest that was given up, is not waited for.
    control.shutdown_background();
    threads.shutdown_background();
    if let Some(endpoint) = leader_endpoint {
        endpoint.end();
    }
    result
}

/// What all tasks share.
pub(super) struct Host {
    pub(super) identity: Arc<str>,
    guests: Arc<GuestRuntime>,
    modules: Arc<Modules>,
    pub(super) readiness: Arc<Readiness>,
    liveness: Arc<Liveness>,
    farewell: Arc<Farewell>,
    metrics: Arc<Metrics>,
    tracer: Option<Tracer>,
    tasks: Arc<Tasks>,
    outputs: Option<Arc<Outputs>>,
    pub(super) cluster: Cluster,
    /// Becomes true when the host was asked to end.
    shutdown: watch::Sender<bool>,
}

impl Host {
    /// An API server that is away when a replica is started is no reason to be started over and over, later each time.
    async fn await_cluster(&self, tasks: &[TaskSpec]) -> anyhow::Result<()> {
        let mut last = String::new();
        let tell = |why: &str| {
            for task in tasks {
                self.readiness.waits(task.name.as_str(), &format!("the cluster does not answer: {why}"));
            }
            if last != why {
                tracing::warn!(event = "cluster-unavailable", "the cluster does not answer, and is asked again: {why}");
                why.clone_into(&mut last);
            }
        };
        self.cluster.answers(tell).await
    }

    /// Begins to follow the tasks' modules, before any Lease is touched.
    async fn follow_all(
        &self,
        tasks: Vec<TaskSpec>,
        open: impl AsyncFn(&TaskSpec, &Cluster) -> anyhow::Result<ModuleSource>,
    ) -> anyhow::Result<Vec<Followed>> {
        let mut sources = HashMap::new();
        let mut followed = Vec::new();
        for spec in tasks {
            let spec = with_grants(spec, &self.cluster).await?;
            let http = http_grant(&spec, &self.cluster).await?;
            // The namespace is the ConfigMap's where the reference names none.
            let versions = match sources.entry((spec.module.clone(), spec.namespace.clone(), spec.origin.clone())) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let source = open(&spec, &self.cluster).await?;
                    new.insert(self.modules.follow(source).with_context(|| cannot_run(&spec))?)
                }
            };
            followed.push(Followed { versions: versions.clone(), spec, http });
        }
        Ok(followed)
    }

    /// Makes a task's module ready, which has to be there now.
    async fn require(&self, task: &Followed) -> anyhow::Result<()> {
        let Followed { spec, versions, .. } = task;
        self.readiness.waits(spec.name.as_str(), "its module is being read");
        let read = versions.clone().wait_for(Option::is_some).await.map(|version| version.clone());
        let found = match read.context("its source tells nothing")? {
            Some(Ok(found)) => found,
            // Not the module's fault, and so not the caller's.
            Some(Err(error)) if error.is_of_the_source() => return Err(error.into()),
            Some(Err(error)) => return Err(Rejected::Read(error).into()),
            None => bail!("its source has not been read"),
        };
        self.readiness.waits(spec.name.as_str(), "its module is being compiled");
        self.modules.prepare(&found, spec.digest.as_ref()).await?;
        Ok(())
    }

    /// Starts the tasks' loops.
    async fn start_all(
        &self,
        store: &StoreChoice,
        pod: Option<PodEnv>,
        tasks: Vec<Followed>,
    ) -> anyhow::Result<Running> {
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
                    self.start(&mut running, task, store, namespace, subject, Beside::nothing());
                }
            }
            StoreChoice::Kubernetes => {
                let on_cluster = OnCluster::new(self.cluster.client().await?.clone(), pod, &tasks).await?;
                let checked = on_cluster.check_all(self, tasks).await?;
                running.pod_deleted = on_cluster.own_deletion().await?;
                // None competes until all may.
                for Checked { task, store, namespace, subject, beside } in checked {
                    self.start(&mut running, task, store, namespace, subject, beside);
                }
            }
        }
        Ok(running)
    }

    pub(super) fn subject(&self, spec: &TaskSpec, namespace: &str) -> Subject {
        Subject {
            task: spec.name.as_str().into(),
            lease: format!("{namespace}/{}", spec.lease).into(),
            identity: self.identity.clone(),
        }
    }

    fn start<S: LeaseStore>(
        &self,
        running: &mut Running,
        task: Followed,
        store: S,
        namespace: String,
        subject: Subject,
        beside: Beside,
    ) {
        let Followed { spec, versions, http } = task;
        let Beside { events, holder, ended, candidate, labels } = beside;
        let queue = events.map(|writer| {
            let (queue, happened) = happenings();
            running.events.spawn(writer.write_all(happened));
            queue
        });
        let metrics = self.metrics.of_task(spec.name.as_str(), spec.lease.as_str());
        let http = HttpGrant { counts: metrics.http_counts(), ..http };
        let election = ElectionConfig {
            identity: subject.identity.to_string(),
            task: spec.name.as_str().to_owned(),
            adopt: spec.adopt,
            timing: spec.timing,
            contest: if candidate.is_some() { Contest::Coordinated } else { Contest::Open },
        };
        let guest_counts = metrics.guest_counts();
        let state = self.tasks.of_task(&subject);
        let tail = self.outputs.as_ref().and_then(|outputs| outputs.of_task(&subject.task));
        let traces = self.tracer.as_ref().map(|tracer| TermTraces::new(tracer.clone(), subject.clone()));
        let report = Arc::new(Report::new(subject, metrics, traces.unwrap_or_default(), state, queue));
        let (tell_first, first) = oneshot::channel();
        let mut keep_ready = KeepReady {
            modules: self.modules.clone(),
            report: report.clone(),
            readiness: self.readiness.clone(),
            pinned: spec.digest,
            versions,
            last_told: None,
        };
        let of_task = report.clone();
        running.modules.spawn(async move {
            if let Some(module) = keep_ready.first().await {
                let (current, modules) = watch::channel(module);
                // Who does not take it any more is ending.
                let _ = tell_first.send(modules);
                keep_ready.keep(current).await;
            }
            report.module_unwatched();
        });
        let (shutdown, mut ending) = (self.shutdown.subscribe(), self.shutdown.subscribe());
        let (guests, farewell) = (self.guests.clone(), self.farewell.clone());
        let pulse = self.liveness.of_loop(spec.name.as_str());
        running.tasks.spawn(async move {
            // It competes when it could run its module at once, and not before.
            let modules = tokio::select! {
                Ok(modules) = first => modules,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            supervisor::supervise(Supervised {
                store,
                candidate,
                policy: TaskConfig { leader_label: labels.is_some(), ..spec.policy },
                labels,
                guests,
                report: of_task,
                namespace,
                lease: spec.lease.as_str().to_owned(),
                election,
                guest: GuestConfig { counts: guest_counts, tail, http: Arc::new(http), ..spec.guest },
                modules,
                holder,
                ended,
                shutdown,
                pulse,
                farewell,
            })
            .await;
        });
    }
}

/// Starts what sends spans.
///
/// # Errors
/// There is no authority to trust in; the system has no threads left.
fn start_exporter(config: TracesConfig, identity: &str, metrics: &Metrics) -> anyhow::Result<Exporter> {
    let needed = (config.endpoint.scheme() == Some(&Scheme::HTTPS)).then_some("traces go to an https URL");
    let tls = client_config(roots(None, needed)?);
    Exporter::start(config, identity, tls, metrics.span_counts()).context("cannot start the thread that sends traces")
}

fn cannot_run(spec: &TaskSpec) -> String {
    format!("task {}: module {} cannot be run", spec.name, spec.module)
}

/// Opens a Lease in a folder.
///
/// # Errors
/// Leases cannot be kept there.
fn open_folder(folder: &Path, namespace: &str, lease: &str) -> anyhow::Result<FileStore> {
    FileStore::open(folder, namespace, lease)
        .with_context(|| format!("cannot keep leases in {}: give a folder that can be written", folder.display()))
}

/// As many as the system lets this process have: a connection each for a thousand watches is more than the 1,024
/// that a shell begins with. (That many are for `select`, which nothing here uses; Go does the same.)
fn raise_open_files_max() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, it stays; what then fails says why.
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(event = "open-files", "the limit of open files stays {:?}: {error}", limit.current);
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
