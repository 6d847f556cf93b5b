//! C: the dead man's switch.

use crate::{
    project::{self, C, Example, hand_over, leader_and_standby},
    service::Service,
};

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(C);
}

#[test]
fn the_dead_mans_switch_calls_while_somebody_leads_and_only_then() {
    let switch = Example::build("dead-mans-switch", C);
    let service = Service::start();
    let url = service.url("/alive");
    let args = ["--env", &format!("MONITOR_URL={url}"), "--env", "EVERY_MS=20", "--allow-http", &url];
    let (mut leader, mut standby) = leader_and_standby(&switch, &args);
    service.wait_for("three calls", |told| (told.alive.len() >= 3).then_some(()));
    let (before, after) = hand_over(&mut leader, &standby);
    service.wait_for("calls of the next leader", |told| (told.alive.last() == Some(&after)).then_some(()));
    standby.kill();
    let calls = service.told().alive.clone();
    assert!(calls.is_sorted() && calls.iter().all(|token| [before, after].contains(token)), "{calls:?}");
}

#[test]
fn what_is_not_allowed_is_said_in_words() {
    let switch = Example::build("dead-mans-switch", C);
    let service = Service::start();
    let (leader, _standby) = leader_and_standby(
        &switch,
        &["--env", &format!("MONITOR_URL={}", service.url("/alive")), "--env", "EVERY_MS=20"],
    );
    leader.wait_for("the guest's words", |event| {
        event.name() == "guest-output" && event.message().contains("this task is not allowed to")
    });
    assert!(service.told().alive.is_empty());
}
