//! JavaScript: the webhook relay.

use serde_json::json;

use crate::{
    project::{self, Example, JS, hand_over, leader_and_standby},
    service::{Delivery, Service, Told},
};

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(JS);
}

fn taken(count: usize) -> impl Fn(&Told) -> Option<Vec<Delivery>> {
    move |told| {
        let taken: Vec<_> = told.deliveries.iter().filter(|delivery| delivery.taken).cloned().collect();
        (taken.len() >= count).then_some(taken)
    }
}

#[test]
fn the_webhook_relay_goes_on_behind_what_the_last_leader_handed_on() {
    let relay = Example::build("webhook-relay", JS);
    let service = Service::start();
    service.told().events.extend((1..=3).map(|id| json!({"id": id, "what": "a pull request"})));
    service.told().failures = 1;
    let (source, target) = (service.url("/events"), service.url("/hook"));
    let env = [format!("SOURCE_URL={source}"), format!("TARGET_URL={target}")];
    let args =
        ["--env", &env[0], "--env", &env[1], "--env", "EVERY_MS=50", "--allow-http", &source, "--allow-http", &target];
    let (mut leader, standby) = leader_and_standby(&relay, &args);
    service.wait_for("the third event", taken(3));
    let (before, after) = hand_over(&mut leader, &standby);
    service.told().events.extend((4..=5).map(|id| json!({"id": id})));
    service.wait_for("the fifth event", taken(5));

    let deliveries = service.told().deliveries.clone();
    let of = |id, token, taken| Delivery { id, key: id.to_string(), token, taken };
    // The first one was refused once, and nothing has overtaken it.
    let expected = [
        of(1, before, false),
        of(1, before, true),
        of(2, before, true),
        of(3, before, true),
        of(4, after, true),
        of(5, after, true),
    ];
    assert_eq!(deliveries, expected);
}
