//! The overlay with an application beside the host: what its sidecar would do in its Pod. What the application does, and a
//! broker, are in tests/kafka.

use std::fs;

use k8s_openapi::api::core::v1::Container;
use rustix::process::Signal;

use super::{
    Cluster, KAFKA_SIDECAR, WAYS, cluster,
    pod::{ByHand, is_complaint},
};
use crate::sidecar::application::Applications;

/// The port of the application in the overlay.
const PORT: &str = "127.0.0.1:8081";

/// The overlay, but with this application's address in the place of its own.
fn apply_with(cluster: &Cluster, namespace: &str, applications: &Applications, name: &str) {
    let folder = cluster.kustomization_in(KAFKA_SIDECAR, namespace, "");
    let config = fs::read_to_string(cluster.deploy.join(KAFKA_SIDECAR).join("host.yaml")).expect("it is there");
    assert_eq!(config.matches(PORT).count(), 4, "{config}");
    let config = config.replace(PORT, &applications.address(name).to_string());
    fs::write(folder.join("host.yaml"), config).expect("written");
    let of_overlay = fs::read_to_string(folder.join("kustomization.yaml")).expect("it was written");
    let generator = "configMapGenerator: [{name: leasehold-config, behavior: replace, files: [host.yaml]}]\n";
    fs::write(folder.join("kustomization.yaml"), of_overlay + generator).expect("written");
    cluster.apply(&folder, WAYS[1]);
}

#[test]
fn the_sidecar_of_the_kafka_consumer_switches_its_application_with_the_role_of_the_overlay() {
    let cluster = cluster();
    let namespace = "kafka-sidecar";
    let applications = Applications::start(&["application"]);
    apply_with(cluster, namespace, &applications, "application");
    let mut pod = ByHand::start(cluster, namespace);
    let active =
        applications.wait_for("it is active", |calls| calls.iter().find(|call| call.what == "active").cloned());
    assert_eq!(active.token, pod.host.wait_for_event("leading", 1).token());
    assert_eq!(active.lease.as_deref(), Some("kafka-sidecar/leasehold-task"));
    applications
        .wait_for("it is asked for its health", |calls| calls.iter().any(|call| call.what == "healthy").then_some(()));
    pod.host.signal(Signal::TERM);
    assert_eq!(pod.host.wait().code(), Some(0));
    assert_eq!(applications.calls().last().expect("calls").what, "off");
    let lease = cluster.lease(namespace, "leasehold-task").spec.unwrap_or_default();
    assert_eq!(lease.holder_identity.unwrap_or_default(), "", "released");
    let told = pod.host.all_events();
    let complaint = told.iter().find(|event| is_complaint(event));
    assert!(complaint.is_none(), "{complaint:?}");
}

#[test]
fn the_application_gets_no_token_of_kubernetes_and_the_times_of_the_sidecar_fit_each_other() {
    let cluster = cluster();
    let namespace = "kafka-sidecar-pod";
    cluster.apply(&cluster.kustomization_in(KAFKA_SIDECAR, namespace, ""), WAYS[1]);
    let spec = cluster.deployment(namespace).spec.expect("a spec").template.spec.expect("a spec");
    assert_eq!(spec.automount_service_account_token, Some(false));
    let by_name = |name: &str| -> &Container {
        spec.containers.iter().find(|container| container.name == name).expect("it is there")
    };
    let mounts = by_name("application").volume_mounts.as_ref().expect("mounts");
    assert!(mounts.iter().all(|mount| mount.name == "tmp"), "{mounts:?}");

    let config = fs::read_to_string(cluster.deploy.join(KAFKA_SIDECAR).join("host.yaml")).expect("it is there");
    let seconds = |before: &str| -> u64 {
        let rest = config.split(before).nth(1).unwrap_or_else(|| panic!("no {before} in {config}"));
        rest.split('s').next().and_then(|text| text.trim().parse().ok()).expect("seconds")
    };
    let (grace, callback, permission) =
        (seconds("stopGrace: "), seconds("callbackTime: "), seconds("      PERMISSION: "));
    assert!(callback > permission + 1, "a permission cannot be waited out");
    let longest_end = grace + callback + leasehold_core::timing::Timing::default().lease().as_secs();
    let limit = spec.termination_grace_period_seconds.expect("it is given");
    assert!(u64::try_from(limit).is_ok_and(|limit| limit > longest_end), "{limit} s");
    let port = by_name("application").env.as_ref().expect("env").iter().find(|variable| variable.name == "PORT");
    assert_eq!(port.and_then(|port| port.value.as_deref()), PORT.rsplit(':').next());
}
