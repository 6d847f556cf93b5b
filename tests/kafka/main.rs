//! The example of deploy/overlays/kafka-sidecar with a real broker, a real API server and three replicas, each the Java
//! application and a host with sidecar-switch: numbers are produced without pause, and whatever is done to the replica that
//! consumes them, no record is lost, each partition keeps its order, and no two consume at once.
//!
//! `LEASEHOLD_KAFKA_ROUNDS=n` does everything n times.

mod history;
mod judge;
#[cfg(test)]
mod judge_tests;
mod lapse;
mod permissions;
mod program;
mod replica;
mod world;

use std::{
    fs::{self, File},
    path::Path,
};

use leasehold_tests::{build, from_env, table};

use self::{judge::judge, program::Program, replica::Fault, world::World};

/// The rules themselves, in the application's own tests: the replicas below come only where these are kept.
#[test]
fn a_permission_counts_by_the_applications_own_clock_and_token() {
    let app = replica::built(build::root()).join("app");
    let mut java = std::process::Command::new("java");
    java.arg("-cp").arg(format!("{0}/test-classes:{0}/classes", app.display())).arg("example.PermissionTest");
    let stderr = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-permission.txt");
    let mut test = Program::start("the test of Permission", &mut java, &File::create(&stderr).expect("a file"), |_| ());
    let ended = test.wait();
    let said = fs::read_to_string(&stderr).expect("a file");
    assert!(ended.success(), "{ended}: {said}");
    test.wait_for("all is well");
}

#[test]
fn whatever_is_done_to_the_active_consumer_nothing_is_lost_or_out_of_order_and_no_two_are_active() {
    let rounds = usize::try_from(from_env("LEASEHOLD_KAFKA_ROUNDS").unwrap_or(1)).expect("a number of rounds");
    let mut world = World::start();
    let mut times = Vec::new();
    for _ in 0..rounds {
        for fault in Fault::ALL {
            times.push((fault, world.does(fault)));
        }
    }
    let entries = world.end();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka.txt");
    let lines: String = entries.iter().map(|entry| format!("{entry:?}\n")).collect();
    fs::write(&kept, lines).expect("written");

    let verdict = judge(&entries);
    println!("{}\nall of it: {}", verdict.found, kept.display());
    print_table(&times, &verdict);
    assert!(verdict.violations.is_empty(), "{}", verdict.violations.join("\n"));
    assert!(verdict.found.handovers >= rounds * (Fault::ALL.len() - 1), "too little has happened: {}", verdict.found);
    assert!(verdict.found.acked > 100, "too little was produced");
    assert!(verdict.found.granted > verdict.found.terms, "permissions were not told of: {}", verdict.found);
    // A matter of microseconds, where it is not a permission that is looked at too rarely.
    assert!(verdict.found.late <= 1 + verdict.found.stops / 5, "too many sent something when they went on");
}

/// A row a fault: how long nothing was consumed, and what was sent again.
fn print_table(times: &[(Fault, usize)], verdict: &judge::Verdict) {
    let mut table =
        table::table(&["the active replica", "n", "without an active consumer, ms: p50", "max", "sent again, in all"]);
    for fault in Fault::ALL {
        let mut gaps = table::Samples::new();
        let mut again = 0;
        for (_, index) in times.iter().filter(|(other, _)| *other == fault) {
            let told = &verdict.faults[*index];
            gaps.add_micros(i64::try_from(told.gap.as_micros()).expect("not centuries"));
            again += told.sent_again;
        }
        let ms = |ms: f64| format!("{ms:.0}");
        table.add_row([
            fault.to_string(),
            gaps.count().to_string(),
            ms(gaps.p50_ms()),
            ms(gaps.max_ms()),
            again.to_string(),
        ]);
    }
    println!("\n{table}");
}
