//! One module after another, in a running host: when the next takes over, and what becomes of one that fails.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{guest, stamped},
    event_log::Event,
    from_env,
    host_process::{HostProcess, PATIENCE},
    process_use::ProcessUse,
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    LONG_LEASE,
    cluster::Cluster,
    folder::{lease, of_guest},
    only,
};

/// A module's file that all hosts of a test follow, and a Lease in a folder.
struct Swapped {
    leases: TempDir,
    modules: TempDir,
}

impl Swapped {
    fn begin_with(module: &str) -> Self {
        let folder = || TempDir::new().expect("a folder");
        let swapped = Self { leases: folder(), modules: folder() };
        swapped.put(&fs::read(guest(module)).expect("it was built"));
        swapped
    }

    fn file(&self) -> PathBuf {
        self.modules.path().join("task.wasm")
    }

    /// As a deployment tool would: written beside, renamed over.
    fn put(&self, bytes: &[u8]) {
        let next = self.modules.path().join("next");
        fs::write(&next, bytes).expect("written");
        fs::rename(&next, self.file()).expect("renamed");
    }

    fn put_guest(&self, module: &str) {
        self.put(&fs::read(guest(module)).expect("it was built"));
    }

    fn host(&self, name: &str, args: &[&str]) -> HostProcess {
        self.host_of(&self.file(), name, args)
    }

    fn host_of(&self, file: &Path, name: &str, args: &[&str]) -> HostProcess {
        let args = [&LONG_LEASE, &["--lease", "task", "--env", "BEAT_MS=20"][..], args].concat();
        HostProcess::run_in_folder(name, file, self.leases.path(), &args)
    }
}

fn digest(event: &Event) -> String {
    event.line["digest"].as_str().unwrap_or_else(|| panic!("no digest in {}", event.line)).to_owned()
}

#[test]
fn a_module_that_fails_in_its_probation_is_rolled_back_and_no_other_replica_tries_it() {
    let swapped = Swapped::begin_with("heartbeat");
    let mut leader = swapped.host("first", &["--probation", "3s"]);
    let good = digest(&leader.wait_for_event("module-worked", 1));
    let standby = swapped.host("second", &["--probation", "3s"]);
    standby.wait_for_event("new-leader", 1);

    swapped.put_guest("traps");
    let back = leader.wait_for_event("module-rolled-back", 1);
    let bad = digest(&back);
    assert_eq!(back.line["to"], *good);
    assert!(back.message().contains("trap"), "{}", back.line);
    leader.wait_until("beat of the good module after the bad one", |events| {
        let failed = events.iter().position(|event| event.name() == "module-rolled-back")?;
        events[failed..].iter().find(|event| of_guest("beat 2,")(event)).cloned()
    });
    let token = only(leader.events_named("leading")).token();
    assert!(leader.events_named("guest-started").iter().all(|event| event.token() == token), "one term, one token");
    assert_eq!(leader.count("released") + leader.count("restart-delayed"), 0);

    let refused = standby.wait_for_event("module-refused", 1);
    assert_eq!((digest(&refused), &refused.line["instead"]), (bad.clone(), &good.clone().into()));
    let on_lease = lease(swapped.leases.path(), "task");
    assert_eq!((&on_lease["refusedModule"], &on_lease["goodModule"]), (&bad.clone().into(), &good.clone().into()));

    leader.signal(Signal::INT);
    leader.wait();
    standby.wait_for("beat of the successor's guest", of_guest("beat 2,"));
    assert!(standby.events_named("guest-started").iter().all(|event| digest(event) == good));
    // A newer one is tried, by whoever leads then.
    swapped.put_guest("parked");
    standby.wait_for("line of the new guest", of_guest("parked"));
}

#[test]
fn a_replica_that_has_only_what_was_refused_tries_it_once_and_leaves_the_lease_to_others() {
    let swapped = Swapped::begin_with("heartbeat");
    let mut leader = swapped.host("first", &["--probation", "3s"]);
    let good = digest(&leader.wait_for_event("module-worked", 1));
    swapped.put_guest("traps");
    let bad = digest(&leader.wait_for_event("module-rolled-back", 1));
    let fresh = swapped.host("fresh", &["--probation", "3s"]);
    let refused = fresh.wait_for_event("module-refused", 1);
    assert!(digest(&refused) == bad && refused.line["instead"].is_null(), "{}", refused.line);
    leader.signal(Signal::INT);
    leader.wait();
    fresh.wait_for_event("released", 1);
    assert_eq!(digest(&only(fresh.events_named("guest-started"))), bad);

    let other = swapped.host_of(&guest("heartbeat"), "other", &["--probation", "3s"]);
    other.wait_for("beat", of_guest("beat 2,"));
    assert_eq!(digest(&other.wait_for_event("guest-started", 1)), good);
    fresh.wait_until("new leader", |events| {
        let released = events.iter().position(|event| event.name() == "released")?;
        events[released..].iter().find(|event| event.name() == "new-leader").cloned()
    });
    assert_eq!(lease(swapped.leases.path(), "task")["refusedModule"], *bad);
}

#[test]
fn a_module_waits_for_the_next_term_where_the_policy_says_so() {
    let swapped = Swapped::begin_with("heartbeat");
    let mut leader = swapped.host("first", &["--swap", "next-term"]);
    let runs = leader.wait_for_event("guest-started", 1);
    leader.wait_for("beat", of_guest("beat 1,"));
    let standby = swapped.host("second", &["--swap", "next-term"]);
    standby.wait_for_event("new-leader", 1);
    swapped.put_guest("parked");
    let waits = leader.wait_for_event("module-waiting", 1);
    standby.wait_for_event("module-loaded", 2);
    let beats = leader.count("guest-output");
    leader.wait_until("more beats", |events| {
        (events.iter().filter(|event| event.name() == "guest-output").count() > beats + 3).then_some(())
    });
    // With a renewal, it stands on the Lease too.
    let on_lease = leader.wait_until("waiting module on the lease", |_| {
        Some(lease(swapped.leases.path(), "task")).filter(|lease| !lease["waitingModule"].is_null())
    });
    assert_eq!((&on_lease["waitingModule"], &on_lease["module"]), (&digest(&waits).into(), &digest(&runs).into()));
    leader.signal(Signal::INT);
    leader.wait();
    assert_eq!(only(leader.events_named("guest-stopped")).line["reason"], "shutdown");
    assert_eq!(digest(&standby.wait_for_event("guest-started", 1)), digest(&waits));
}

#[test]
fn a_draining_task_goes_on_until_it_comes_to_its_end_by_itself() {
    let swapped = Swapped::begin_with("program");
    let host = swapped.host("only", &["--swap", "drain", "--arg", "80"]);
    host.wait_for("line", of_guest("line 1,"));
    swapped.put_guest("parked");
    host.wait_for_event("module-waiting", 1);
    host.wait_for("line of the new guest", of_guest("parked"));
    host.wait_for("last line of the old guest", of_guest("line 80,"));
    assert_eq!((host.count("stop-requested"), host.events_named("leading").len()), (0, 1));

    let ending = Swapped::begin_with("returns-error");
    let host = ending.host("first", &["--swap", "drain"]);
    host.wait_for_event("restart-delayed", 1);
    ending.put_guest("parked");
    host.wait_for("line of the new guest", of_guest("parked"));
    assert_eq!(host.events_named("leading").len(), 1);
}

#[test]
fn a_probation_of_zero_leaves_a_failing_module_where_it_is() {
    let swapped = Swapped::begin_with("heartbeat");
    let host = swapped.host("only", &["--probation", "0s"]);
    host.wait_for("beat", of_guest("beat 1,"));
    swapped.put_guest("traps");
    host.wait_for_event("restart-delayed", 2);
    assert_eq!(host.count("module-rolled-back"), 0);
}

#[test]
fn a_swap_during_a_handover_is_the_successors() {
    let swapped = Swapped::begin_with("slow-stop");
    let mut leader = swapped.host("first", &[]);
    leader.wait_for("line of the guest", of_guest("working"));
    let standby = swapped.host("second", &[]);
    standby.wait_for_event("new-leader", 1);
    leader.signal(Signal::INT);
    leader.wait_for("that it is asked", of_guest("asked to stop"));
    swapped.put_guest("parked");
    leader.wait();
    assert_eq!(leader.events_named("guest-started").len(), 1, "the end comes first");
    let loaded = standby.wait_for_event("module-loaded", 2);
    standby.wait_for("line of the new guest", of_guest("parked"));
    let started = standby.events_named("guest-started");
    assert_eq!(started.last().map(digest), Some(digest(&loaded)));
}

#[test]
fn a_swap_and_a_rollback_go_on_while_the_api_server_is_away_and_are_told_of_after_it() {
    let mut cluster = Cluster::start();
    let swapped = Swapped::begin_with("heartbeat");
    let args = ["--lease", "task", "--env", "BEAT_MS=20", "--probation", "2s"];
    let long = ["--lease-duration", "120s", "--renew-deadline", "100s", "--retry-period", "1s"];
    let host = |name: &str| {
        HostProcess::run_in_cluster(name, &swapped.file(), cluster.plane.kubeconfig(), &[&args[..], &long].concat())
    };
    let leader = host("first");
    leader.wait_for_event("module-worked", 1);
    let standby = host("second");
    standby.wait_for_event("new-leader", 1);
    cluster.plane.stop_api_server().expect("stopped");

    swapped.put(&stamped("heartbeat", 1));
    let good = digest(&leader.wait_for_event("module-worked", 2));
    // Where the system has no watch left for its file, the standby looks at it every five seconds.
    standby.wait_for_event("module-loaded", 2);
    swapped.put_guest("traps");
    let bad = digest(&leader.wait_for_event("module-rolled-back", 1));
    standby.wait_for_event("module-loaded", 3);
    assert_eq!(standby.count("module-refused"), 0, "nobody can have told it");
    cluster.runtime.block_on(cluster.plane.start_api_server()).expect("started again");

    let refused = standby.wait_for_event("module-refused", 1);
    assert_eq!((digest(&refused), &refused.line["instead"]), (bad, &good.into()));
    let tokens: Vec<_> = leader.events_named("guest-started").iter().map(Event::token).collect();
    assert_eq!(tokens, vec![tokens[0]; 4]);
    assert_eq!(leader.count("lost") + leader.count("released"), 0);
}

/// `LEASEHOLD_SWAPS=1000` for more of them than usual.
#[test]
fn many_swaps_in_a_row_leave_nothing_behind_and_cost_no_term() {
    let swaps = from_env("LEASEHOLD_SWAPS").map_or(60, |swaps| u32::try_from(swaps).expect("not that many"));
    let swapped = Swapped::begin_with("heartbeat");
    let host = swapped.host("only", &["--probation", "10ms"]);
    host.wait_for("beat", of_guest("beat 1,"));
    let mut started = 1;
    let mut swap_to = |stamp: u32| {
        swapped.put(&stamped("heartbeat", stamp));
        started += 1;
        host.wait_for_event("guest-started", started);
    };
    // What is made once is made by then.
    (0..20).for_each(&mut swap_to);
    let before = ProcessUse::of(host.id()).expect("it runs");
    (20..20 + swaps).for_each(&mut swap_to);
    let begun = Instant::now();
    // Threads that have read and compiled wait for more of that for ten seconds; a few always do.
    let threads_max = before.threads + 4;
    let after = loop {
        let after = ProcessUse::of(host.id()).expect("it runs");
        if after.threads <= threads_max || begun.elapsed() > PATIENCE {
            break after;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
    println!("{swaps} swaps: {before:?}, then {after:?}");
    assert!(after.files <= before.files + 4 && after.threads <= threads_max, "{before:?}, then {after:?}");
    // A module of this size takes a quarter of a MiB and more.
    let bound = 12 * 1024 * 1024 + u64::from(swaps) * 32 * 1024;
    assert!(grown < bound, "{grown} bytes more after {swaps} swaps: {before:?}, then {after:?}");
    assert_eq!(host.events_named("leading").len(), 1);
    assert_eq!(host.count("lost") + host.count("released"), 0);
}
