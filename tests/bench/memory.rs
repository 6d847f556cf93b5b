//! What a task takes of a host's memory: while its guest runs and does nothing, and while it stands by.

use std::{thread, time::Duration};

use leasehold_tests::{
    build,
    control_plane::ControlPlane,
    host_process::HostProcess,
    many_tasks::{ManyTasks, Rights, wait_for_all},
    process_use::ProcessUse,
    table::table,
};
use rustix::process::Signal;

const TASKS: usize = 1_000;
/// What the start has set off is over.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// Two hosts with the same tasks, which all run one module: one of them leads, the other stands by.
pub(crate) fn memory() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let few = resident(&runtime, &plane, 1);
    let many = resident(&runtime, &plane, TASKS);
    let mut rows = table(&["resident", "1 task, MiB", "1000 tasks, MiB", "a task, KiB", "aim, KiB", "ratio"]);
    for (name, few, many, aim) in
        [("guests that are started, and idle", few.0, many.0, 1024.0), ("standbys", few.1, many.1, 100.0)]
    {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0 / 1024.0);
        let each = many.saturating_sub(few) as f64 / 1024.0 / (TASKS - 1) as f64;
        rows.add_row([
            name.to_owned(),
            mib(few),
            mib(many),
            format!("{each:.0}"),
            format!("{aim:.0}"),
            format!("{:.2}", each / aim),
        ]);
    }
    println!("Memory of a host\n\n{rows}\n");
}

/// Bytes of the one that leads, and of the one that stands by.
fn resident(runtime: &tokio::runtime::Runtime, plane: &ControlPlane, count: usize) -> (u64, u64) {
    let namespace = format!("memory-{count}");
    let tasks = ManyTasks::prepare(plane, &namespace, count, build::guest("parked"));
    let tasks = runtime.block_on(tasks).expect("a namespace").with_long_leases();
    let start = |name: &str| {
        let user = format!("{}-{name}", tasks.namespace());
        let kubeconfig = runtime.block_on(tasks.kubeconfig(plane, &user, Rights::Namespace)).expect("a user");
        tasks.host(name, &kubeconfig)
    };
    let of = |host: &HostProcess| ProcessUse::of(host.id()).expect("it runs").resident_bytes;
    let mut leader = start("leader");
    wait_for_all(&mut [&mut leader], "guest-output", count);
    let mut standby = start("standby");
    wait_for_all(&mut [&mut standby], "new-leader", count);
    thread::sleep(SETTLES_WITHIN);
    let bytes = (of(&leader), of(&standby));
    for mut host in [standby, leader] {
        host.signal(Signal::TERM);
        host.wait();
    }
    bytes
}
