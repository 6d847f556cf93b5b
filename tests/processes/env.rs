//! Values for a guest's environment from Secrets and ConfigMaps of a real API server.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, Said, leasehold},
};
use serde_json::json;

use super::cluster::Cluster;

/// What must be nowhere in what a host says.
const PLANTED: &str = "planted-3f9c1e";

fn put(cluster: &Cluster, password: &str) {
    let params = PatchParams::apply("test").force();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": password}, "data": {"bytes": "/w=="}});
    let settings =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"url": "tcp://db"}});
    cluster.runtime.block_on(async {
        cluster.api::<Secret>().patch("db", &params, &Patch::Apply(secret)).await.expect("applied");
        cluster.api::<ConfigMap>().patch("settings", &params, &Patch::Apply(settings)).await.expect("applied");
    });
}

/// A config file whose task prints those of its variables that `print` names.
fn config(folder: &tempfile::TempDir, lease: &str, env: &str, print: &[&str]) -> String {
    let steps: Vec<_> = print.iter().map(|name| format!("env, {name}")).collect();
    let text = format!(
        "tasks:\n- name: {lease}\n  module: {}\n  onReturn: restart\n  args: [{}]\n  env:\n    PLAIN: plain\n    {env}\n",
        guest("probe").display(),
        steps.join(", --, "),
    );
    let path = folder.path().join("host.yaml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

const ENV: &str = "PASSWORD: {valueFrom: {secretKeyRef: {name: db, key: password}}}\n    \
                   URL: {valueFrom: {configMapKeyRef: {name: settings, key: url}}}\n    \
                   NONE: {valueFrom: {secretKeyRef: {name: none, key: none, optional: true}}}";

fn start(cluster: &Cluster, config: &str) -> HostProcess {
    let mut command = std::process::Command::new(leasehold_tests::build::leasehold());
    command.env("KUBECONFIG", cluster.plane.kubeconfig()).args(["run", "--config", config, "--log-format", "json"]);
    HostProcess::spawn("host", command)
}

fn printed(host: &HostProcess, line: &str) {
    host.wait_for(line, |event| event.name() == "guest-output" && event.message() == line);
}

#[test]
fn each_run_has_the_values_of_its_time_and_no_log_has_a_secret() {
    let (cluster, folder) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    put(&cluster, "first");
    let host = start(&cluster, &config(&folder, "env", ENV, &["PLAIN", "URL", "PASSWORD", "NONE"]));
    for line in ["env PLAIN: plain", "env URL: tcp://db", "env PASSWORD: first"] {
        printed(&host, line);
    }
    host.wait_for("NONE is not set", |event| event.message().starts_with("env NONE: Other"));
    put(&cluster, "second");
    printed(&host, "env PASSWORD: second");

    // Gone, and back: the guest does not run without it, and the host lives on.
    let secrets = cluster.api::<Secret>();
    cluster.runtime.block_on(secrets.delete("db", &DeleteParams::default())).expect("deleted");
    let why = "there is no Secret default/db";
    host.wait_for(why, |event| event.name() == "guest-stopped" && event.line.to_string().contains(why));
    put(&cluster, "third");
    printed(&host, "env PASSWORD: third");

    // And of one whose value nobody prints, nothing is seen.
    put(&cluster, PLANTED);
    let quiet = start(&cluster, &config(&folder, "quiet", ENV, &["PLAIN"]));
    printed(&quiet, "env PLAIN: plain");
    cluster.runtime.block_on(secrets.delete("db", &DeleteParams::default())).expect("deleted");
    quiet.wait_for(why, |event| event.line.to_string().contains(why));
    let leaked = |event: &leasehold_tests::event_log::Event| event.line.to_string().contains(PLANTED);
    assert!(!quiet.events().iter().any(leaked));
}

#[test]
fn what_is_missing_is_told_with_its_variable_before_any_lease_is_touched() {
    let (cluster, folder) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    put(&cluster, PLANTED);
    let none = cluster.user_with_role("env-none", json!({"rules": []}));
    let one = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]});
    let one = cluster.user_with_role("env-one", json!({"rules": [one]}));
    let own = cluster.plane.kubeconfig().to_str().expect("UTF-8").to_owned();
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            &own,
            "A: {valueFrom: {secretKeyRef: {name: none, key: k}}}",
            &["env A", "no Secret default/none", "optional: true"],
        ),
        (&own, "A: {valueFrom: {configMapKeyRef: {name: none, key: k}}}", &["env A", "no ConfigMap default/none"]),
        (&own, "A: {valueFrom: {secretKeyRef: {name: db, key: k}}}", &["env A", "Secret default/db has no key \"k\""]),
        (
            &own,
            "A: {valueFrom: {secretKeyRef: {name: db, key: bytes}}}",
            &["env A", "bytes in the Secret default/db", "UTF-8"],
        ),
        (
            &none,
            "A: {valueFrom: {secretKeyRef: {name: db, key: password}}}",
            &["may not read the Secret default/db", "resources: [secrets], resourceNames: [db], verbs: [get]"],
        ),
        // The Lease's own rights are looked at after that.
        (
            &one,
            "A: {valueFrom: {configMapKeyRef: {name: settings, key: url}}}",
            &["may not read the ConfigMap default/settings", "resources: [configmaps]"],
        ),
    ];
    for (kubeconfig, env, says) in cases {
        let config = config(&folder, "never", env, &["A"]);
        let Said { code, stdout, stderr } = leasehold(&["run", "--config", &config], &[("KUBECONFIG", kubeconfig)]);
        assert_eq!(code, Some(2), "{env}: {stderr}");
        for wanted in [&["error: task never: "], says].concat() {
            assert!(stderr.contains(wanted), "{env}: no {wanted:?} in {stderr}");
        }
        assert!(
            !stderr.contains(PLANTED) && !stdout.contains(PLANTED) && !stdout.contains("candidate"),
            "{stdout}{stderr}"
        );
    }
    let leases = cluster.api::<k8s_openapi::api::coordination::v1::Lease>();
    assert!(cluster.runtime.block_on(leases.get_opt("never")).expect("answered").is_none());
}

#[test]
fn a_host_needs_get_on_its_secret_and_nothing_more() {
    let (cluster, folder) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    put(&cluster, "first");
    let rules = json!({"rules": [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "update", "create"]},
    ]});
    let user = cluster.user_with_role("env-least", rules);
    let env = "PASSWORD: {valueFrom: {secretKeyRef: {name: db, key: password}}}";
    let config = config(&folder, "least", env, &["PASSWORD"]);
    let mut command = std::process::Command::new(leasehold_tests::build::leasehold());
    command.env("KUBECONFIG", user).args(["run", "--config", &config, "--log-format", "json"]);
    printed(&HostProcess::spawn("host", command), "env PASSWORD: first");
}
