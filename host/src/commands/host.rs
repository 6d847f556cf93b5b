//! The host process: its two runtimes, its tasks, its signals.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use futures_core::stream::BoxStream;
use leasehold_core::{election::ElectionConfig, ports::LeaseStore};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    config::{Config, Name, StoreChoice, TaskSpec},
    guest::{module::ReadyModule, runtime::GuestRuntime},
    lease::{access, file::FileStore, kubernetes::KubernetesStore},
    log::{Subject, say},
    module::file::ReadError,
    supervisor::{self, Supervised, modules},
};

/// How long the cluster may take to answer at the start. Later, it may be gone for as long as it likes.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// A task whose first module is ready.
pub(super) struct Prepared {
    pub(super) spec: TaskSpec,
    pub(super) module: ReadyModule,
    pub(super) changes: BoxStream<'static, Result<Vec<u8>, ReadError>>,
}

/// The threads that guests run on: a guest may hold one for an epoch tick at a time, so never
/// just one.
///
/// # Errors
/// The system has no threads left.
pub(super) fn guest_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .thread_name("guest")
        .enable_all()
        .build()
        .context("cannot start the guests' threads")
}

/// Runs all tasks until the host is asked to end. `prepare` makes the tasks' modules ready,
/// before anything else is touched.
///
/// # Errors
/// What kept it from starting; or it was asked to end twice.
pub(super) fn host(
    config: Config,
    prepare: impl FnOnce(&GuestRuntime, Vec<TaskSpec>) -> anyhow::Result<Vec<Prepared>>,
) -> anyhow::Result<()> {
    let Config { store, identity, log_format: _, tasks } = config;
    let threads = guest_threads()?;
    let guests = Arc::new(GuestRuntime::new(threads.handle().clone())?);
    // The control thread is this one. Renewals run here, and no guest ever does.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control thread's runtime")?;
    let result = control.block_on(async {
        // From here on a signal is not lost, but waits for the tasks to be there.
        let signals = Signals::listen()?;
        let tasks = prepare(&guests, tasks)?;
        let identity = identity.unwrap_or_else(host_name);
        let (shutdown, _) = watch::channel(false);
        let running = start(&store, &identity, tasks, &guests, &shutdown).await?;
        until_ended(running, signals, &shutdown).await
    });
    // What still runs there, a build or a guest that was given up, is not waited for.
    control.shutdown_background();
    threads.shutdown_background();
    result
}

async fn start(
    store: &StoreChoice,
    identity: &str,
    tasks: Vec<Prepared>,
    guests: &Arc<GuestRuntime>,
    shutdown: &watch::Sender<bool>,
) -> anyhow::Result<JoinSet<()>> {
    let mut running = JoinSet::new();
    match store {
        StoreChoice::Folder(folder) => {
            for task in tasks {
                let namespace = task.spec.namespace.as_ref().map_or("default", Name::as_str).to_owned();
                let store = open_folder(folder, &namespace, task.spec.lease.as_str())?;
                spawn(&mut running, task, store, namespace, identity, guests, shutdown);
            }
        }
        StoreChoice::Kubernetes => {
            let client = access::client().await?;
            let mut stores = Vec::new();
            for task in &tasks {
                let namespace =
                    task.spec.namespace.as_ref().map_or(client.default_namespace(), Name::as_str).to_owned();
                let store = KubernetesStore::new(client.clone(), &namespace, task.spec.lease.as_str());
                tokio::time::timeout(
                    FIRST_CONTACT,
                    access::check(&client, &store, &namespace, task.spec.lease.as_str()),
                )
                .await
                .map_err(|_| {
                    anyhow!("the cluster has not answered for {FIRST_CONTACT:?}: is its address right, and is it up?")
                })??;
                stores.push((store, namespace));
            }
            for (task, (store, namespace)) in tasks.into_iter().zip(stores) {
                spawn(&mut running, task, store, namespace, identity, guests, shutdown);
            }
        }
    }
    Ok(running)
}

/// Opens a Lease in a folder.
///
/// # Errors
/// Leases cannot be kept there.
fn open_folder(folder: &Path, namespace: &str, lease: &str) -> anyhow::Result<FileStore> {
    FileStore::open(folder, namespace, lease)
        .with_context(|| format!("cannot keep leases in {}: give a folder that can be written", folder.display()))
}

fn spawn<S: LeaseStore>(
    running: &mut JoinSet<()>,
    task: Prepared,
    store: S,
    namespace: String,
    identity: &str,
    guests: &Arc<GuestRuntime>,
    shutdown: &watch::Sender<bool>,
) {
    let Prepared { spec, module, changes } = task;
    // Unique for every boot of every replica: electors that take themselves for another of the
    // same name made several leaders (kubernetes/kubernetes 61151).
    let identity = format!("{identity}_{:08x}", fastrand::u32(..));
    let subject = Subject {
        task: spec.name.as_str().into(),
        lease: format!("{namespace}/{}", spec.lease).into(),
        identity: identity.as_str().into(),
    };
    modules::tell_loaded(&subject, &module);
    let (current, receiver) = watch::channel(Arc::new(module));
    running.spawn(supervisor::supervise(Supervised {
        store,
        guests: guests.clone(),
        subject: subject.clone(),
        namespace,
        lease: spec.lease.as_str().to_owned(),
        election: ElectionConfig {
            identity,
            task: spec.name.as_str().to_owned(),
            adopt: spec.adopt,
            timing: spec.timing,
        },
        policy: spec.policy,
        guest: spec.guest,
        modules: receiver,
        shutdown: shutdown.subscribe(),
    }));
    let keep_ready = modules::keep_ready(guests.clone(), subject.clone(), spec.digest, changes, current);
    tokio::spawn(async move {
        keep_ready.await;
        say!(warn, subject, "module-unwatched"; "changes of the module are not noticed any more");
    });
}

async fn until_ended(
    mut running: JoinSet<()>,
    mut signals: Signals,
    shutdown: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(())) if *shutdown.borrow() => {}
                Some(Ok(())) => bail!("a task's loop ended by itself, which is a defect"),
                // Better to end, and be started again, than to look alive without electing.
                Some(Err(panicked)) => bail!("a task's loop failed, which is a defect: {panicked}"),
            },
            name = signals.next() => {
                if shutdown.send_replace(true) {
                    bail!("{name} came a second time: ended without waiting for the component; the lease runs out");
                }
                tracing::info!(event = "shutdown", signal = name, "ending: the component first, then the lease");
            }
        }
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
