//! A real Kubernetes API for tests: etcd and kube-apiserver as child processes on loopback, without
//! nodes or controllers. The binaries come from `tests/cluster/binaries`.
//!
//! Everything a control plane writes is in one temporary folder. Its processes and that folder are
//! gone when it is dropped, and also when the test process ends without dropping it (killed, or the
//! control plane was in a `static`): see [`Guardian`].

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

/// How long the API server may take to become ready. It takes about three seconds alone on two
/// cores; tests that run beside a compiler have seen many times that.
const READY_WITHIN: Duration = Duration::from_secs(60);

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
        match Self::try_start(binaries).await {
            // Between finding a port free and using it, another process may have taken it.
            Err(error) if format!("{error:#}").contains("address already in use") => Self::try_start(binaries).await,
            outcome => outcome,
        }
    }

    async fn try_start(binaries: &Path) -> Result<Self> {
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
        let admin = authority.issue_to_user("leasehold-test-admin", Some(ADMIN_GROUP))?;

        let [etcd_port, port] = free_ports()?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let kubeconfig = folder.path().join("admin.kubeconfig");
        write_kubeconfig(&kubeconfig, server, &authority, &admin)?;
        let config =
            kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default())
                .await?;

        let etcd = start_etcd(&binaries, folder.path(), etcd_port)?;
        guardian.watch_over(&[&etcd])?;
        let mut this = Self {
            api_server: None,
            etcd,
            folder,
            guardian,
            binaries,
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
            api_server.child.kill()?;
            // It is reaped when it is dropped, and not before can its id become another process's:
            // by then the guardian has forgotten the id.
            self.guardian.watch_over(&[&self.etcd])?;
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
        let api_server = start_api_server(&self.binaries, self.folder.path(), self.etcd_port, self.server)?;
        let api_server = self.api_server.insert(api_server);
        self.guardian.watch_over(&[&self.etcd, api_server])?;
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

fn start_api_server(binaries: &Path, folder: &Path, etcd_port: u16, server: SocketAddr) -> Result<Process> {
    let arguments = [
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
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=service-account.pub".to_owned(),
        "--service-account-signing-key-file=service-account.key".to_owned(),
    ];
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

/// A child that is killed and reaped when dropped, and logs into a file beside its data.
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `name` out of `binaries`, in `folder`.
    fn start(binaries: &Path, folder: &Path, name: &'static str, arguments: &[String]) -> Result<Self> {
        let program = binaries.join(name);
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(&program)
            .args(arguments)
            // etcd takes its settings from the environment, too.
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| {
                let program = program.display();
                format!("cannot run {program} (tests/cluster/binaries builds it)")
            })?;
        Ok(Self { name, child, log })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The end of its log, for an error message.
    fn log_tail(&self) -> String {
        const LENGTH: u64 = 4096;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => format!("the end of the log of {}:\n{}", self.name, String::from_utf8_lossy(&tail)),
            Err(error) => format!("the log of {} cannot be read: {error}", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only where the process has ended and is reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell that outlives the test process where that dies without cleaning up: the pipe from there
/// closes, and the shell kills the processes it was told of and removes the folder.
///
/// A parent-death signal would need `unsafe` or `setpriv`, would come when the thread that started
/// the child ends (a test's, mostly), and would leave the folder.
struct Guardian(Child);

impl Guardian {
    const SCRIPT: &str = "
        while read -r line; do pids=$line; done
        kill -KILL $pids
        # A process that is just dying may still add a file.
        for attempt in 1 2 3 4 5; do
            rm -rf -- \"$1\" && exit
            sleep 1
        done";

    fn over(folder: &Path) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", Self::SCRIPT, "leasehold-test-guardian"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C and a test runner's time limit kill the whole group of the test process.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        Ok(Self(child))
    }

    /// From now on these are the processes to kill, and no others.
    fn watch_over(&mut self, processes: &[&Process]) -> Result<()> {
        let ids: Vec<_> = processes.iter().map(|p| p.child.id().to_string()).collect();
        let pipe = self.0.stdin.as_mut().context("the guardian has no pipe")?;
        // In one write, so that a line is there as a whole or not at all.
        let line = ids.join(" ") + "\n";
        pipe.write_all(line.as_bytes()).context("the guardian has ended")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // By SIGKILL, and before the pipe closes: it must not do its work now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A throw-away certificate authority, for the API server and for its users.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Credentials {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("leasehold-test-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// A client certificate, of which Kubernetes takes the common name as the user's name and the
    /// organization as a group.
    fn issue_to_user(&self, user: &str, group: Option<&str>) -> Result<Credentials> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Credentials> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?.pem();
        Ok(Credentials { certificate, key: key.serialize_pem() })
    }

    /// Writes what `start_api_server` names in its arguments.
    fn write_server_files(&self, folder: &Path) -> Result<()> {
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = distinguished_name("kube-apiserver");
        let server = self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)?;
        let service_account = KeyPair::generate()?;

        let files = [
            ("authority.crt", self.0.pem()),
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("service-account.key", service_account.serialize_pem()),
            ("service-account.pub", service_account.public_key_pem()),
        ];
        for (name, content) in files {
            fs::write(folder.join(name), content).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn write_kubeconfig(path: &Path, server: SocketAddr, authority: &Authority, credentials: &Credentials) -> Result<()> {
    // JSON is YAML.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": BASE64.encode(authority.0.pem()),
        }}],
        "users": [{"name": "test", "user": {
            "client-certificate-data": BASE64.encode(&credentials.certificate),
            "client-key-data": BASE64.encode(&credentials.key),
        }}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    fs::write(path, format!("{kubeconfig:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}
