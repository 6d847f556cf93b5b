//! Leasehold and client-go's elector in one run: on one API server, with the same durations, taking turns.
//!
//! What needs a kubelet as well is in `tests/stories/side_by_side.rs`.

mod handover;
mod lost;
mod rest;

use std::{path::Path, process::Command, time::Duration};

use leasehold_tests::{
    build::{self, guest},
    control_plane::ControlPlane,
    from_env,
    host_process::HostProcess,
};

/// client-go's, and everybody's: leases of 15 s, renewed within 10 s, retried every 2 s.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Leasehold's, which is the longer one: what is measured begins anywhere in it.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// How often each thing is measured, of each.
fn rounds() -> usize {
    from_env("LEASEHOLD_BENCH_ROUNDS").map_or(20, |rounds| usize::try_from(rounds).expect("few"))
}

type Measure = fn(&World);

/// What is measured, each on an API server of its own.
pub(crate) const PARTS: [(&str, Measure); 3] =
    [("handover", handover::handover), ("rest", rest::rest), ("lost", lost::lost)];

pub(crate) fn measure(part: Measure) {
    // Built before anything is measured.
    build::leasehold();
    build::client_go();
    guest("heartbeat");
    part(&World::new());
}

/// The API server that both use.
pub(crate) struct World {
    plane: ControlPlane,
    runtime: tokio::runtime::Runtime,
}

/// What competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elector {
    /// With this guest.
    Leasehold(&'static str),
    /// With or without `ReleaseOnCancel`.
    ClientGo { releases: bool },
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
        Self { plane, runtime }
    }

    fn spawn(&self, elector: Elector, name: &str, lease: &str) -> HostProcess {
        elector.spawn(name, lease, self.plane.kubeconfig())
    }
}

impl Elector {
    fn spawn(self, name: &str, lease: &str, kubeconfig: &Path) -> HostProcess {
        match self {
            Self::Leasehold(module) => {
                HostProcess::run_in_cluster(name, &guest(module), kubeconfig, &["--lease", lease])
            }
            Self::ClientGo { releases } => {
                let mut command = Command::new(build::client_go());
                command.env("KUBECONFIG", kubeconfig).env("RELEASE_ON_CANCEL", releases.to_string());
                command.args([lease, name]);
                HostProcess::spawn(name, command)
            }
        }
    }
}

fn anywhere_between_two_renewals() {
    let micros = u64::try_from(RENEWED_EVERY.as_micros()).expect("seconds");
    std::thread::sleep(Duration::from_micros(fastrand::u64(..micros)));
}

/// Now, as events tell it: microseconds since the Unix epoch.
fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
