//! A rolling update of the Deployment: every replica is replaced, and work goes from hand to hand.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use leasehold_tests::cluster::{invariants, now_micros, wait_for};
use serde_json::json;

use crate::{
    manifests::{Elector, free_lease, module, role},
    replicas::Replicas,
    story::Story,
    times::{What, Who},
};

const NAME: &str = "leasehold";

pub(crate) fn rolling_update(story: &Story<'_>) {
    let objects = [role("elector", &["get", "list", "watch", "update"]), free_lease(NAME), module(NAME, "heartbeat")];
    story.namespace.apply(&objects);
    story.judge(NAME);
    let replicas = Replicas::deploy(story, Elector::leasehold(NAME), "elector");
    replicas.settled();
    let before: Vec<_> = replicas.pods().expect("pods").iter().map(ResourceExt::name_any).collect();

    let begun = now_micros();
    // What `kubectl rollout restart` does.
    let restarted = json!({"kubectl.kubernetes.io/restartedAt": jiff::Timestamp::now().to_string()});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": restarted}}}});
    let wanted = story.namespace.patch::<Deployment>(NAME, &patch).metadata.generation;
    wait_for("the rollout is complete", || {
        let deployment = story.namespace.get::<Deployment>(NAME)?;
        let status = deployment.status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        Ok((status.observed_generation >= wanted && counts == [Some(3); 3]).then_some(()))
    });
    replicas.settled();
    let now: Vec<_> = replicas.pods().expect("pods").iter().map(ResourceExt::name_any).collect();
    assert!(before.iter().all(|pod| !now.contains(pod)), "{before:?} and {now:?}");

    let lease = format!("{}/{NAME}", story.namespace.name());
    let (runs, wrong) = invariants::guest_runs(&lease, &story.events(), &story.kills());
    assert!(wrong.is_empty(), "{wrong:?}");
    let mut handovers = 0;
    for pair in runs.windows(2).filter(|pair| pair[1].started >= begun) {
        let ended = pair[0].ended.expect("whoever was replaced has stopped");
        story.times.add(What::RollingUpdate, Who::Leasehold, pair[1].started - ended);
        handovers += 1;
        println!(
            "no guest for {:.1} ms, from {} to {}",
            (pair[1].started - ended) as f64 / 1e3,
            pair[0].pod,
            pair[1].pod
        );
    }
    assert!(handovers > 0, "the leader was replaced, so there was a handover");
}
