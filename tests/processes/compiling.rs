//! A large module is compiled beside the task that runs, and neither it nor its Lease notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    time::Duration,
};

use leasehold_tests::{build::guest, event_log::Event, host_process::HostProcess};
use tempfile::TempDir;

use super::{
    folder::{lease, of_guest},
    micros,
};

/// Renewed every third of the lease; not lost by a renewal that is five seconds late, where other tests take the cores.
const LEASE: [&str; 6] = ["--lease-duration", "9s", "--renew-deadline", "8s", "--retry-period", "1s"];
const RENEWED_EVERY: Duration = Duration::from_secs(3);

/// A program that does nothing, and has some megabytes of functions to compile all the same.
fn large_program() -> Vec<u8> {
    const FUNCTIONS: u64 = 24_000;
    const STEPS: u64 = 60;
    let mut text = String::from("(module (memory (export \"memory\") 1) (func (export \"_start\"))");
    for function in 0..FUNCTIONS {
        text += "(func (param i64 i64) (result i64)";
        for step in 0..STEPS {
            let odd = function * STEPS + 2 * step + 1;
            write!(text, " (local.set 0 (i64.xor (i64.mul (local.get 0) (i64.const {odd})) (local.get 1)))")
                .expect("a String grows");
        }
        text += " (local.get 0))";
    }
    wat::parse_str(text + ")").expect("it is right")
}

/// How much each thread of a process gives way that compiles, by the thread's id.
fn nice_of_compiling(pid: u32) -> BTreeMap<String, i64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there").flatten();
    // A thread may be gone by now.
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let nice = |stat: String| {
        let (thread, fields) = stat.rsplit_once(')').expect("a stat has a name");
        let (id, name) = thread.split_once(" (").expect("a stat has an id");
        // proc_pid_stat(5): the 19th; the first two are cut off here.
        let nice = name.starts_with("compile-").then(|| fields.split_whitespace().nth(16)?.parse().ok())??;
        Some((id.to_owned(), nice))
    };
    stats.filter_map(nice).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn while_a_large_module_is_compiled_the_lease_is_renewed_and_the_guest_goes_on() {
    let (folder, modules) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let module = modules.path().join("task.wasm");
    fs::copy(guest("heartbeat"), &module).expect("a copy");
    let (large, next) = (large_program(), modules.path().join("next.wasm"));
    let args = [&LEASE[..], &["--name", "task", "--env", "BEAT_MS=20"]].concat();
    let host = HostProcess::run_in_folder("only", &module, folder.path(), &args);
    host.wait_for("beat", of_guest("beat 1,"));

    fs::write(&next, &large).expect("written");
    fs::rename(&next, &module).expect("renamed");
    let begun = host.wait_for_event("module-loading", 2);
    // Of each thread what was seen last: it has its name some microseconds before it gives way, and compiles after both.
    let (mut renewals, mut nice) = (BTreeSet::new(), BTreeMap::new());
    let compiled = loop {
        renewals.insert(lease(folder.path(), "task")["renewTimeMicros"].as_i64().expect("it is renewed"));
        nice.extend(nice_of_compiling(host.id()));
        if let Some(event) = host.events_named("module-loaded").get(1) {
            break event.clone();
        }
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(host.count("module-rejected"), 0, "{}", host.last_lines(5));
    };
    let took = Duration::from_millis(compiled.line["compile_ms"].as_u64().expect("a time"));
    assert!(took > RENEWED_EVERY * 3 / 2, "{} bytes are compiled in {took:?}, which shows nothing", large.len());
    assert!(!nice.is_empty(), "no thread was seen to compile");
    assert!(nice.values().all(|nice| *nice == 15), "all threads that compile give way, also to the guest's: {nice:?}");

    // Each was due so long after the one before it.
    let times: Vec<_> = renewals.into_iter().collect();
    let late = |pair: &[i64]| pair[1] - pair[0] - micros(RENEWED_EVERY);
    let latest = times.windows(2).map(late).max();
    println!("{} bytes, compiled in {took:?}: {} renewals, the latest {latest:?} us late", large.len(), times.len());
    assert!(times.len() >= 2, "no renewal was seen in {took:?}");
    assert_eq!(host.count("lost"), 0);
    // Nor was it about to be.
    let asked = host.events_named("stop-requested");
    assert!(asked.iter().all(|asked| asked.line["reason"] == "module-replaced"), "{asked:?}");

    let meanwhile = |event: &&Event| (begun.at_micros..compiled.at_micros).contains(&event.at_micros);
    let events = host.events();
    let events: Vec<_> = events.iter().filter(meanwhile).collect();
    assert!(events.iter().all(|event| event.name() != "guest-stopped"), "the old one runs until the new one is ready");
    let beats = events.iter().filter(|event| event.name() == "guest-output").count();
    assert!(beats > 10, "{beats} beats in {took:?}");
    // In the same term, the new one.
    assert_eq!(host.wait_for_event("guest-started", 2).token(), host.wait_for_event("leading", 1).token());
}
