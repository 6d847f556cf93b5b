//! `leasehold explain`: what has happened to a Lease, and what a person may make of it.

use leasehold_tests::host_process::{HostProcess, Said, leasehold};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{
    LEASE,
    cluster::Cluster,
    coordinated::SWITCHED_ON,
    crash::terminated,
    folder::{leader_and_standby, lease},
    step_down::succeeds,
};

/// What `leasehold explain task` says with these credentials.
fn explained(kubeconfig: &str) -> String {
    let Said { code, stdout, stderr } = leasehold(&["explain", "task"], &[("KUBECONFIG", kubeconfig)]);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    stdout
}

/// These parts are there, one after the other.
#[track_caller]
fn says_in_order(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { panic!("no {part:?}, or not there, in:\n{said}") };
        rest = after;
    }
}

fn identity(host: &HostProcess) -> String {
    host.wait_for_event("candidate", 1).line["identity"].as_str().expect("an identity").to_owned()
}

#[test]
fn a_history_of_handovers_is_told_in_order_and_what_the_kubelet_knows_of_the_last_holder() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8").to_owned();
    cluster.make_pod("second");
    let (mut first, mut second) = cluster.leader_and_standby("counter", &LEASE);
    let (one, two) = (identity(&first), identity(&second));
    cluster.wait_for_event_on_lease("StartedLeading", "Normal", &[&one]);
    let well = explained(&kubeconfig);
    let leads = format!("So: {one} holds it");
    says_in_order(
        &well,
        &["Lease default/task, of task task: held", "StartedLeading: first_", "token", &leads, "All is as"],
    );
    assert!(!well.contains("not known"), "an administrator may read all: {well}");

    // It is asked, gives it up, and the other has it.
    succeeds(&["task"], &[("KUBECONFIG", &kubeconfig)]);
    second.wait_for_event("guest-started", 1);
    cluster.wait_for_event_on_lease("StartedLeading", "Normal", &[&two]);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    cluster.wait_for_renewals(2);
    second.kill();
    let message = leasehold::termination::message(&two);
    cluster.set_status("second", json!({"waiting": {"reason": "CrashLoopBackOff"}}), terminated(&message));
    let (started, stopped) = (format!("StartedLeading: {one} leads"), format!("{one} has released the lease"));
    let begun = std::time::Instant::now();
    let expired = loop {
        let said = explained(&kubeconfig);
        if said.contains(": expired\n") {
            break said;
        }
        assert!(said.contains("that process has ended, the kubelet says"), "{said}");
        assert!(begun.elapsed() < leasehold_tests::host_process::PATIENCE, "{said}");
    };
    let took = format!("StartedLeading: {two} leads");
    let ran_out = format!("it ran out: {two} had not renewed it");
    says_in_order(
        &expired,
        &[&started, &stopped, "stepped-down", &took, "last write by leasehold", &ran_out, "So: it has run out"],
    );
    assert!(expired.contains("Its process has ended, the kubelet says."), "{expired}");

    cluster
        .runtime
        .block_on(cluster.api::<k8s_openapi::api::coordination::v1::Lease>().delete("task", &Default::default()))
        .expect("deleted");
    let gone = explained(&kubeconfig);
    says_in_order(&gone, &["not there", &started, "So: there is no such Lease now"]);
}

#[test]
fn what_may_not_be_read_is_named_with_its_rule_and_nothing_is_guessed_in_its_place() {
    let cluster = Cluster::start();
    let leader = cluster.host("first", "parked", &LEASE);
    leader.wait_for_event("guest-started", 1);
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["task"], "verbs": ["get"]});
    let reader = cluster.user_with_role("reader", json!({"rules": [rule]}));
    let said = explained(&reader);
    let first = identity(&leader);
    says_in_order(
        &said,
        &[
            "What is not known:",
            "what happened before, by its Events: to read that takes a Role with {apiGroups: [\"\"], resources: [events], verbs: [list]}",
            "whether the holder's Pod default/first runs: to read that takes a Role with {apiGroups: [\"\"], resources: [pods], verbs: [get]}",
            &format!("So: {first} holds it"),
        ],
    );
    assert!(!said.contains("StartedLeading"), "{said}");
    for (args, env, says) in [
        (
            vec!["explain", "gone"],
            cluster.plane.kubeconfig().to_str().expect("UTF-8"),
            "there is no lease default/gone",
        ),
        (
            vec!["explain", "other"],
            &*reader,
            "it needs a Role with {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get]}",
        ),
    ] {
        let refused = leasehold(&args, &[("KUBECONFIG", env)]);
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.starts_with("error: ") && refused.stderr.contains(says), "{refused:?}");
    }
}

#[test]
fn in_a_coordinated_election_those_who_stand_are_named() {
    let cluster = Cluster::start_with(&SWITCHED_ON);
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8").to_owned();
    let host = cluster.host("first", "parked", &[&LEASE[..], &["--coordinated"]].concat());
    host.wait_for_event("guest-started", 1);
    let said = explained(&kubeconfig);
    says_in_order(
        &said,
        &["held", "strategy           OldestEmulationVersion", "candidates         first_", "(version ", "So: first_"],
    );
}

#[test]
fn a_lease_in_a_folder_is_explained_as_far_as_a_folder_tells() {
    let folder = TempDir::new().expect("a folder");
    let (leader, _standby) = leader_and_standby("parked", folder.path(), &[]);
    let store = format!("file:{}", folder.path().display());
    let said = leasehold(&["explain", "parked", "--lease-store", &store], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(lease(folder.path(), "parked")["holderIdentity"], *identity(&leader));
    let holds = format!("So: {} holds it", identity(&leader));
    says_in_order(&said.stdout, &["Lease default/parked, of task parked: held", "a folder keeps no history", &holds]);
    let gone = leasehold(&["explain", "gone", "--lease-store", &store], &[]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.starts_with("error: there is no lease default/gone in "), "{gone:?}");
}
