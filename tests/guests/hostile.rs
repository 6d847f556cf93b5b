//! Guests that mean harm, or do it by a mistake: each comes to its own end, by name, and the host is as it was.
//!
//! Core modules of WASI preview 1, because their text says exactly what they do.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::guest::{module::ReadyModule, runtime::GuestConfig};
use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{captured_log::captured_log, guest_bench::GuestBench};

const LONG: Duration = Duration::from_secs(3600);

/// Takes a MiB after the other, and fills it, until it is refused.
const MEMORY_BOMB: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (local $at i32)
    (loop $more
        (local.set $at (memory.grow (i32.const 16)))
        (if (i32.eq (local.get $at) (i32.const -1)) (then unreachable))
        (memory.fill (i32.mul (local.get $at) (i32.const 65536)) (i32.const 1) (i32.const 1048576))
        (br $more))))"#;
/// The same with several memories, each of them within the limit.
const MEMORIES_BOMB: &str = r#"(module (memory (export "memory") 1) (memory 600) (memory 600)
    (func (export "_start")))"#;
const TABLE_BOMB: &str = r#"(module (memory (export "memory") 1) (table $t 1 funcref) (func (export "_start")
    (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)))) unreachable))"#;
const RECURSION: &str = r#"(module (memory (export "memory") 1)
    (func $deeper (param i64) (result i64) (i64.add (local.get 0) (call $deeper (local.get 0))))
    (func (export "_start") (drop (call $deeper (i64.const 1)))))"#;
const SPINS: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $again (br $again))))"#;
/// In the start function, so while it is being instantiated.
const SPINS_AT_START: &str = r#"(module (memory (export "memory") 1)
    (func $spin (loop $again (br $again))) (start $spin) (func (export "_start")))"#;
/// A line of 9 bytes, for ever.
const FLOODS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 100) "flooding\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 9))
        (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))))"#;

fn module(bench: &GuestBench, text: &str) -> Arc<ReadyModule> {
    bench.module_of(&wat::parse_str(text).expect("the text is right"))
}

fn outcome(text: &str) -> Outcome {
    let bench = GuestBench::default();
    bench.start(&module(&bench, text), LONG).outcome()
}

#[test]
fn bombs_of_memory_and_tables_end_by_the_name_of_their_limit() {
    for (bomb, limit) in [
        (MEMORY_BOMB, "its memory is limited to 64.0 MiB"),
        (MEMORIES_BOMB, "its memory is limited to 64.0 MiB"),
        (TABLE_BOMB, "its tables are limited to 100000 entries"),
    ] {
        let outcome = outcome(bomb);
        let Outcome::OutOfMemory(message) = &outcome else { panic!("{outcome:?}") };
        assert!(message.contains(limit), "{message}");
    }
}

#[test]
fn endless_recursion_is_a_trap_of_the_guest_alone() {
    let outcome = outcome(RECURSION);
    let Outcome::Trap(message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("call stack exhausted"), "{message}");
}

#[test]
fn a_guest_that_keeps_every_handle_comes_to_the_end_of_them() {
    let bench = GuestBench::default();
    let outcome = bench.start(&bench.module("leaks-handles"), LONG).outcome();
    let Outcome::Trap(message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("resource table"), "{message}");
}

#[test]
fn a_guest_that_spins_before_it_has_begun_is_ended_as_well() {
    let bench = GuestBench::default();
    let mut started = bench.start(&module(&bench, SPINS_AT_START), LONG);
    while !started.guest.gate().is_executing() {
        std::thread::yield_now();
    }
    started.guest.end(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::Shutdown));
}

#[test]
fn of_a_flood_of_output_some_is_shown_and_the_rest_counted() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let config = GuestConfig::default();
    let dropped = config.counts.dropped_lines.clone();
    let mut started = bench.start_with(&module(&bench, FLOODS), LONG, |of_guest| *of_guest = config);
    log.wait_for_guest_line(started.token, "flooding");
    while dropped.get() < 10_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    started.guest.end(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::Shutdown));
    let token = started.token;
    let told = log.wait_for("count of dropped lines", |event| {
        event.name() == "guest-output-dropped" && event.line["token"] == token
    });
    assert!(told.line["lines"].as_u64().is_some_and(|lines| lines > 0), "{told:?}");
}

#[test]
fn a_task_with_a_share_of_the_cpu_leaves_the_rest_to_others() {
    let bench = GuestBench::default();
    let used = |share: Option<&str>| {
        let config = GuestConfig { cpu: share.map(|share| share.parse().expect("a share")), ..GuestConfig::default() };
        let cpu = config.counts.cpu.clone();
        let started = bench.start_with(&module(&bench, SPINS), LONG, |of_guest| *of_guest = config);
        (started, cpu)
    };
    let begun = Instant::now();
    let (_limited, limited) = used(Some("50m"));
    let (_free, free) = used(None);
    while free.get() < 2.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A twentieth of the time that has passed, 100 ms that it had saved up, and one turn that a late tick has made longer.
    let (limited, most) = (limited.get(), begun.elapsed().as_secs_f64() / 20.0 + 0.1 + 0.5);
    assert!(limited > 0.0 && limited < most, "{limited} s of {most}");
}

#[test]
fn a_hundred_bombs_later_the_host_has_its_memory_back() {
    // In a process of its own: the other tests of this one use memory meanwhile.
    const ALONE: &str = "LEASEHOLD_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let itself = Command::new(std::env::current_exe().expect("the test's own path is known"))
            .args(["--exact", "hostile::a_hundred_bombs_later_the_host_has_its_memory_back", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&itself.stdout);
        assert!(
            itself.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&itself.stderr)
        );
        return;
    }
    let bench = GuestBench::default();
    let bomb = module(&bench, MEMORY_BOMB);
    let explode = |times: usize| {
        for _ in 0..times {
            assert!(matches!(bench.start(&bomb, LONG).outcome(), Outcome::OutOfMemory(_)));
        }
    };
    explode(10);
    let before = resident_kib();
    explode(100);
    let grown = resident_kib().saturating_sub(before);
    // Less than one bomb: none is left.
    assert!(grown < 48 * 1024, "{grown} KiB more than before");
}

/// Of this process.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is in there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
