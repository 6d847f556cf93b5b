//! Rust: the stale cleaner, on a real API server.

use leasehold_tests::{build::guest, host_process::HostProcess};

use crate::{
    cluster::Cluster,
    project::{self, RUST, hand_over},
};

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(RUST);
}

#[test]
fn the_stale_cleaner_deletes_what_is_too_old_and_chosen_and_nothing_else() {
    let cluster = Cluster::start();
    // More than a page of them.
    for number in 0..210 {
        cluster.make("default", &format!("preview-{number}"), &[("preview", "yes")], "x");
    }
    cluster.make("default", "settings", &[], "x");
    let host = |name: &str| {
        let resource = "RESOURCE=/api/v1/namespaces/default/configmaps";
        let args = ["--lease", "task", "--allow-kubernetes", "--env", resource, "--env", "SELECTOR=preview=yes"];
        let args = [&args[..], &["--env", "MAX_AGE=4s", "--env", "EVERY=200ms"]].concat();
        HostProcess::run_in_cluster(name, &guest("stale-cleaner"), cluster.plane.kubeconfig(), &args)
    };
    let mut leader = host("first");
    leader.wait_for_event("guest-started", 1);
    let standby = host("second");
    standby.wait_for_event("new-leader", 1);
    cluster.wait_until("the previews are gone", "default", |names| {
        (!names.iter().any(|name| name.starts_with("preview-"))).then_some(())
    });
    hand_over(&mut leader, &standby);

    let made = jiff::Timestamp::now();
    cluster.make("default", "preview-again", &[("preview", "yes")], "x");
    cluster.wait_until("the new one is gone", "default", |names| {
        (!names.iter().any(|name| name == "preview-again")).then_some(())
    });
    // The API server stamps whole seconds, and cuts off the rest.
    assert!(made.duration_until(jiff::Timestamp::now()).as_secs() >= 3, "it was not old enough");
    assert!(cluster.names("default").iter().any(|name| name == "settings"));
    standby.wait_for("words about it", |event| event.message().starts_with("deleted preview-again, "));
}
