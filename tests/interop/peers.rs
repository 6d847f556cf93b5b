//! Every kind of elector, as a process.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use leasehold_tests::{
    build::{self, guest},
    host_process::HostProcess,
};

/// What `tests/peers/build` builds.
const BUILT: [&str; 2] = ["java", "python"];

/// Who made the elector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Leasehold,
    ClientGo,
    Java,
    Python,
    Naive,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Leasehold, Self::ClientGo, Self::Java, Self::Python, Self::Naive];

    /// The event with which its leadership begins, by its own word.
    pub(crate) fn begins(self) -> &'static str {
        match self {
            Self::Leasehold => "leading",
            Self::ClientGo | Self::Java | Self::Python | Self::Naive => "guest-output",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leasehold => "leasehold",
            Self::ClientGo => "client-go",
            Self::Java => "java",
            Self::Python => "python",
            Self::Naive => "naive",
        })
    }
}

/// What all of a race have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    pub(crate) lease_s: u8,
    pub(crate) renew_deadline_s: u8,
    pub(crate) retry_period_s: u8,
}

impl Durations {
    pub(crate) fn lease(self) -> Duration {
        Duration::from_secs(self.lease_s.into())
    }
}

/// What a naive one writes, and how it leaves: tests/peers/naive/naive says more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naive {
    /// Nothing but the holder; otherwise the other fields stay as somebody else wrote them.
    pub(crate) bare: bool,
    /// It empties the holder at the end.
    pub(crate) clears: bool,
}

pub(crate) fn spawn(
    kind: Kind,
    name: &str,
    lease: &str,
    kubeconfig: &Path,
    durations: Durations,
    naive: Naive,
) -> HostProcess {
    let [lease_duration, renew_deadline, retry_period] =
        [durations.lease_s, durations.renew_deadline_s, durations.retry_period_s].map(|seconds| format!("{seconds}s"));
    let mut command = match kind {
        Kind::Leasehold => {
            let args = [
                ["--lease", lease],
                ["--lease-duration", &lease_duration],
                ["--renew-deadline", &renew_deadline],
                ["--retry-period", &retry_period],
                ["--stop-grace", "500ms"],
                ["--env", "BEAT_MS=100"],
            ];
            return HostProcess::run_in_cluster(name, &guest("heartbeat"), kubeconfig, args.as_flattened());
        }
        Kind::ClientGo => Command::new(build::client_go()),
        Kind::Java => {
            let folder = built("java");
            let mut java = Command::new("java");
            // It begins sooner with these, and there are several.
            java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp"]);
            java.arg(format!("{0}/classes:{0}/lib/*", folder.display())).arg("Elector");
            java
        }
        Kind::Python => {
            let mut python = Command::new(built("python").join("bin/python"));
            python.arg(sources().join("python/elector.py"));
            python
        }
        Kind::Naive => {
            let mut naive_one = Command::new(sources().join("naive/naive"));
            naive_one.env("KUBECTL", build::kubectl());
            naive_one.env("NAIVE_WRITES", if naive.bare { "bare" } else { "holder" });
            naive_one.env("NAIVE_ENDS", if naive.clears { "clears" } else { "leaves" });
            naive_one
        }
    };
    command.args([lease, name]).env("KUBECONFIG", kubeconfig);
    let environment =
        [("LEASE_DURATION", lease_duration), ("RENEW_DEADLINE", renew_deadline), ("RETRY_PERIOD", retry_period)];
    HostProcess::spawn(name, {
        command.envs(environment);
        command
    })
}

/// Builds all there is, so that it is not done in the middle of a race.
pub(crate) fn build_all() {
    build::leasehold();
    build::kubectl();
    build::client_go();
    guest("heartbeat");
    for name in BUILT {
        built(name);
    }
}

fn sources() -> PathBuf {
    build::root().join("tests/peers")
}

/// The folder of a peer that `tests/peers/build` has built.
fn built(name: &'static str) -> &'static Path {
    static FOLDERS: [OnceLock<PathBuf>; BUILT.len()] = [const { OnceLock::new() }; BUILT.len()];
    let index = BUILT.iter().position(|other| *other == name).expect("it is one of these");
    FOLDERS[index].get_or_init(|| {
        let output = Command::new(sources().join("build"))
            .arg(name)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/peers/build starts");
        assert!(output.status.success(), "tests/peers/build {name} has failed; its words are above");
        String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
    })
}
