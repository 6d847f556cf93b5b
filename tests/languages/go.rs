//! Go: the ConfigMap replicator, on a real API server.

use std::fs;

use leasehold_tests::host_process::HostProcess;
use tempfile::TempDir;

use crate::{
    cluster::Cluster,
    project::{self, Example, GO, hand_over, leader_and_standby},
};

const CHOSEN: [(&str, &str); 1] = [("leasehold.dev/replicate", "true")];

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(GO);
}

#[test]
fn the_replicator_keeps_copies_and_leaves_what_is_not_its_own() {
    let replicator = Example::build("configmap-replicator", GO);
    let cluster = Cluster::start();
    for namespace in ["shared", "team-a", "team-b"] {
        cluster.make_namespace(namespace);
    }
    cluster.make("shared", "settings", &CHOSEN, "one");
    cluster.make("shared", "root-ca", &CHOSEN, "a certificate");
    cluster.make("shared", "private", &[], "not to be copied");
    cluster.make("team-b", "settings", &[], "team b's own");
    let host = |name: &str| {
        let args = ["--lease", "task", "--allow-kubernetes", "--env", "SOURCE_NAMESPACE=shared"];
        let args = [&args[..], &["--env", "TARGET_NAMESPACES=team-a,team-b", "--env", "EVERY=100ms"]].concat();
        HostProcess::run_in_cluster(name, &replicator.module, cluster.plane.kubeconfig(), &args)
    };
    let mut leader = host("first");
    leader.wait_for_event("guest-started", 1);
    let standby = host("second");
    standby.wait_for_event("new-leader", 1);
    let copied = |namespace, name, value: &'static str| {
        cluster
            .wait_until(name, namespace, |_| (cluster.value(namespace, name).as_deref() == Some(value)).then_some(()));
    };
    copied("team-a", "settings", "one");
    copied("team-a", "root-ca", "a certificate");
    copied("team-b", "root-ca", "a certificate");
    leader.wait_for("words about what is in the way", |event| {
        event.message().contains("team-b/settings is there already, and no copy of shared/settings")
    });

    hand_over(&mut leader, &standby);
    cluster.change("shared", "settings", "two");
    copied("team-a", "settings", "two");
    cluster.remove("shared", "root-ca");
    for namespace in ["team-a", "team-b"] {
        cluster.wait_until("the copy is gone", namespace, |names| {
            (!names.iter().any(|name| name == "root-ca")).then_some(())
        });
        assert!(!cluster.names(namespace).iter().any(|name| name == "private"));
    }
    assert_eq!(cluster.value("team-b", "settings").as_deref(), Some("team b's own"));
}

#[test]
fn the_next_leader_loads_what_the_last_one_saved() {
    let place = TempDir::new().expect("a folder");
    let project = GO.new_project(place.path());
    fs::write(project.join(GO.source), include_str!("counts.go")).expect("written");
    let counts = Example { module: project::build(&project), place };
    let (mut leader, standby) = leader_and_standby(&counts, &[]);
    let says = |host: &HostProcess, words: &str| {
        host.wait_for(words, |event| event.name() == "guest-output" && event.message() == words);
    };
    says(&leader, "too large: the checkpoint has 65537 bytes, more than 65536");
    says(&leader, "terms before this one: 0");
    hand_over(&mut leader, &standby);
    says(&standby, "terms before this one: 1");
}
