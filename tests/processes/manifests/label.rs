//! The overlay in which the leader's Pod carries a label: the Service selects it, and the policy beside it lets the host
//! change nothing else.

use std::{cell::Cell, fs};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{ResourceExt, api::ListParams};
use rustix::process::Signal;

use super::{
    Cluster, LEADER_SERVICE, WAYS, cluster,
    pod::{ByHand, is_complaint, user},
    text, wait_until,
};

impl Cluster {
    /// The names of the Pods that the overlay's Service selects.
    fn selected(&self, namespace: &str) -> Vec<String> {
        let service: Service = self.runtime.block_on(self.api(namespace).get("leasehold-leader")).expect("a Service");
        let selector = service.spec.expect("a spec").selector.expect("a selector");
        let [(key, value)] = selector.into_iter().collect::<Vec<_>>().try_into().expect("one label");
        let selected = self.api::<Pod>(namespace);
        let selected = self.runtime.block_on(selected.list(&ListParams::default().labels(&format!("{key}={value}"))));
        selected.expect("Pods").items.iter().map(ResourceExt::name_any).collect()
    }

    /// What the host's account is told when it tries this; `None`: it may.
    fn refused(&self, namespace: &str, args: &[&str]) -> Option<String> {
        let kubeconfig = self.plane.kubeconfig_for(&user(namespace)).expect("a kubeconfig");
        let said = self.kubectl_with(&kubeconfig, &[&["-n", namespace], args].concat());
        (!said.status.success()).then(|| String::from_utf8_lossy(&said.stderr).into_owned())
    }
}

#[test]
fn the_service_selects_the_leader_and_the_policy_lets_its_host_change_nothing_but_the_label() {
    let cluster = cluster();
    let namespace = "leader-service";
    cluster.apply(&cluster.kustomization_in(LEADER_SERVICE, namespace, ""), WAYS[1]);
    let policy =
        fs::read_to_string(cluster.deploy.join(LEADER_SERVICE).join("only-the-label.yaml")).expect("it is there");
    let account = "system:serviceaccount:leasehold:leasehold";
    assert_eq!(policy.matches(account).count(), 1);
    let file = cluster.folder.path().join("only-the-label.yaml");
    fs::write(&file, policy.replace(account, &user(namespace))).expect("written");
    cluster.kubectl_says(&["apply", "-f", text(&file)]);

    let mut leader = ByHand::start_as("first", cluster, namespace);
    leader.host.wait_for_event("leader-label-set", 1);
    let mut standby = ByHand::start_as("second", cluster, namespace);
    standby.host.wait_for_event("new-leader", 1);
    assert_eq!(cluster.selected(namespace), ["first"]);

    // A policy takes a moment to come into force; then each of these is refused, for its own reason.
    let image = ["set", "image", "pod/second", "leasehold=elsewhere:1"];
    let tries = Cell::new(0);
    wait_until("the policy is in force", || {
        // Another each time: what would change nothing is not asked for.
        tries.set(tries.get() + 1);
        let trial = format!("trial={}", tries.get());
        cluster.refused(namespace, &["annotate", "--overwrite", "pod", "second", &trial])
    });
    let finalizer = r#"{"metadata": {"finalizers": ["example.com/stay"]}}"#;
    let cases: [(&[&str], &str); 5] = [
        (&image, "nothing in a Pod's spec"),
        (&["label", "pod", "second", "tier=front"], "no label but the leader's"),
        (&["label", "pod", "second", "app.kubernetes.io/name-"], "no label but the leader's"),
        (&["annotate", "pod", "second", "note=1"], "no annotation but"),
        (&["patch", "pod", "second", "-p", finalizer], "neither the finalizers"),
    ];
    for (args, says) in cases {
        let said = cluster.refused(namespace, args).unwrap_or_else(|| panic!("{args:?} is allowed"));
        assert!(said.contains(says), "{args:?}: {said}");
    }

    leader.host.signal(Signal::TERM);
    assert_eq!(leader.host.wait().code(), Some(0));
    standby.host.wait_for_event("leader-label-set", 1);
    assert_eq!(cluster.selected(namespace), ["second"]);
    standby.host.signal(Signal::TERM);
    assert_eq!(standby.host.wait().code(), Some(0));
    assert!(cluster.selected(namespace).is_empty());
    let told = [leader.host.all_events(), standby.host.all_events()].concat();
    let complaint = told.iter().find(|event| is_complaint(event));
    assert!(complaint.is_none(), "{complaint:?}");
    cluster.kubectl_says(&["delete", "-f", text(&file)]);
}
