//! A coordinated election that the cluster, or the Role, has no part in.

use std::sync::OnceLock;

use leasehold_tests::host_process::HostProcess;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    super::{cluster::Cluster, coordinated::SWITCHED_ON},
    Desk, FAILED, MISTAKE, clusters, good, refused,
};

/// One for all tests of this file, with the feature on.
fn coordinating() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start_with(&SWITCHED_ON))
}

fn admin(cluster: &Cluster) -> &str {
    cluster.plane.kubeconfig().to_str().expect("UTF-8")
}

const FLAGS: [&str; 2] =
    ["--feature-gates=CoordinatedLeaderElection=true", "--runtime-config=coordination.k8s.io/v1beta1=true"];

#[test]
fn a_cluster_that_does_not_serve_candidates_is_told_with_the_flags_that_switch_it_on() {
    let cluster = clusters::cluster();
    let says = ["does not serve LeaseCandidate", FLAGS[0], FLAGS[1], "without --coordinated"];
    clusters::refused_by(admin(cluster), "coordinated", &["--coordinated"], &says);
    assert_eq!(cluster.lease_named("coordinated"), None);
}

#[test]
fn a_cluster_that_serves_candidates_and_picks_nobody_is_told_as_well() {
    let cluster = Cluster::start_with(&["--runtime-config=coordination.k8s.io/v1beta1=true"]);
    let says = ["picks no leaders", FLAGS[0]];
    clusters::refused_by(admin(&cluster), "new", &["--coordinated"], &says);
    assert_eq!(cluster.lease_named("new"), None);
    let before = cluster.make_lease("there");
    clusters::refused_by(admin(&cluster), "there", &["--coordinated"], &says);
    assert_eq!(cluster.lease_named("there"), Some(before));
}

fn role(lease: &str, candidates: &[&str]) -> Value {
    let group = "coordination.k8s.io";
    json!({"rules": [
        {"apiGroups": [group], "resources": ["leases"], "resourceNames": [lease],
            "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": [group], "resources": ["leasecandidates"], "verbs": candidates},
    ]})
}

#[test]
fn a_right_on_candidates_that_is_missing_is_named_with_the_rule_that_gives_it() {
    let cluster = coordinating();
    let before = cluster.make_lease("half");
    let half = cluster.user_with_role("half", role("half", &["list", "watch", "create"]));
    let rule = "{apiGroups: [coordination.k8s.io], resources: [leasecandidates], verbs: [update, delete]}";
    let says = ["may not update, delete leasecandidates in namespace default", rule];
    clusters::refused_by(&half, "half", &["--coordinated"], &says);
    assert_eq!(cluster.lease_named("half"), Some(before));
}

/// The Lease need not even be there: the API server makes it.
#[test]
fn five_verbs_on_candidates_and_four_on_the_lease_are_enough_to_lead_and_to_leave() {
    let cluster = coordinating();
    let verbs = ["list", "watch", "create", "update", "delete"];
    let least = cluster.user_with_role("least", role("least", &verbs));
    let args = ["--lease", "least", "--coordinated"];
    let mut host = HostProcess::run_in_cluster("least", good().as_ref(), least.as_ref(), &args);
    host.wait_for_event("guest-started", 1);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(host.events_named("request-failed").is_empty());
}

#[test]
fn an_identity_that_names_no_candidate_and_wrong_versions_are_mistakes() {
    let run = ["run", good(), "--lease", "named", "--coordinated"];
    let env = [("KUBECONFIG", admin(coordinating()))];
    let with = |more: &[&str], says: &[&str]| refused(&[&run, more].concat(), &env, MISTAKE, says);
    with(&["--identity", "a/b"], &["\"a/b_", "no name for a LeaseCandidate"]);
    with(&["--emulation-version", "99.0.0"], &["emulation version (99.0.0)", "must not be above"]);
    with(&["--binary-version", "v1"], &["--binary-version", "v1"]);
    let desk = Desk::new();
    desk.refuses_to_run(&[good(), "--binary-version", "1.0.0"], MISTAKE, &["--coordinated"]);
    desk.refuses_to_run(&[good(), "--coordinated"], MISTAKE, &["needs a Lease in Kubernetes"]);
    let unreachable = [("KUBECONFIG", "/nonexistent")];
    refused(&run, &unreachable, FAILED, &["found no cluster"]);
}
