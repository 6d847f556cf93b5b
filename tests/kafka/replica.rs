//! A replica as a Pod would have it: the application, and beside it a host with sidecar-switch. What may be done to it.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use leasehold_tests::{
    build::guest,
    host_process::HostProcess,
    network::{Network, Weather},
};
use rustix::process::Signal;

use crate::{
    history::{History, What},
    program::{self, Program},
};

/// What is done to the active replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGTERM for both, as at the end of a Pod.
    Ends,
    Killed,
    ApplicationFrozen,
    SidecarKilled,
    Frozen,
    ApplicationCutOff,
    SidecarFrozen,
    ApplicationKilled,
    SidecarCutOff,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Ends,
        Self::Killed,
        Self::ApplicationFrozen,
        Self::SidecarKilled,
        Self::Frozen,
        Self::ApplicationCutOff,
        Self::SidecarFrozen,
        Self::ApplicationKilled,
        Self::SidecarCutOff,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ends => "is asked to end (SIGTERM for both)",
            Self::Killed => "killed, both processes",
            Self::ApplicationFrozen => "its application frozen",
            Self::SidecarKilled => "its sidecar killed",
            Self::Frozen => "frozen, both processes",
            Self::ApplicationCutOff => "its application cut off from the broker",
            Self::SidecarFrozen => "its sidecar frozen",
            Self::ApplicationKilled => "its application killed, and started again",
            Self::SidecarCutOff => "its sidecar cut off from the API server",
        })
    }
}

/// What all replicas have in common.
pub(crate) struct Common {
    pub(crate) built: PathBuf,
    pub(crate) history: History,
    /// `http://ADDRESS`, where the records go.
    pub(crate) target: String,
    pub(crate) stderr: File,
}

pub(crate) struct Replica {
    letter: char,
    /// Of its applications.
    boots: usize,
    port: u16,
    kubeconfig: PathBuf,
    to_api_server: Network,
    to_broker: Network,
    host: Option<HostProcess>,
    application: Option<Program>,
}

impl Replica {
    pub(crate) fn new(
        letter: char,
        port: u16,
        kubeconfig: PathBuf,
        to_api_server: Network,
        to_broker: Network,
    ) -> Self {
        Self { letter, boots: 0, port, kubeconfig, to_api_server, to_broker, host: None, application: None }
    }

    /// Of its application.
    pub(crate) fn process(&self) -> String {
        format!("{}-{}", self.letter, self.boots)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.host.as_ref().map(HostProcess::id).into_iter().chain(self.application.as_ref().map(Program::id))
    }

    /// What is not there is started.
    pub(crate) fn start(&mut self, common: &Common) {
        if self.application.is_none() {
            self.application = Some(self.start_application(common));
        }
        if self.host.is_none() {
            self.host = Some(self.start_host());
        }
    }

    /// Waits until it stands by, or more.
    pub(crate) fn wait_until_ready(&self) {
        self.application.as_ref().expect("it was started").wait_for("standing by");
        self.host.as_ref().expect("it was started").wait_for_event("candidate", 1);
    }

    fn start_application(&mut self, common: &Common) -> Program {
        self.boots += 1;
        let process = self.process();
        let mut command = program::java(&common.built.join("app"), 64);
        command.arg("example.Main").envs([
            ("PORT", self.port.to_string()),
            ("KAFKA", self.to_broker.address().to_string()),
            ("TOPIC", "numbers".to_owned()),
            ("TARGET_URL", format!("{}/{process}", common.target)),
        ]);
        let history = common.history.clone();
        let name = process.clone();
        Program::start(&name, &mut command, &common.stderr, move |line| {
            let Some(rest) = line.strip_prefix("committed ") else { return };
            let (partition, next) = rest.split_once(' ').expect("a partition, then an offset");
            let (partition, next) = (partition.parse().expect("a number"), next.parse().expect("a number"));
            history.note(What::Committed { process: process.clone(), partition, next });
        })
    }

    fn start_host(&self) -> HostProcess {
        let url = |path: &str| format!("http://127.0.0.1:{}/{path}", self.port);
        let [activate, deactivate, health] =
            ["activate", "deactivate", "health"].map(|path| format!("{}_URL={}", path.to_uppercase(), url(path)));
        let allow = url("");
        let mut args = vec!["--lease", "consumer", "--allow-http", &allow];
        args.extend(["--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "500ms"]);
        // As long as its lease allows; the margin is that of the application (Target.WITHIN).
        for variable in
            [&*activate, &deactivate, &health, "EVERY=300ms", "CALL_TIMEOUT=500ms", "PERMISSION=2s", "MARGIN=500ms"]
        {
            args.extend(["--env", variable]);
        }
        HostProcess::run_in_cluster(&self.process(), &guest("sidecar-switch"), &self.kubeconfig, &args)
    }

    /// Does it.
    pub(crate) fn does(&mut self, fault: Fault, common: &Common) {
        match fault {
            Fault::Ends => {
                self.signal_application(Signal::TERM);
                self.signal_host(Signal::TERM);
            }
            Fault::Killed => {
                self.kill_application();
                self.kill_host();
            }
            Fault::SidecarKilled => self.kill_host(),
            Fault::ApplicationKilled => {
                self.kill_application();
                self.start(common);
            }
            Fault::Frozen => {
                self.freeze_application(common);
                self.signal_host(Signal::STOP);
            }
            Fault::ApplicationFrozen => self.freeze_application(common),
            Fault::SidecarFrozen => self.signal_host(Signal::STOP),
            Fault::ApplicationCutOff => self.to_broker.set(Weather { silent: true, ..Weather::default() }),
            Fault::SidecarCutOff => self.to_api_server.set(Weather { silent: true, ..Weather::default() }),
        }
    }

    /// What was done is over: frozen ones go on, the networks are well.
    pub(crate) fn is_over(&self, fault: Fault, common: &Common) {
        if matches!(fault, Fault::Frozen | Fault::ApplicationFrozen) {
            common.history.note(What::GoesOn { process: self.process() });
            self.signal_application(Signal::CONT);
        }
        if matches!(fault, Fault::Frozen | Fault::SidecarFrozen) {
            self.signal_host(Signal::CONT);
        }
        self.to_broker.set(Weather::default());
        self.to_api_server.set(Weather::default());
    }

    /// Whatever is left of it is asked to end, and does.
    ///
    /// # Panics
    /// A host does not end well.
    pub(crate) fn end(&mut self) {
        if self.application.is_some() {
            self.signal_application(Signal::TERM);
        }
        if let Some(mut host) = self.host.take() {
            host.signal(Signal::TERM);
            assert_eq!(host.wait().code(), Some(0), "{}", host.last_lines(40));
        }
        if let Some(mut application) = self.application.take() {
            application.wait();
        }
    }

    fn freeze_application(&self, common: &Common) {
        self.signal_application(Signal::STOP);
        common.history.note(What::Stopped { process: self.process() });
    }

    fn signal_application(&self, signal: Signal) {
        self.application.as_ref().expect("it runs").signal(signal);
    }

    fn signal_host(&self, signal: Signal) {
        self.host.as_ref().expect("it runs").signal(signal);
    }

    fn kill_application(&mut self) {
        self.application.take().expect("it runs").kill();
    }

    fn kill_host(&mut self) {
        self.host.take().expect("it runs").kill();
    }

    /// What its host has logged last, for a person.
    pub(crate) fn last_lines(&self) -> String {
        self.host.as_ref().map_or_else(String::new, |host| host.last_lines(40))
    }
}

/// The folder that `tests/kafka/build` has made.
pub(crate) fn built(root: &Path) -> PathBuf {
    let output = std::process::Command::new(root.join("tests/kafka/build"))
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("tests/kafka/build starts");
    assert!(output.status.success(), "tests/kafka/build has failed; its words are above");
    String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
}
