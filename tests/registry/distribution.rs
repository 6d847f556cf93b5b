//! The real registry (distribution), as a process: with TLS, with a password, or without.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{build::root, guardian::Guardian, host_process::PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

/// `user` and `password`, as `htpasswd -B` writes them (bcrypt, which is all that it takes).
const HTPASSWD: &str = "user:$2a$04$UpcOtGXPCsbCj2qFz5mXi.iRNfmImGRv4UCLPDcCq0Cfc/8hCGexK\n";

/// How it is reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) tls: bool,
    pub(super) password: bool,
}

/// See the module's documentation. Ended when it is dropped, and its folder with it.
pub(super) struct Distribution {
    process: Option<Child>,
    port: u16,
    options: Options,
    guardian: Guardian,
    folder: tempfile::TempDir,
}

impl Distribution {
    pub(super) fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let guardian = Guardian::over(folder.path()).expect("a guardian");
        if options.tls {
            write_certificates(folder.path());
        }
        fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("written");
        let mut this = Self { process: None, port: 0, options, guardian, folder };
        this.start_again();
        this
    }

    /// At the same port as before, with what was in it.
    pub(super) fn start_again(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let mut http = json!({"addr": format!("127.0.0.1:{}", self.port), "secret": "of this test"});
        if self.options.tls {
            http["tls"] = json!({"certificate": path("server.crt"), "key": path("server.key")});
        }
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": path("data")}, "delete": {"enabled": true}},
            "http": http,
        });
        if self.options.password {
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path("htpasswd")}});
        }
        // JSON is YAML.
        fs::write(path("config.yml"), config.to_string()).expect("written");
        let log = fs::File::create(path("log")).expect("a file");
        let process = Command::new(program("distribution"))
            .arg("serve")
            .arg(path("config.yml"))
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.guardian.watch_over(&[process.id()]).expect("the guardian is there");
        self.process = Some(process);
        let begun = Instant::now();
        self.port = loop {
            let log = fs::read_to_string(path("log")).expect("its log");
            let listens = log.split_once("listening on 127.0.0.1:").map(|(_, rest)| rest);
            // The whole of the number, with what comes after it.
            let port = listens.and_then(|rest| rest.split_once(|c: char| !c.is_ascii_digit()));
            if let Some((port, _)) = port {
                break port.parse().expect("a port");
            }
            assert!(begun.elapsed() < PATIENCE, "the registry does not start: {log}");
            thread::sleep(Duration::from_millis(10));
        };
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.guardian.watch_over(&[]).expect("the guardian is there");
            process.kill().expect("it can be killed");
            process.wait().expect("it can be waited for");
        }
    }

    /// Its address.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `oci:` and the name of this artifact in it.
    pub(super) fn module(&self, name: &str) -> String {
        format!("oci:{}/{name}", self.host())
    }

    /// The certificate of its authority.
    pub(super) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// Its log, for a person and for what it was asked.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            eprintln!("--- the end of the registry's log:\n{}", &log[log.len().saturating_sub(4096)..]);
        }
        self.stop();
    }
}

fn write_certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("names");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (name, text) in
        [("authority.crt", authority.pem()), ("server.crt", certificate.pem()), ("server.key", key.serialize_pem())]
    {
        fs::write(folder.join(name), text).expect("written");
    }
}

/// What `tests/registry/build` builds, once.
pub(super) fn program(name: &'static str) -> &'static Path {
    static DISTRIBUTION: OnceLock<PathBuf> = OnceLock::new();
    static COSIGN: OnceLock<PathBuf> = OnceLock::new();
    let built = if name == "cosign" { &COSIGN } else { &DISTRIBUTION };
    built.get_or_init(|| {
        let output = Command::new(root().join("tests/registry/build"))
            .arg(name)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/registry/build starts");
        assert!(output.status.success(), "tests/registry/build {name} has failed; its words are above");
        String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
    })
}

/// Docker's config with a password for this registry, as a folder for `DOCKER_CONFIG`.
pub(super) fn docker_config(registry: &Distribution, user: &str, password: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({"auths": {registry.host(): {"username": user, "password": password}}});
    fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    folder
}
