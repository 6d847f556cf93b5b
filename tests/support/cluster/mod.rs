//! A whole Kubernetes for tests: the one of two nodes that tests/cluster makes on this machine, or a
//! person's own, of which `LEASEHOLD_TEST_KUBECONFIG` names the kubeconfig.

pub mod containers;
pub mod faults;
mod follow;
pub mod image;
pub mod invariants;
pub mod namespace;
pub mod pod_logs;

use std::{
    future::Future,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::build;
use pod_logs::PodLogs;

/// How long to wait for what must happen: kubelets take their time, and the machine is a busy one.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// `tests/cluster/up` ends with it where the machine cannot.
const SKIPPED: i32 = 77;

/// Ended by [`Cluster::down`], and in any case by the end of this process.
pub struct Cluster {
    kubeconfig: PathBuf,
    /// Where tests/cluster keeps what it made. A person's own cluster has none.
    folder: Option<PathBuf>,
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
    logs: PodLogs,
    /// What kubectl learns of the API, which it would keep in the home folder.
    kubectl_cache: tempfile::TempDir,
}

/// Why there is no cluster.
pub enum NoCluster {
    /// This machine cannot run one; with what `up` has said.
    Skipped(String),
    /// It should have come up.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for NoCluster {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Cluster {
    /// Brings it up, and reads its Pods' logs from then on.
    ///
    /// # Errors
    /// It does not come up, or the machine is none that could run it.
    pub fn up() -> Result<Self, NoCluster> {
        let own = std::env::var_os("LEASEHOLD_TEST_KUBECONFIG").is_some_and(|path| !path.is_empty());
        let kubeconfig = run_up()?;
        let folder = if own { None } else { kubeconfig.parent().map(Path::to_owned) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut config = runtime.block_on(kube::Config::from_custom_kubeconfig(
            Kubeconfig::read_from(&kubeconfig)?,
            &KubeConfigOptions::default(),
        ))?;
        // An API server that is away is what some stories are about: whoever waits asks again.
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(Duration::from_secs(15));
        config.default_retry = false;
        let client = {
            let _inside = runtime.enter();
            kube::Client::try_from(config)?
        };
        let kubectl_cache = tempfile::tempdir()?;
        let logs = match &folder {
            Some(folder) => PodLogs::of_nodes(folder),
            None => PodLogs::of_api_server(kubectl(&kubeconfig, None, kubectl_cache.path())),
        };
        Ok(Self { kubeconfig, folder, client, runtime, logs, kubectl_cache })
    }

    /// Ends it, where it was made by [`Cluster::up`].
    ///
    /// # Errors
    /// Something of it is left; `down` has said what.
    pub fn down(self) -> Result<()> {
        if self.folder.is_some() { self.command("down", &[]) } else { Ok(()) }
    }

    /// Why nodes, containers and the control plane are to be left alone, where they are.
    pub fn hands_off(&self) -> Option<&'static str> {
        self.folder.is_none().then_some(
            "it cuts, kills or stops what is below the API, and LEASEHOLD_TEST_KUBECONFIG's cluster is used as it is",
        )
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Waits for a request to the API server.
    pub fn block_on<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    /// What all Pods have logged.
    pub fn logs(&self) -> &PodLogs {
        &self.logs
    }

    /// Puts images into the nodes. On a person's own cluster they have to be there.
    ///
    /// # Errors
    /// They do not get there.
    pub fn load(&self, image: &Path) -> Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        self.command("load", &[image.to_str().context("a path in UTF-8")?])
    }

    /// Runs kubectl, with `stdin` given to it, and returns what it prints.
    ///
    /// # Errors
    /// It fails; the error has its words.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Result<String> {
        let mut child = kubectl(&self.kubeconfig, self.folder.as_deref(), self.kubectl_cache.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl does not start")?;
        let mut pipe = child.stdin.take().context("stdin is piped")?;
        // From a thread of its own, because neither side must wait for the other to have read all.
        let output = thread::scope(|scope| {
            let writing = scope.spawn(move || pipe.write_all(stdin.as_bytes()));
            let output = child.wait_with_output();
            // Where kubectl did not want it all, its exit code says so.
            let _ = writing.join();
            output
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {said}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// One of the commands in tests/cluster.
    fn command(&self, name: &str, args: &[&str]) -> Result<()> {
        let output = Command::new(build::root().join("tests/cluster").join(name))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("tests/cluster/{name} does not start"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tests/cluster/{name} {}: {said}", args.join(" "));
        Ok(())
    }
}

/// The one that was built with the cluster; for a person's own, theirs.
fn kubectl(kubeconfig: &Path, folder: Option<&Path>, cache: &Path) -> Command {
    let mut command = Command::new(folder.map_or("kubectl".into(), |folder| folder.join("bin/kubectl")));
    command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(cache);
    command
}

/// Shows what `up` says while it says it, and returns the kubeconfig.
fn run_up() -> Result<PathBuf, NoCluster> {
    let mut up = Command::new(build::root().join("tests/cluster/up"))
        .args(["--while", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("tests/cluster/up does not start")?;
    let words = up.stderr.take().context("stderr is piped")?;
    let mut said = String::new();
    for line in BufReader::new(words).lines() {
        let line = line?;
        eprintln!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let output = up.wait_with_output()?;
    if output.status.code() == Some(SKIPPED) {
        return Err(NoCluster::Skipped(said));
    }
    if !output.status.success() {
        return Err(NoCluster::Failed(anyhow::anyhow!("tests/cluster/up has failed; its words are above")));
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Tries again until there is an answer.
///
/// # Panics
/// There is none within [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> T {
    let begun = Instant::now();
    loop {
        let why = match attempt() {
            Ok(Some(found)) => return found,
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; the last answer: {why}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Now, as events tell it: microseconds since the Unix epoch.
pub fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// The number in a node's name: `node2`.
fn number_of(node: &str) -> Result<&str> {
    match node.strip_prefix("node") {
        Some(number) => Ok(number),
        None => bail!("{node} is no node of tests/cluster"),
    }
}
