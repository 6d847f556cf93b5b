//! A leader whose Pod ends: it hands over when the Pod is deleted; and where it crashes, its lease is
//! taken over early on proof, and on nothing less. The kubelet's part is played by the test.

use std::process::Command;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use leasehold_tests::{
    build::{self, guest},
    host_process::HostProcess,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LEASE, LEASE_DURATION, cluster::Cluster, micros};

/// With these nobody waits a lease out within a test's patience.
const LONG: [&str; 6] = ["--lease-duration", "300s", "--renew-deadline", "200s", "--retry-period", "2s"];

impl Cluster {
    fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub(super) fn make_pod(&self, name: &str) {
        let pod = json!({
            "metadata": {"name": name},
            // On a node, so that it is not gone with the request to delete it; there is no such node.
            "spec": {"serviceAccountName": "default", "nodeName": "nowhere", "containers": [{"name": "leasehold", "image": "leasehold:0.1.0"}]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        self.make_service_account();
        self.runtime.block_on(self.pods().create(&PostParams::default(), &pod)).expect("made");
    }

    /// Nobody else makes it: there are no controllers.
    fn make_service_account(&self) {
        let account = json!({"metadata": {"name": "default"}});
        let account: ServiceAccount = serde_json::from_value(account).expect("an account");
        match self.runtime.block_on(self.api().create(&PostParams::default(), &account)) {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made.expect("made")),
        }
    }

    /// As the kubelet does.
    pub(super) fn set_status(&self, pod: &str, state: Value, last_state: Value) {
        let container = json!({
            "name": "leasehold", "image": "i", "imageID": "i", "ready": false, "restartCount": 1,
            "state": state, "lastState": last_state,
        });
        let patch = json!({"status": {"containerStatuses": [container]}});
        let pods = self.pods();
        let patch = Patch::Merge(patch);
        self.runtime.block_on(pods.patch_status(pod, &PatchParams::default(), &patch)).expect("patched");
    }

    /// The leader and its standby, of which the leader is killed. Returns its identity.
    fn crashed(&self, timing: &[&str]) -> (String, HostProcess) {
        let (mut leader, standby) = self.leader_and_standby("busy-loop", timing);
        let identity = leader.wait_for_event("leading", 1).line["identity"].as_str().expect("one").to_owned();
        leader.kill();
        (identity, standby)
    }
}

pub(super) fn terminated(message: &str) -> Value {
    json!({"terminated": {"exitCode": 137, "reason": "Error", "message": message}})
}

#[test]
fn the_lease_of_a_leader_whose_container_is_known_to_have_ended_is_taken_at_once() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let (identity, standby) = cluster.crashed(&LONG);
    // A new instance of the container may run by then.
    let message = leasehold::termination::message(&identity);
    cluster.set_status("first", json!({"running": {}}), terminated(&message));
    let ended = standby.wait_for_event("holder-ended", 1);
    assert_eq!(ended.line["leader"], identity);
    standby.wait_for_event("guest-started", 1);
}

#[test]
fn what_proves_nothing_about_the_holder_hands_nothing_over() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let (identity, standby) = cluster.crashed(&LEASE);
    let renewed = cluster.renewed_micros();
    // An earlier boot of the same container; nobody knows what became of it; the Pod is gone by force.
    cluster.set_status("first", terminated(&leasehold::termination::message("first_00000000")), json!({}));
    let unknown = json!({"terminated": {
        "exitCode": 137, "reason": "ContainerStatusUnknown",
        "message": format!("The container could not be located when the pod was terminated ({identity})"),
    }});
    cluster.set_status("first", unknown, json!({}));
    let by_force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    cluster.runtime.block_on(cluster.pods().delete("first", &by_force)).expect("deleted");
    let taken = standby.wait_for_event("guest-started", 1);
    let waited = taken.at_micros - renewed;
    assert!(waited >= micros(LEASE_DURATION), "taken {waited} us after the last renewal");
    assert!(standby.events_named("holder-ended").is_empty());
}

#[test]
fn who_asks_for_no_early_takeover_waits_the_lease_out_whatever_is_proven() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let (identity, standby) = cluster.crashed(&[&LEASE[..], &["--no-early-takeover"]].concat());
    let renewed = cluster.renewed_micros();
    cluster.set_status("first", terminated(&leasehold::termination::message(&identity)), json!({}));
    let taken = standby.wait_for_event("guest-started", 1);
    let waited = taken.at_micros - renewed;
    assert!(waited >= micros(LEASE_DURATION), "taken {waited} us after the last renewal");
    assert!(standby.events_named("holder-ended").is_empty());
}

#[test]
fn a_later_boot_of_the_same_container_takes_over_from_the_earlier_one() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let (identity, mut standby) = cluster.crashed(&LONG);
    standby.kill();
    let message = leasehold::termination::message(&identity);
    cluster.set_status("first", json!({"running": {}}), terminated(&message));
    let again = HostProcess::run_in_cluster(
        "first",
        &guest("busy-loop"),
        cluster.plane.kubeconfig(),
        &[&["--lease", "task"], &LONG[..]].concat(),
    );
    again.wait_for_event("holder-ended", 1);
    again.wait_for_event("guest-started", 1);
    assert_ne!(again.wait_for_event("leading", 1).line["identity"], identity);
}

#[test]
fn a_leader_whose_pod_is_deleted_hands_over_before_the_kubelet_asks_and_then_waits_for_it() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", cluster.plane.kubeconfig()).env("POD_NAME", "first");
    command.arg("run").arg(guest("parked")).args(["--lease", "task", "--log-format", "json"]).args(LONG);
    let mut leader = HostProcess::spawn("first", command);
    leader.wait_for_event("guest-started", 1);
    let standby = cluster.host("second", "parked", &LONG);
    standby.wait_for_event("new-leader", 1);

    cluster.runtime.block_on(cluster.pods().delete("first", &DeleteParams::default())).expect("deleted");
    leader.wait_for_event("pod-deleted", 1);
    leader.wait_for_event("released", 1);
    standby.wait_for_event("guest-started", 1);
    assert!(leader.is_running(), "an ended container might be started again");
    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    leader.wait_for_event("shutdown", 1);
}
