//! Two processes on a real API server: how long nobody works when the leader ends. Beside it the
//! two writes that a handover cannot do without, and client-go's elector.

use std::{process::Command, time::Duration};

use leasehold::lease::kubernetes::KubernetesStore;
use leasehold_core::{lease::LeaseRecord, ports::LeaseStore};
use leasehold_tests::{
    build::{self, guest},
    control_plane::ControlPlane,
    host_process::HostProcess,
    table::{Percentiles, Samples},
};
use rustix::process::Signal;

/// client-go's, and everybody's.
const LEASE_DURATION: Duration = Duration::from_secs(15);
const GRACEFUL_ROUNDS: usize = 30;
const PEER_ROUNDS: usize = 8;
const CRASH_ROUNDS: usize = 4;

pub(crate) fn handover() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let two_writes = runtime.block_on(two_writes(&plane));
    let peer = build::client_go();

    let leasehold = |name: &str, lease: &str| {
        HostProcess::run_in_cluster(name, &guest("heartbeat"), plane.kubeconfig(), &["--lease", lease])
    };
    let client_go = |name: &str, lease: &str| {
        let mut command = Command::new(peer);
        command.env("KUBECONFIG", plane.kubeconfig()).args([lease, name]);
        HostProcess::spawn(name, command)
    };

    let mut table = Percentiles::new(
        "Leader asked to end (SIGTERM) to the successor's first line (the limit: two lease writes one after the other)",
    );
    table.row("two lease writes", &two_writes, None);
    let ours = graceful(GRACEFUL_ROUNDS, "ours", &leasehold);
    table.row("Leasehold", &ours, Some(&two_writes));
    let theirs = graceful(PEER_ROUNDS, "theirs", &client_go);
    table.row("client-go, ReleaseOnCancel", &theirs, Some(&two_writes));
    table.print();

    let mut table = Percentiles::new(
        "Leader killed (SIGKILL) to the successor's first line (the limit: what is left of the 15 s of lease)",
    );
    let mut limit = Samples::new();
    limit.add_micros(i64::try_from(LEASE_DURATION.as_micros()).expect("seconds"));
    table.row("the whole lease", &limit, None);
    let ours = crash(CRASH_ROUNDS, "ours-crash", &leasehold);
    table.row("Leasehold", &ours, Some(&limit));
    let theirs = crash(CRASH_ROUNDS, "theirs-crash", &client_go);
    table.row("client-go", &theirs, Some(&limit));
    table.print();
}

type Spawn<'a> = dyn Fn(&str, &str) -> HostProcess + 'a;

/// Two replicas, of which the leader ends and is replaced by a new standby, in turn.
fn rounds(count: usize, lease: &str, spawn: &Spawn<'_>, mut end: impl FnMut(&mut HostProcess)) -> Samples {
    let mut samples = Samples::new();
    let mut leader = spawn("replica-0", lease);
    leader.wait_for_event("guest-output", 1);
    for round in 1..=count {
        let standby = spawn(&format!("replica-{round}"), lease);
        standby.wait_for_event("new-leader", 1);
        // Anywhere in the time between two renewals.
        std::thread::sleep(Duration::from_millis(fastrand::u64(500..2500)));
        let ended = jiff::Timestamp::now().as_microsecond();
        end(&mut leader);
        samples.add_micros(standby.wait_for_event("guest-output", 1).at_micros - ended);
        leader = standby;
    }
    samples
}

fn graceful(count: usize, lease: &str, spawn: &Spawn<'_>) -> Samples {
    rounds(count, lease, spawn, |leader| leader.signal(Signal::TERM))
}

fn crash(count: usize, lease: &str, spawn: &Spawn<'_>) -> Samples {
    rounds(count, lease, spawn, HostProcess::kill)
}

/// What the store takes for a release and the acquire that follows it.
async fn two_writes(plane: &ControlPlane) -> Samples {
    let store = KubernetesStore::new(plane.client(), "default", "writes");
    let mut samples = Samples::new();
    let mut record = LeaseRecord { holder: Some("a".into()), ..LeaseRecord::default() };
    let mut version = store.write(None, &record).await.expect("created");
    for round in 0..100_u32 {
        let begun = std::time::Instant::now();
        for holder in [None, Some(format!("{round}"))] {
            record.holder = holder;
            version = store.write(Some(version), &record).await.expect("written");
        }
        samples.add_micros(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    samples
}
