//! Many hosts that stand by for one Lease: what its release costs, and how soon one of them leads.

use std::{
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    control_plane::ControlPlane,
    from_env,
    host_process::{HostProcess, PATIENCE},
    table::{Samples, table},
};
use rustix::process::Signal;

/// How many; `LEASEHOLD_STANDBYS` takes another number alone.
const COUNTS: [u64; 4] = [2, 3, 10, 30];
const ROUNDS: usize = 8;
/// All of them ask with this user's rights.
const USER: &str = "standbys";

pub(crate) fn standbys() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mut plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let kubeconfig = runtime.block_on(plane.kubeconfig_for_admin(USER)).expect("a user");
    let spawn = |name: &str, lease: &str| {
        HostProcess::run_in_cluster(
            name,
            &guest("heartbeat"),
            &kubeconfig,
            &["--lease", lease, "--env", "BEAT_MS=3600000"],
        )
    };
    let mut rows = table(&[
        "standbys",
        "n",
        "requests for the lease",
        "most",
        "of them conflicts",
        "most",
        "SIGTERM to the successor's first line, ms: p50",
        "max",
        "API server restarted: requests for the lease of each, in 10 s",
    ]);
    let counts = from_env("LEASEHOLD_STANDBYS").map_or(COUNTS.to_vec(), |count| vec![count]);
    for count in counts {
        let lease = format!("standbys-{count}");
        let mut leader = spawn("member-0", &lease);
        leader.wait_for_event("guest-output", 1);
        let mut standing: Vec<_> = (1..=count).map(|index| spawn(&format!("member-{index}"), &lease)).collect();
        standing.iter().for_each(|standby| drop(standby.wait_for_event("new-leader", 1)));
        let (mut times, mut requests, mut conflicts) = (Samples::new(), Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            // Their starts are over, and so are the first renewals of the term.
            thread::sleep(Duration::from_secs(6));
            let before = asked(&plane);
            let ended = jiff::Timestamp::now().as_microsecond();
            leader.signal(Signal::TERM);
            let begun = Instant::now();
            let next = loop {
                if let Some(next) = standing.iter().position(|standby| standby.count("guest-output") > 0) {
                    break next;
                }
                assert!(begun.elapsed() < PATIENCE, "nobody leads");
                thread::sleep(Duration::from_millis(1));
            };
            leader.wait();
            thread::sleep(Duration::from_millis(500));
            let after = asked(&plane);
            requests.push(after.0 - before.0);
            conflicts.push(after.1 - before.1);
            leader = standing.swap_remove(next);
            times.add_micros(leader.wait_for_event("guest-output", 1).at_micros - ended);
            let newcomer = spawn(&format!("round-{round}"), &lease);
            newcomer.wait_for_event("new-leader", 1);
            standing.push(newcomer);
        }
        let before = asked(&plane);
        plane.stop_api_server().expect("stopped");
        thread::sleep(Duration::from_secs(3));
        runtime.block_on(plane.start_api_server()).expect("started again");
        thread::sleep(Duration::from_secs(10));
        let after_restart = (asked(&plane).0 - before.0) as f64 / (count + 1) as f64;
        let mean = |of: &[usize]| format!("{:.1}", of.iter().sum::<usize>() as f64 / of.len() as f64);
        let most = |of: &[usize]| of.iter().max().map_or(String::new(), ToString::to_string);
        rows.add_row([
            count.to_string(),
            ROUNDS.to_string(),
            mean(&requests),
            most(&requests),
            mean(&conflicts),
            most(&conflicts),
            format!("{:.1}", times.p50_ms()),
            format!("{:.1}", times.max_ms()),
            format!("{after_restart:.1}"),
        ]);
    }
    println!(
        "A leader is asked to end, and many stand by (two writes are the least; a renewal may fall in)\n\n{rows}\n"
    );
}

/// The requests for the Lease, and how many of them conflicted. Events come beside it.
fn asked(plane: &ControlPlane) -> (usize, usize) {
    let requests = plane.requests_of(USER).expect("a record");
    let of_lease: Vec<_> = requests.into_iter().filter(|request| request.resource == "leases").collect();
    let conflicts = of_lease.iter().filter(|request| request.code == 409).count();
    (of_lease.len(), conflicts)
}
