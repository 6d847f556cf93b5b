//! What people already have: ordinary programs, and core modules built for WASI preview 1.

use std::{path::PathBuf, time::Duration};

use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{
    build::{guest, preview1, small_guest},
    captured_log::captured_log,
    guest_bench::GuestBench,
};

const LONG: Duration = Duration::from_secs(3600);

fn programs() -> [PathBuf; 2] {
    [guest("program"), preview1("program")]
}

#[test]
fn a_program_has_the_term_in_its_environment_and_whether_it_exits_with_0_is_the_outcome() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for program in programs() {
        let module = bench.module_at(&program);
        for status in ["0", "3"] {
            let mut started = bench.start_with(&module, LONG, |config| config.args = vec!["1".into(), status.into()]);
            log.wait_for_guest_line(started.token, &format!("line 1, lease default/test, token {}", started.token));
            match started.outcome() {
                Outcome::Returned => assert_eq!(status, "0", "{}", program.display()),
                Outcome::Error(error) => assert!(status == "3" && error.contains("other than 0"), "{error}"),
                other => panic!("{}: {other:?}", program.display()),
            }
        }
    }
}

#[test]
fn a_program_that_cannot_be_asked_is_ended_where_it_stands() {
    let (log, bench) = (captured_log(), GuestBench::default());
    for program in programs() {
        let mut started = bench.start(&bench.module_at(&program), LONG);
        log.wait_for_guest_line(started.token, "line 2");
        started.guest.end(StopReason::Shutdown);
        assert_eq!(started.outcome(), Outcome::Ended(StopReason::Shutdown), "{}", program.display());
    }
}

#[test]
fn the_term_in_the_environment_cannot_be_overwritten() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start_with(&bench.module("program"), LONG, |config| {
        config.env = [("LEASEHOLD_TOKEN".into(), "999".into())].into();
    });
    log.wait_for_guest_line(started.token, &format!("token {}", started.token));
    started.guest.end(StopReason::Shutdown);
    started.outcome();
}

#[test]
fn a_core_module_made_for_the_world_is_a_task_like_any_other() {
    let bench = GuestBench::default();
    let mut started = bench.start(&bench.module_at(&preview1("returns-error")), LONG);
    assert!(matches!(started.outcome(), Outcome::Error(_)));
}

#[test]
fn a_component_of_the_small_profile_is_smaller_and_does_the_same() {
    let (log, bench) = (captured_log(), GuestBench::default());
    let size = |path: &PathBuf| std::fs::metadata(path).expect("it was built").len();
    let (small, usual) = (small_guest("heartbeat"), guest("heartbeat"));
    assert!(size(&small) < size(&usual) * 9 / 10, "{} of {} bytes", size(&small), size(&usual));
    let mut started = bench.start(&bench.module_at(&small), LONG);
    log.wait_for_guest_line(started.token, "beat 2");
    started.guest.ask_to_stop(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Returned);
}
