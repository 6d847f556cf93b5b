//! How a run can end, each by its name and in the words that a person reads.

use std::{fs, path::Path};

use leasehold_tests::{
    build::{guest, guest_with_lines},
    event_log::Event,
    host_process::HostProcess,
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::LEASE;

/// A task in the text form of WebAssembly, by the body of its export and what else is in its module.
fn written(body: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (type $term' (record (field "lease" string) (field "namespace" string) (field "identity" string)
                (field "token" u64)))
            (export $term "term" (type $term'))
            (core module $task
                (memory (export "memory") 1)
                (global $free (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $free)
                    (global.set $free (i32.add (global.get $free) (local.get 3))))
                {more}
                (func $works (export "works") (param i32 i32 i32 i32 i32 i32 i64) (result i32) {body}))
            (core instance $i (instantiate $task))
            (func $f (param "term" $term) (result (result (error string)))
                (canon lift (core func $i "works") (memory $i "memory") (realloc (func $i "realloc"))))
            (export "on-start-leading" (func $f)))"#
    );
    wat::parse_str(text).expect("it is right")
}

/// What is told of the first run of this module.
fn told(module: &Path, args: &[&str]) -> Event {
    let folder = TempDir::new().expect("a folder");
    let host = HostProcess::run_in_folder("only", module, folder.path(), &[&LEASE[..], args].concat());
    host.wait_for_event("guest-stopped", 1)
}

#[track_caller]
fn assert_told(told: &Event, outcome: &str, says: &[&str]) {
    assert_eq!(told.line["outcome"], outcome, "{}", told.line);
    for part in says {
        assert!(told.message().contains(part), "{part:?} is not in: {}", told.message());
    }
    assert!(!told.message().contains("internal error"), "{}", told.message());
}

#[test]
fn written_tasks_end_by_their_names() {
    let folder = TempDir::new().expect("a folder");
    let module = folder.path().join("task.wasm");
    let deep = "(func $deeper (param i32) (result i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))";
    let grow = "(if (i32.eq (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable)) (i32.const 0)";
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("(i32.const 0)", "", "returned", &["the component has stopped"]),
        // At 16: the result is an error of five bytes.
        (
            "(i32.const 16)",
            r#"(data (i32.const 16) "\01\00\00\00\20\00\00\00\05\00\00\00") (data (i32.const 32) "sorry")"#,
            "error",
            &["has failed: sorry"],
        ),
        ("unreachable", "", "trap", &["`unreachable`", "works"]),
        ("(call $deeper (i32.const 0))", deep, "trap", &["call stack exhausted", "deeper"]),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "", "trap", &["divide by zero", "works"]),
        ("(i32.load (i32.const -4))", "", "trap", &["out of bounds memory access", "works"]),
        (grow, "", "out-of-memory", &["`unreachable`", "works", "its memory is limited to 8.0 MiB"]),
        // Neither ok nor an error.
        ("(i32.const 16)", r#"(data (i32.const 16) "\07")"#, "trap", &["invalid expected discriminant"]),
    ];
    for (body, more, outcome, says) in cases {
        fs::write(&module, written(body, more)).expect("written");
        assert_told(&told(&module, &["--memory", "8Mi"]), outcome, says);
    }
}

#[test]
fn a_trap_names_the_guests_own_function_and_with_debug_information_its_line() {
    let plain = told(&guest("traps"), &[]);
    assert_told(&plain, "trap", &["`unreachable` instruction executed", "on_start_leading"]);
    assert!(!plain.message().contains("lib.rs"), "it has no debug information: {}", plain.message());
    let source = include_str!("../../guest-examples/traps/src/lib.rs");
    let line = 1 + source.lines().position(|line| line.contains("unreachable()")).expect("that is where it traps");
    let with_lines = told(&guest_with_lines("traps"), &[]);
    assert_told(&with_lines, "trap", &["on_start_leading", &format!("traps/src/lib.rs:{line}")]);
}

#[test]
fn a_guest_that_is_ended_is_stopped_and_says_why() {
    let folder = TempDir::new().expect("a folder");
    let args = [&LEASE[..], &["--stop-grace", "100ms"]].concat();
    let mut host = HostProcess::run_in_folder("only", &guest("busy-loop"), folder.path(), &args);
    host.wait_for("line of the guest", |event| event.name() == "guest-output");
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    let told = host.wait_for_event("guest-stopped", 1);
    assert_told(&told, "stopped", &["the component has stopped"]);
    assert_eq!(told.line["reason"], "shutdown");
}

#[test]
fn an_endless_loop_in_a_start_function_is_ended_like_any_other() {
    let folder = TempDir::new().expect("a folder");
    let module = folder.path().join("task.wasm");
    let spins = "(func $spins (loop $again (br $again))) (start $spins)";
    fs::write(&module, written("(i32.const 0)", spins)).expect("written");
    let told = told(&module, &["--progress-deadline", "300ms", "--stop-grace", "100ms"]);
    assert_told(&told, "unresponsive", &["no progress in time"]);
}
