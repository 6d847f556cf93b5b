//! A Service that selects the leader by its label: who is in its EndpointSlice, when the leader's Pod is deleted, its
//! container killed, its node cut off.

use anyhow::{Result, ensure};
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::ResourceExt;
use leasehold_tests::cluster::{namespace::node_of, now_micros, wait_for};
use serde_json::json;

use crate::{
    handover::delete,
    manifests::{ENOUGH, Elector, free_lease, module, role_of},
    replicas::{Leader, Replicas},
    story::Story,
    times::{What, Who},
};

const NAME: &str = "leasehold";
const KEY: &str = "leader.leasehold.dev/leasehold";

pub(crate) fn leader_service(story: &Story<'_>) {
    let role = role_of(
        "labels",
        &json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ENOUGH},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        ]),
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "leader"},
        "spec": {"selector": {KEY: "true"}, "ports": [{"name": "admin", "port": 8080}]},
    });
    story.namespace.apply(&[role, service, free_lease(NAME), module(NAME, "heartbeat")]);
    story.judge(NAME);
    let replicas = Replicas::deploy(story, Elector::leasehold(NAME).labelled(KEY), "labels");
    let first = replicas.settled();
    routed_to(story, &first.pod.name_any());

    let deleted = delete(story, &first);
    moves(story, &replicas, &first, deleted);
    // It was off before the Lease was given back.
    let removed = replicas.wait_for_same(&first.run, "leader-label-removed", deleted).at_micros;
    let released = replicas.wait_for_same(&first.run, "released", deleted).at_micros;
    assert!(removed <= released, "removed {} us after the release", removed - released);

    let second = replicas.settled();
    let killed = now_micros();
    story.kill(&second.pod);
    moves(story, &replicas, &second, killed);

    let third = replicas.settled();
    let cut = story.cluster.cut_off(node_of(&third.pod).expect("a node")).expect("cut off");
    moves(story, &replicas, &third, now_micros());
    assert!(!carries(story, &third.pod.name_any()).expect("the Pod"), "its successor has taken it off");
    cut.join().expect("joined");
    let fourth = replicas.settled();
    routed_to(story, &fourth.pod.name_any());
}

/// Another leads, and is the only one that is routed to. How long that takes is measured from its guest's first line on.
fn moves(story: &Story<'_>, replicas: &Replicas<'_>, before: &Leader, since: i64) {
    let line = replicas.wait_for_other(&before.run, "guest-output", since);
    let next = line.run.pod.clone();
    routed_to(story, &next);
    story.times.add(What::Routed, Who::Leasehold, now_micros() - line.event.at_micros);
    assert!(carries(story, &next).expect("the Pod"));
}

fn carries(story: &Story<'_>, pod: &str) -> Result<bool> {
    Ok(story.namespace.get::<Pod>(pod)?.labels().contains_key(KEY))
}

/// Waits until the Service has this Pod, ready, and no other.
fn routed_to(story: &Story<'_>, pod: &str) {
    wait_for(&format!("the Service has {pod} alone"), || {
        let slices = story.namespace.list::<EndpointSlice>("kubernetes.io/service-name=leader")?;
        let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
        let mut targets = Vec::new();
        for endpoint in endpoints {
            let target = endpoint.target_ref.and_then(|target| target.name);
            ensure!(target.is_some(), "an endpoint of no Pod");
            let ready = endpoint.conditions.and_then(|conditions| conditions.ready);
            targets.push((target.unwrap_or_default(), ready));
        }
        Ok((targets == [(pod.to_owned(), Some(true))]).then_some(()))
    });
}
