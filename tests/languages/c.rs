//! C: the dead man's switch.

use crate::{
    monitor::Monitor,
    project::{self, C, Example, hand_over, leader_and_standby},
};

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(C);
}

/// `leasehold_leader_token;namespace=NAMESPACE;lease=LEASE TOKEN TIME`
fn token(line: &str) -> u64 {
    let parts: Vec<_> = line.split(' ').collect();
    let [series, token, time] = parts[..] else { panic!("{line:?} has three parts") };
    assert_eq!(series, "leasehold_leader_token;namespace=default;lease=task");
    let age = jiff::Timestamp::now().as_second() - time.parse::<i64>().expect("seconds");
    assert!((0..600).contains(&age), "{line}: {age} s old");
    token.parse().expect("a token")
}

#[test]
fn the_dead_mans_switch_speaks_while_somebody_leads_and_only_then() {
    let switch = Example::build("dead-mans-switch", C);
    let monitor = Monitor::start(usize::MAX);
    let (port, address) = (monitor.address.port(), format!("MONITOR=localhost:{}", monitor.address.port()));
    let args = ["--env", &address, "--env", "EVERY_MS=20", "--allow-tcp", &format!("localhost:{port}")];
    let (mut leader, mut standby) = leader_and_standby(&switch, &args);
    monitor.wait_for("three heartbeats", |told| told.lines.len() >= 3);
    let (before, after) = hand_over(&mut leader, &standby);
    monitor.wait_for("the next leader's", |told| told.lines.last().is_some_and(|line| token(line) == after));
    standby.kill();
    let told = monitor.told();
    let tokens: Vec<_> = told.lines.iter().map(|line| token(line)).collect();
    assert!(tokens.is_sorted() && tokens.iter().all(|token| [before, after].contains(token)), "{tokens:?}");
    // Each keeps its own.
    assert_eq!(told.connections, 2);
}

#[test]
fn the_dead_mans_switch_connects_again_to_a_monitor_that_hangs_up() {
    let switch = Example::build("dead-mans-switch", C);
    let monitor = Monitor::start(2);
    let address = monitor.address.to_string();
    let args = ["--env", &format!("MONITOR={address}"), "--env", "EVERY_MS=20", "--allow-tcp", &address];
    let _hosts = leader_and_standby(&switch, &args);
    monitor.wait_for("more lines than a connection takes", |told| told.lines.len() >= 6);
}

#[test]
fn what_is_not_allowed_is_said_in_words() {
    let switch = Example::build("dead-mans-switch", C);
    let (allowed, other) = (Monitor::start(usize::MAX), Monitor::start(usize::MAX));
    let (monitor, rule) = (format!("MONITOR={}", other.address), allowed.address.to_string());
    let args = ["--env", &monitor, "--env", "EVERY_MS=20", "--allow-tcp", &rule];
    let (leader, _standby) = leader_and_standby(&switch, &args);
    leader.wait_for("the guest's words", |event| {
        event.name() == "guest-output" && event.message().contains("this task is not allowed to")
    });
    assert_eq!(other.told().connections, 0);
}
