//! Components that were built for earlier states of the WIT package, and must load and run for ever. They are
//! never built again: `golden/README.md`.

use std::{path::PathBuf, time::Duration};

use leasehold::guest::{imports::checkpoint::Asked, world::Call};
use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{build::root, captured_log::captured_log, guest_bench::GuestBench};

const LONG: Duration = Duration::from_secs(3600);

fn golden(version: &str, name: &str) -> PathBuf {
    root().join("tests/guests/golden").join(version).join(format!("{name}.wasm"))
}

#[test]
fn leasehold_task_0_1_0_with_a_checkpoint() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start(&bench.module_at(&golden("0.1.0", "counter")), LONG);
    let Asked::Load(answer) = started.call().asked else { panic!("it loads first") };
    answer.send(None).expect("it waits");
    let Asked::Save(state, answer) = started.call().asked else { panic!("then it saves") };
    assert_eq!(state.bytes(), b"1");
    answer.send(Ok(())).expect("it waits");
    log.wait_for_guest_line(started.token, "counted 1");
    started.guest.ask_to_stop(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Returned);
}

#[test]
fn leasehold_task_0_1_0_with_progress() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start(&bench.module_at(&golden("0.1.0", "reports-progress")), LONG);
    log.wait_for_guest_line(started.token, "");
    started.guest.ask_to_stop(StopReason::ModuleReplaced);
    assert_eq!(started.outcome(), Outcome::Returned);
}

#[test]
fn leasehold_task_0_1_0_of_the_observing_world() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let module = bench.module_at(&golden("0.1.0", "announces-leader"));
    let mut started = bench.start(&module, LONG);
    log.wait_for_guest_line(started.token, "working");
    started.guest.ask_to_stop(StopReason::SteppedDown);
    assert_eq!(started.outcome(), Outcome::Returned);
    for call in [Call::StopLeading(StopReason::Shutdown), Call::NewLeader("another".into())] {
        let mut called = bench.call_with(&module, call, LONG, |_| {});
        assert_eq!(called.outcome(), Outcome::Returned);
    }
}
