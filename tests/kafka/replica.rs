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
    /// A node that the network has lost.
    CutOff,
    TargetCutOff,
    /// The application does not hear of the sidecar for as long as its permission lasts, and is in the midst of a batch then.
    PermissionLapses,
}

impl Fault {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ends,
        Self::Killed,
        Self::ApplicationFrozen,
        Self::SidecarKilled,
        Self::Frozen,
        Self::ApplicationCutOff,
        Self::SidecarFrozen,
        Self::ApplicationKilled,
        Self::SidecarCutOff,
        Self::CutOff,
        Self::TargetCutOff,
        Self::PermissionLapses,
    ];

    /// What its host has to say of it, where its application has been asked.
    pub(crate) fn culprit(self) -> Option<&'static str> {
        match self {
            Self::ApplicationCutOff => Some("no broker has answered for"),
            Self::TargetCutOff => Some("the target has taken no record for"),
            _ => None,
        }
    }
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
            Self::CutOff => "cut off from all: broker, target, API server",
            Self::TargetCutOff => "its application cut off from the target",
            Self::PermissionLapses => "not renewed in mid-batch, and then renewed",
        })
    }
}

/// What all replicas have in common.
pub(crate) struct Common {
    pub(crate) built: PathBuf,
    pub(crate) history: History,
    pub(crate) stderr: File,
}

/// The ways of one replica.
pub(crate) struct Ways {
    pub(crate) to_api_server: Network,
    pub(crate) to_broker: Network,
    pub(crate) to_target: Network,
    /// Its host's to its application.
    pub(crate) to_application: Network,
}

pub(crate) struct Replica {
    letter: char,
    /// Of its applications.
    boots: usize,
    port: u16,
    kubeconfig: PathBuf,
    pub(crate) ways: Ways,
    host: Option<HostProcess>,
    application: Option<Program>,
}

impl Replica {
    /// Its application listens at `port`.
    pub(crate) fn new(letter: char, port: u16, kubeconfig: PathBuf, ways: Ways) -> Self {
        Self { letter, boots: 0, port, kubeconfig, ways, host: None, application: None }
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
            ("KAFKA", self.ways.to_broker.address().to_string()),
            ("TOPIC", "numbers".to_owned()),
            ("TARGET_URL", format!("http://{}/{process}", self.ways.to_target.address())),
        ]);
        let history = common.history.clone();
        let name = process.clone();
        Program::start(&name, &mut command, &common.stderr, move |line| {
            if let Some(what) = told(&history, process.clone(), line) {
                history.note(what);
            }
        })
    }

    fn start_host(&self) -> HostProcess {
        let url = |path: &str| format!("http://{}/{path}", self.ways.to_application.address());
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
                self.kill_application(common);
                self.kill_host();
            }
            Fault::SidecarKilled => self.kill_host(),
            Fault::ApplicationKilled => {
                self.kill_application(common);
                self.start(common);
            }
            Fault::Frozen => {
                self.freeze_application(common);
                self.signal_host(Signal::STOP);
            }
            Fault::ApplicationFrozen => self.freeze_application(common),
            Fault::SidecarFrozen => self.signal_host(Signal::STOP),
            Fault::ApplicationCutOff => silence(&[&self.ways.to_broker]),
            Fault::SidecarCutOff => silence(&[&self.ways.to_api_server]),
            Fault::TargetCutOff => silence(&[&self.ways.to_target]),
            Fault::CutOff => silence(&[&self.ways.to_broker, &self.ways.to_target, &self.ways.to_api_server]),
            Fault::PermissionLapses => silence(&[&self.ways.to_application]),
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
        if matches!(fault, Fault::CutOff | Fault::TargetCutOff) {
            common.history.note(What::Reconnected { process: self.process() });
        }
        let Ways { to_api_server, to_broker, to_target, to_application } = &self.ways;
        for way in [to_api_server, to_broker, to_target, to_application] {
            way.set(Weather::default());
        }
        if let Some(culprit) = fault.culprit() {
            let host = self.host.as_ref().expect("it runs");
            host.wait_for(culprit, |event| event.line.to_string().contains(culprit));
        }
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

    fn kill_application(&mut self, common: &Common) {
        self.application.take().expect("it runs").kill();
        common.history.note(What::Killed { process: self.process() });
    }

    fn kill_host(&mut self) {
        self.host.take().expect("it runs").kill();
    }

    /// What its host has logged last, for a person.
    pub(crate) fn last_lines(&self) -> String {
        self.host.as_ref().map_or_else(String::new, |host| host.last_lines(40))
    }
}

/// From now on nothing gets through there.
pub(crate) fn silence(ways: &[&Network]) {
    for way in ways {
        way.set(Weather { silent: true, ..Weather::default() });
    }
}

/// What an application has written in a line, where that is something to judge.
fn told(history: &History, process: String, line: &str) -> Option<What> {
    let words: Vec<_> = line.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().unwrap_or_else(|_| panic!("{process}: no number in {line:?}"));
    let time =
        |word: &str| history.of_nano_time(word.parse().unwrap_or_else(|_| panic!("{process}: no time in {line:?}")));
    Some(match words[..] {
        ["committed", partition, next] => What::Committed {
            partition: partition.parse().unwrap_or_else(|_| panic!("{process}: no partition in {line:?}")),
            next: number(next),
            process,
        },
        ["granted", token, "at", at, "until", until] => {
            What::Granted { token: number(token), at: time(at), until: time(until), process }
        }
        ["not", "permitted", ..] => What::Left { process },
        ["withdrawn", _, "at", at] => What::Withdrawn { at: time(at), process },
        _ => return None,
    })
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
