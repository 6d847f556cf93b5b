//! The module is replaced while the Pods run.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use leasehold_tests::{
    cluster::{namespace::restarts, now_micros},
    event_log::Event,
};
use serde_json::json;

use crate::{
    manifests::{Elector, free_lease, module, module_bytes, module_data, role_for_all},
    replicas::{Leader, Replicas},
    story::Story,
    times::{What, Who},
    told::{wait_for_event, wait_for_metric},
};

const NAME: &str = "leasehold";
/// What is wrong with the broken one.
const WHY: &str = "it is cut off or damaged";
/// The first words of each guest.
const BEATS: &str = "beat 1,";
const PARKED: &str = "parked,";

pub(crate) fn mounted_module_replaced(story: &Story<'_>) {
    let replicas = replaced(story, Elector::leasehold(NAME), What::MountedModule);
    for (config_map, guest, first_words) in [("next", "heartbeat", BEATS), ("after-next", "parked", PARKED)] {
        rolled_out(story, &replicas, config_map, guest, first_words);
    }
}

pub(crate) fn watched_module_replaced(story: &Story<'_>) {
    replaced(story, Elector::leasehold_watching(NAME), What::WatchedModule);
}

fn replaced<'s>(story: &'s Story<'s>, elector: Elector, what: What) -> Replicas<'s> {
    story.namespace.apply(&[role_for_all("elector", NAME), free_lease(NAME), module(NAME, "heartbeat")]);
    story.judge(NAME);
    let replicas = Replicas::deploy(story, elector, "elector");
    let leader = replicas.settled();
    let before = replicas.lease().expect("the Lease");
    let token = replicas.wait_for_same(&leader.run, "leading", 0).token();

    // Each replaces a heartbeat, which stops as soon as it is asked to: what is measured is the way to it.
    let next = [(another(1), BEATS), (another(2), BEATS), (module_bytes("parked"), PARKED)];
    for (bytes, first_words) in &next {
        let written = write(story, bytes);
        let line = line_of_guest(&replicas, &leader, first_words, written);
        story.times.add(what, Who::Leasehold, line.at_micros - written);
        assert_eq!(line.token(), token, "a swap stays within the term");
        let stopped = replicas.wait_for_same(&leader.run, "guest-stopped", written);
        assert_eq!(stopped.line["reason"], "module-replaced");
    }
    // And this one a guest that does not care for being asked.
    line_of_guest(&replicas, &leader, BEATS, write(story, &module_bytes("heartbeat")));
    wait_for_metric(story, &leader.pod, &format!("leasehold_module_swaps_total{{task=\"{NAME}\"}} {}", next.len() + 1));
    wait_for_event(story, NAME, "ModuleSwapped", "Normal", &[&leader.identity]);
    a_broken_one_changes_nothing(story, &replicas, &leader, token);

    let settled = replicas.settled();
    assert_eq!(settled.identity, leader.identity);
    let lease = replicas.lease().expect("the Lease");
    assert_eq!((lease.acquire_time, lease.lease_transitions), (before.acquire_time, before.lease_transitions));
    for pod in replicas.pods().expect("pods") {
        assert_eq!(restarts(&pod), 0, "{} was restarted", pod.name_any());
    }
    let led = replicas.events_since(0).into_iter().filter(|event| event.event.name() == "leading").count();
    assert_eq!(led, 1, "the lease has changed hands");
    replicas
}

/// The same without a swap: the Pods are replaced by others that mount another ConfigMap.
fn rolled_out(story: &Story<'_>, replicas: &Replicas<'_>, config_map: &str, guest: &str, first_words: &str) {
    story.namespace.apply(&[module(config_map, guest)]);
    let volumes = json!([{"name": "module", "configMap": {"name": config_map}}]);
    let patched = now_micros();
    replicas.roll_out(&json!({"spec": {"volumes": volumes}}));
    let line = replicas.wait_for_event("first line of the new Pods' guest", |event| {
        let event = &event.event;
        event.name() == "guest-output" && event.at_micros >= patched && event.message().starts_with(first_words)
    });
    story.times.add(What::RolledOutModule, Who::Leasehold, line.event.at_micros - patched);
}

fn a_broken_one_changes_nothing(story: &Story<'_>, replicas: &Replicas<'_>, leader: &Leader, token: u64) {
    let broken = write(story, b"\0asm, but not really");
    let rejected = replicas.wait_for_same(&leader.run, "module-rejected", broken);
    // A person sees why: in the log, in an Event on the Lease, and that it happened in a metric.
    assert!(rejected.message().contains("stays") && rejected.message().contains(WHY), "{rejected}");
    wait_for_event(story, NAME, "ModuleRejected", "Warning", &[&leader.identity, WHY]);
    wait_for_metric(story, &leader.pod, &format!("leasehold_module_rejections_total{{task=\"{NAME}\"}} 1"));
    let beat = line_of_guest(replicas, leader, "beat ", rejected.at_micros);
    assert_eq!(beat.token(), token);
    let since = replicas.events_since(broken);
    let stopped: Vec<_> = since.iter().filter(|event| event.event.name() == "guest-stopped").collect();
    assert!(stopped.is_empty(), "{stopped:?}");
    // Mended, and taken.
    let mended = write(story, &module_bytes("parked"));
    line_of_guest(replicas, leader, PARKED, mended);
}

/// A heartbeat that is another module: a custom section, on which nothing depends, makes its digest another one.
fn another(number: u8) -> Vec<u8> {
    let mut bytes = module_bytes("heartbeat");
    // Section 0, of three bytes: a name of one byte, and one byte of content.
    bytes.extend([0, 3, 1, b'n', number]);
    bytes
}

fn write(story: &Story<'_>, bytes: &[u8]) -> i64 {
    let written = now_micros();
    story.namespace.patch::<ConfigMap>(NAME, &json!({"binaryData": module_data(bytes)}));
    written
}

fn line_of_guest(replicas: &Replicas<'_>, leader: &Leader, words: &str, since: i64) -> Event {
    let found = replicas.wait_for_event(&format!("{words:?} of the guest"), |event| {
        event.run == leader.run
            && event.event.name() == "guest-output"
            && event.event.at_micros >= since
            && event.event.message().starts_with(words)
    });
    found.event
}
