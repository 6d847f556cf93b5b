//! A real Kubernetes API for tests: etcd and kube-apiserver as child processes on loopback, without
//! nodes or controllers. The binaries come from `tests/cluster/binaries`.
//!
//! Everything a control plane writes is in one temporary folder. Its processes and that folder are
//! gone when it is dropped, and also when the test process ends without dropping it (killed, or the
//! control plane was in a `static`): see [`Guardian`].

mod audit;
mod credentials;
mod process;
mod rights;

use std::{
    fs::Permissions,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::{core::v1::Namespace, rbac::v1::ClusterRoleBinding};
use kube::{
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::Signal;
use tempfile::TempDir;

pub use self::audit::Request;
use self::{
    credentials::{Authority, Credentials, write_kubeconfig},
    process::Process,
};
use crate::guardian::Guardian;

/// How long the API server may take to become ready. It takes about three seconds alone on two
/// cores; tests that run beside a compiler have seen many times that.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The user with all rights.
const ADMIN: &str = "leasehold-test-admin";
/// The group that Kubernetes binds to `cluster-admin` by itself.
const ADMIN_GROUP: &str = "system:masters";

/// A running etcd and kube-apiserver, and the credentials for them.
///
/// A control plane in a `static`, shared by the tests of a process, is fine: it is tied to no tokio
/// runtime.
pub struct ControlPlane {
    // Dropped in this order: the processes end before their folder goes, and the guardian, which
    // would do both, is dismissed last.
    api_server: Option<Process>,
    etcd: Process,
    folder: TempDir,
    guardian: Guardian,

    binaries: PathBuf,
    arguments: Vec<String>,
    etcd_port: u16,
    server: SocketAddr,
    authority: Authority,
    admin: Credentials,
    kubeconfig: PathBuf,
    config: kube::Config,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver out of the folder `binaries` and waits until the API is ready.
    ///
    /// # Errors
    /// When they do not become ready; the error has the end of the log of the one that failed.
    pub async fn start(binaries: &Path) -> Result<Self> {
        Self::start_with(binaries, &[]).await
    }

    /// The same, with further arguments for kube-apiserver.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(binaries: &Path, arguments: &[&str]) -> Result<Self> {
        match Self::try_start(binaries, arguments).await {
            // Between finding a port free and using it, another process may have taken it.
            Err(error) if format!("{error:#}").contains("address already in use") => {
                Self::try_start(binaries, arguments).await
            }
            outcome => outcome,
        }
    }

    async fn try_start(binaries: &Path, arguments: &[&str]) -> Result<Self> {
        let binaries = std::path::absolute(binaries)?;
        let folder = tempfile::Builder::new()
            .prefix("leasehold-control-plane-")
            // There will be keys in it.
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a folder for the control plane")?;
        let mut guardian = Guardian::over(folder.path())?;

        let authority = Authority::new()?;
        authority.write_server_files(folder.path())?;
        audit::write_policy(folder.path(), ADMIN)?;
        let admin = authority.issue_to_user(ADMIN, Some(ADMIN_GROUP))?;

        let [etcd_port, port] = free_ports()?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let kubeconfig = folder.path().join("admin.kubeconfig");
        write_kubeconfig(&kubeconfig, server, &authority, &admin)?;
        let config =
            kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default())
                .await?;

        let etcd = start_etcd(&binaries, folder.path(), etcd_port)?;
        guardian.watch_over(&[etcd.id()])?;
        let mut this = Self {
            api_server: None,
            etcd,
            folder,
            guardian,
            binaries,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            etcd_port,
            server,
            authority,
            admin,
            kubeconfig,
            config,
        };
        this.start_api_server().await?;
        Ok(this)
    }

    /// Where the API server listens.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// A client of the API server with all rights, for use on the runtime that asks for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config.clone())
            .expect("a client could be made of this very config when the API server was started")
    }

    /// The file with the credentials that have all rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes a kubeconfig file for the user of that name, who has no right until a binding gives it.
    ///
    /// The name may be a service account's (`system:serviceaccount:NAMESPACE:NAME`), for bindings
    /// to that account; it is then not in the groups of service accounts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_for(&self, user: &str) -> Result<PathBuf> {
        let credentials = self.authority.issue_to_user(user, None)?;
        self.new_kubeconfig(self.server, &credentials)
    }

    /// Makes a kubeconfig file with all rights for an API server at another address, such as that of
    /// a test's proxy on loopback: the server's certificate is for 127.0.0.1 and localhost.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_via(&self, server: SocketAddr) -> Result<PathBuf> {
        self.new_kubeconfig(server, &self.admin)
    }

    /// Makes a kubeconfig file for a user with all rights whose requests are recorded, unlike the administrator's.
    ///
    /// # Errors
    /// When the file cannot be written, or the API server does not bind the user.
    pub async fn kubeconfig_for_admin(&self, user: &str) -> Result<PathBuf> {
        let binding = serde_json::from_value(serde_json::json!({
            "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))?;
        kube::Api::<ClusterRoleBinding>::all(self.client()).create(&PostParams::default(), &binding).await?;
        self.kubeconfig_for(user)
    }

    /// What this user, who is not the administrator, has asked of the API server so far.
    ///
    /// # Errors
    /// When the API server's record of it cannot be read.
    pub fn requests_of(&self, user: &str) -> Result<Vec<Request>> {
        audit::requests_of(self.folder.path(), user)
    }

    fn new_kubeconfig(&self, server: SocketAddr, credentials: &Credentials) -> Result<PathBuf> {
        let (_, path) =
            tempfile::Builder::new().prefix("test-").suffix(".kubeconfig").tempfile_in(self.folder.path())?.keep()?;
        write_kubeconfig(&path, server, &self.authority, credentials)?;
        Ok(path)
    }

    /// Kills the API server, as `kill -9` does, and reaps it. What it stored stays. Blocks for some
    /// milliseconds. Does nothing where it is stopped already.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn stop_api_server(&mut self) -> Result<()> {
        if let Some(mut api_server) = self.api_server.take() {
            api_server.kill()?;
            // It is reaped when it is dropped, and not before can its id become another process's:
            // by then the guardian has forgotten the id.
            self.guardian.watch_over(&[self.etcd.id()])?;
        }
        Ok(())
    }

    /// Starts the API server again, at the same address and with what it had stored, and waits until
    /// it is ready. Where that fails, it is stopped.
    ///
    /// # Errors
    /// When it runs already, or does not become ready; the error has the end of its log.
    pub async fn start_api_server(&mut self) -> Result<()> {
        ensure!(self.api_server.is_none(), "the API server runs already");
        let api_server =
            start_api_server(&self.binaries, self.folder.path(), self.etcd_port, self.server, &self.arguments)?;
        let api_server = self.api_server.insert(api_server);
        self.guardian.watch_over(&[self.etcd.id(), api_server.id()])?;
        let outcome = wait_until_ready(&self.config, &mut self.etcd, api_server).await;
        if outcome.is_err() {
            // Why it did not start says more than why it could not be stopped.
            let _ = self.stop_api_server();
        }
        outcome
    }

    /// Freezes the API server with SIGSTOP: its connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause_api_server(&self) -> Result<()> {
        self.signal_api_server(Signal::STOP)
    }

    /// Lets an API server that [`Self::pause_api_server`] froze go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume_api_server(&self) -> Result<()> {
        self.signal_api_server(Signal::CONT)
    }

    fn signal_api_server(&self, signal: Signal) -> Result<()> {
        let api_server = self.api_server.as_ref();
        api_server.context("the API server is stopped")?.signal(signal)
    }
}

fn start_etcd(binaries: &Path, folder: &Path, port: u16) -> Result<Process> {
    let url = format!("http://127.0.0.1:{port}");
    let arguments = [
        "--data-dir=etcd".to_owned(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        // A single member calls no peer, so nobody needs to know this port.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        // What a test stored need not outlive the machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Process::start(binaries, folder, "etcd", &arguments)
}

fn start_api_server(
    binaries: &Path,
    folder: &Path,
    etcd_port: u16,
    server: SocketAddr,
    further: &[String],
) -> Result<Process> {
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--bind-address={}", server.ip()),
        format!("--secure-port={}", server.port()),
        // The address that it publishes of itself must not be a loopback one. Nobody calls this one,
        // which is reserved for documentation.
        "--advertise-address=198.51.100.1".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--client-ca-file=authority.crt".to_owned(),
        "--tls-cert-file=server.crt".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        format!("--audit-policy-file={}", audit::POLICY),
        format!("--audit-log-path={}", audit::LOG),
        // In one file: nothing of it is put aside by a name of its own.
        "--audit-log-maxsize=10000".to_owned(),
        // Written before the answer is, so that whoever has an answer finds it there.
        "--audit-log-mode=blocking".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=service-account.pub".to_owned(),
        "--service-account-signing-key-file=service-account.key".to_owned(),
    ];
    arguments.extend_from_slice(further);
    Process::start(binaries, folder, "kube-apiserver", &arguments)
}

async fn wait_until_ready(config: &kube::Config, etcd: &mut Process, api_server: &mut Process) -> Result<()> {
    let client = kube::Client::try_from(config.clone())?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        etcd.ensure_running()?;
        api_server.ensure_running()?;
        let attempt = tokio::time::timeout(Duration::from_secs(5), ask_whether_ready(&client));
        let not_ready = match attempt.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("it does not answer"),
        };
        if Instant::now() >= deadline {
            let context = format!("kube-apiserver is not ready after {READY_WITHIN:?}");
            return Err(not_ready.context(api_server.log_tail()).context(context));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ask_whether_ready(client: &kube::Client) -> Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new())?;
    client.request_text(request).await?;
    // A new API server calls itself ready a moment before it has made this namespace.
    let namespaces = kube::Api::<Namespace>::all(client.clone());
    namespaces.get("default").await?;
    Ok(())
}

/// Ports that were free just now, all different.
fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    // Held until all are known, so that none is given out twice.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
