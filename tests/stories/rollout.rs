//! A rolling update of the Deployment: every replica is replaced, and work goes from hand to hand.

use kube::ResourceExt;
use leasehold_tests::cluster::invariants;
use serde_json::json;

use crate::{
    manifests::{Elector, free_lease, module, role_for_all},
    replicas::Replicas,
    story::Story,
    times::{What, Who},
    told::wait_for_event,
};

const NAME: &str = "leasehold";
const UPDATES: usize = 3;

pub(crate) fn rolling_update(story: &Story<'_>) {
    story.namespace.apply(&[role_for_all("elector", NAME), free_lease(NAME), module(NAME, "heartbeat")]);
    story.judge(NAME);
    let replicas = Replicas::deploy(story, Elector::leasehold(NAME), "elector");
    replicas.settled();
    for _ in 0..UPDATES {
        update(&replicas);
    }

    let lease = format!("{}/{NAME}", story.namespace.name());
    let (runs, wrong) = invariants::guest_runs(&lease, &story.events(), &story.kills());
    assert!(wrong.is_empty(), "{wrong:?}");
    for pair in runs.windows(2) {
        let ended = pair[0].ended.expect("whoever was replaced has stopped");
        story.times.add(What::RollingUpdate, Who::Leasehold, pair[1].started - ended);
        let (gap_ms, from, to) = ((pair[1].started - ended) as f64 / 1e3, &pair[0].pod, &pair[1].pod);
        println!("no guest for {gap_ms:.1} ms, from {from} to {to}");
    }
    assert!(runs.len() > UPDATES, "each update has replaced the leader");
    for run in &runs {
        let token = format!("token {}", run.token);
        wait_for_event(story, NAME, "StartedLeading", "Normal", &[&run.pod, &token]);
        if run.ended.is_some() {
            wait_for_event(story, NAME, "StoppedLeading", "Normal", &[&run.pod, &token, "shutdown"]);
        }
    }
}

/// Replaces all Pods, as `kubectl rollout restart` does.
fn update(replicas: &Replicas<'_>) {
    let names = || replicas.pods().expect("pods").iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let before = names();
    let restarted = json!({"kubectl.kubernetes.io/restartedAt": jiff::Timestamp::now().to_string()});
    replicas.roll_out(&json!({"metadata": {"annotations": restarted}}));
    let now = names();
    assert!(before.iter().all(|pod| !now.contains(pod)), "{before:?} and {now:?}");
}
