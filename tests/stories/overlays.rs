//! What is in deploy/, applied as deploy/README.md says, on nodes that run it.

use anyhow::ensure;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use leasehold_tests::{
    build,
    cluster::{namespace::restarts, wait_for},
};

use crate::story::Story;

pub(crate) fn kind(story: &Story<'_>) {
    works(story, "overlays/kind", &["leasehold-task"]);
}

pub(crate) fn configmap_api(story: &Story<'_>) {
    works(story, "overlays/configmap-api", &["leasehold-task"]);
}

pub(crate) fn many_tasks(story: &Story<'_>) {
    works(story, "overlays/many-tasks", &["heartbeat", "slow-heartbeat", "slow-stop"]);
}

pub(crate) fn leader_service(story: &Story<'_>) {
    works(story, "overlays/leader-service", &["leasehold-task"]);
}

/// All replicas become ready, each task runs on one of them, and none was restarted for that.
fn works(story: &Story<'_>, kustomization: &str, leases: &[&'static str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let kustomization = build::copy_of_deploy(folder.path()).join(kustomization);
    let path = kustomization.to_str().expect("a temporary folder's path is UTF-8");
    let kubectl = |args: &[&str]| story.cluster.kubectl(args, "").unwrap_or_else(|error| panic!("{error:#}"));
    for lease in leases {
        story.judge(lease);
    }
    kubectl(&["apply", "--server-side", "-k", path]);

    wait_for("all replicas are ready", || {
        let deployment = story.namespace.get::<Deployment>("leasehold")?;
        let replicas = deployment.spec.and_then(|spec| spec.replicas);
        let ready = deployment.status.and_then(|status| status.ready_replicas);
        ensure!(replicas == Some(3) && ready == replicas, "{ready:?} of {replicas:?} are ready");
        Ok(Some(()))
    });
    for lease in leases {
        let lease = format!("{}/{lease}", story.namespace.name());
        story.wait_for_log(&format!("line of the guest under {lease}"), |events| {
            let is = |event: &&&leasehold_tests::cluster::pod_logs::PodEvent| {
                event.event.name() == "guest-output" && event.event.line["lease"] == lease.as_str()
            };
            events.iter().find(is).map(|_| ())
        });
    }
    let pods = story.namespace.list::<Pod>("app.kubernetes.io/name=leasehold").expect("pods");
    assert_eq!(pods.iter().map(restarts).sum::<i32>(), 0);
    let trouble = story.look(|events| {
        let trouble =
            events.iter().find(|event| ["WARN", "ERROR"].iter().any(|level| event.event.line["level"] == *level));
        trouble.map(|event| event.event.to_string())
    });
    assert_eq!(trouble, None);

    // The namespace is part of it.
    kubectl(&["delete", "--wait=false", "-k", path]);
}
