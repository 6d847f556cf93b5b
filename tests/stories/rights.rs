//! Which rights are enough, and what a Pod says that has not got them.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leasehold_tests::cluster::{namespace::restarts, now_micros, wait_for};
use serde_json::json;

use crate::{
    manifests::{Elector, module, role, role_of},
    replicas::Replicas,
    story::Story,
};

/// A Role that people have, for electors that make their Lease themselves.
pub(crate) fn role_without_patch(story: &Story<'_>) {
    let name = "leasehold";
    let verbs = ["get", "watch", "list", "delete", "update", "create"];
    story.namespace.apply(&[role("elector", &verbs), module(name, "heartbeat")]);
    story.judge(name);
    let replicas = Replicas::deploy(story, Elector::leasehold(name), "elector");
    let leader = replicas.settled();
    assert_eq!(replicas.lease().expect("it was made").lease_transitions, Some(0), "nobody was there before");
    // What more it has no right to costs that alone, and one line in each log.
    for pod in replicas.pods().expect("pods") {
        let off = replicas.wait_for_event("what is off", |event| {
            event.run.pod == pod.name_any() && event.event.name() == "events-off"
        });
        let rule = "{apiGroups: [events.k8s.io], resources: [events], verbs: [create]}";
        assert!(off.event.message().contains(rule), "{}", off.event);
    }
    let lines = replicas.events_since(0);
    let told = lines.iter().filter(|event| event.event.name() == "events-off" && event.run == leader.run).count();
    assert_eq!(told, 1);
    let deleted = now_micros();
    story.namespace.delete::<Pod>(&leader.pod.name_any());
    replicas.wait_for_other(&leader.run, "guest-output", deleted);
    let next = replicas.settled();
    assert_ne!(next.identity, leader.identity);
    assert_eq!(replicas.lease().expect("it is there").lease_transitions, Some(1));
}

/// Whoever lacks a right says which, ends, is started again, and works as soon as it has it.
pub(crate) fn missing_rights(story: &Story<'_>) {
    let one = |name| Elector::leasehold(name).with_replicas(1);
    let (no_update, nothing) = ("no-update", "nothing");
    story.namespace.apply(&[
        role(no_update, &["get", "list", "watch", "create"]),
        role_of(nothing, &json!([])),
        module(no_update, "heartbeat"),
        module(nothing, "heartbeat"),
    ]);
    story.judge(no_update);
    story.judge(nothing);
    let namespace = story.namespace.name();
    let cases = [
        (
            Replicas::deploy(story, one(no_update), no_update),
            vec![
                format!("may not update lease {namespace}/{no_update}"),
                "add to the Role: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [update]}".to_owned(),
            ],
        ),
        (
            Replicas::deploy(story, one(nothing), nothing),
            vec![
                "not allowed to read the lease".to_owned(),
                "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, update]}".to_owned(),
                // The API server's own words.
                format!("system:serviceaccount:{namespace}:{nothing}"),
                "cannot get resource \"leases\" in API group \"coordination.k8s.io\"".to_owned(),
            ],
        ),
    ];
    for (replicas, words) in &cases {
        let logged = replicas.wait_for_event("why it ends", |event| event.event.message().starts_with("error: "));
        for words in words {
            assert!(logged.event.message().contains(words), "{words:?} is not in: {}", logged.event);
        }
        let (code, message, restarts) = wait_for("it was started again", || Ok(ended(&replicas.pods()?)));
        assert_eq!(code, 1, "not a mistake in the call: {message}");
        assert!(words.iter().all(|words| message.contains(words)), "kubectl describe shows: {message}");
        assert!(restarts >= 1);
    }
    let enough = ["get", "list", "watch", "update", "create"];
    story.namespace.apply(&[role(no_update, &enough), role(nothing, &enough)]);
    for (replicas, _) in &cases {
        replicas.settled();
    }
}

/// How the only container ended before: its exit code, its termination message, and how often it was restarted.
fn ended(pods: &[Pod]) -> Option<(i32, String, i32)> {
    let pod = pods.first()?;
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let last = status.last_state.as_ref()?.terminated.as_ref()?;
    Some((last.exit_code, last.message.clone().unwrap_or_default(), restarts(pod)))
}
