//! The Pod of the replica that leads carries the label, and no other: on a real API server. The kubelet's part is played
//! by the test.

use std::{process::Command, time::Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use leasehold_tests::{
    build::{self, guest},
    host_process::{HostProcess, PATIENCE, leasehold},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LEASE, cluster::Cluster, crash::terminated};

/// The exit code.
const MISTAKE: i32 = 2;
const KEY: &str = "leader.example.com/task";

/// With these nobody waits a lease out within a test's patience.
const LONG: [&str; 6] = ["--lease-duration", "300s", "--renew-deadline", "200s", "--retry-period", "2s"];

fn pods(cluster: &Cluster) -> Api<Pod> {
    cluster.api()
}

/// A host in this Pod, which has to be there.
fn host_in(cluster: &Cluster, pod: &str, module: &str, args: &[&str]) -> HostProcess {
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", cluster.plane.kubeconfig()).env("POD_NAME", pod).env("POD_UID", uid(cluster, pod));
    command.arg("run").arg(guest(module)).args(["--lease", "task", "--leader-label", KEY, "--log-format", "json"]);
    command.args(args);
    HostProcess::spawn(pod, command)
}

fn pod(cluster: &Cluster, name: &str) -> Pod {
    cluster.runtime.block_on(pods(cluster).get(name)).expect("the Pod is there")
}

fn uid(cluster: &Cluster, name: &str) -> String {
    pod(cluster, name).uid().expect("a uid")
}

/// The label and the annotation.
fn marks(cluster: &Cluster, name: &str) -> (Option<String>, Option<String>) {
    let pod = pod(cluster, name);
    (pod.labels().get(KEY).cloned(), pod.annotations().get(KEY).cloned())
}

fn wait_until_labelled(cluster: &Cluster, name: &str, labelled: bool) {
    let begun = Instant::now();
    while marks(cluster, name).0.is_some() != labelled {
        assert!(begun.elapsed() < PATIENCE, "{name} is not as it is to be: {:?}", pod(cluster, name).metadata);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// By somebody else.
fn change(cluster: &Cluster, name: &str, change: &Value) {
    let pods = pods(cluster);
    cluster.runtime.block_on(pods.patch(name, &PatchParams::default(), &Patch::Merge(change))).expect("patched");
}

fn make_two_pods(cluster: &Cluster) {
    for name in ["first", "second"] {
        cluster.make_pod(name);
    }
}

#[test]
fn the_leader_has_it_and_gives_it_back_before_the_lease() {
    let cluster = Cluster::start();
    make_two_pods(&cluster);
    let mut leader = host_in(&cluster, "first", "heartbeat", &LEASE);
    let set = leader.wait_for_event("leader-label-set", 1);
    assert_eq!(marks(&cluster, "first"), (Some("true".into()), Some(set.token().to_string())));
    let standby = host_in(&cluster, "second", "heartbeat", &LEASE);
    standby.wait_for_event("new-leader", 1);
    assert_eq!(marks(&cluster, "second"), (None, None));
    // The kubelet writes into the status; nobody has asked the host to look at that.
    cluster.set_status("first", json!({"running": {}}), json!({}));

    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    let told: Vec<_> = leader.events().iter().map(|event| event.name().to_owned()).collect();
    let place = |name: &str| told.iter().position(|told| told == name).unwrap_or_else(|| panic!("no {name}: {told:?}"));
    assert!(place("leader-label-removed") < place("released"), "{told:?}");
    assert_eq!(marks(&cluster, "first"), (None, Some(set.token().to_string())));

    let next = standby.wait_for_event("leader-label-set", 1);
    assert!(next.token() > set.token());
    assert_eq!(marks(&cluster, "second"), (Some("true".into()), Some(next.token().to_string())));
    assert!(standby.events_named("leader-label-taken").is_empty(), "nothing was left");
    for host in [&leader, &standby] {
        assert!(host.events_named("leader-label-failed").is_empty());
    }
}

#[test]
fn what_a_killed_leader_has_left_its_successor_takes_off_before_it_has_its_own() {
    let cluster = Cluster::start();
    make_two_pods(&cluster);
    let mut leader = host_in(&cluster, "first", "heartbeat", &LONG);
    leader.wait_for_event("leader-label-set", 1);
    let standby = host_in(&cluster, "second", "heartbeat", &LONG);
    standby.wait_for_event("new-leader", 1);
    leader.kill();
    assert_eq!(marks(&cluster, "first").0.as_deref(), Some("true"), "nobody knows that it has ended");
    let identity = leader.wait_for_event("leading", 1).line["identity"].as_str().expect("one").to_owned();
    cluster.set_status("first", terminated(&leasehold::termination::message(&identity)), json!({}));
    standby.wait_for_event("leader-label-set", 1);
    assert_eq!((marks(&cluster, "first").0, marks(&cluster, "second").0), (None, Some("true".into())));
    let told: Vec<_> = standby.events().into_iter().filter(|event| event.name().starts_with("leader-label")).collect();
    assert_eq!(told[0].name(), "leader-label-taken");
    assert_eq!(told[0].line["pod"], "first");
    assert_eq!(told[1].name(), "leader-label-set");
    // It comes on late, from wherever: off again.
    change(&cluster, "first", &json!({"metadata": {"labels": {KEY: "true"}}}));
    standby.wait_for_event("leader-label-taken", 2);
    wait_until_labelled(&cluster, "first", false);
}

#[test]
fn a_host_that_is_started_again_in_its_pod_takes_off_what_its_last_boot_has_left() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let mut leader = host_in(&cluster, "first", "heartbeat", &LONG);
    leader.wait_for_event("leader-label-set", 1);
    leader.kill();
    let again = host_in(&cluster, "first", "heartbeat", &LONG);
    wait_until_labelled(&cluster, "first", false);
    assert!(again.events_named("leading").is_empty(), "the record has yet to run out");
}

#[test]
fn one_that_somebody_takes_off_is_put_on_again() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let leader = host_in(&cluster, "first", "heartbeat", &LEASE);
    let set = leader.wait_for_event("leader-label-set", 1);
    change(&cluster, "first", &json!({"metadata": {"labels": {KEY: null}}}));
    leader.wait_for_event("leader-label-set", 2);
    let marks = marks(&cluster, "first");
    assert_eq!(marks, (Some("true".into()), Some(format!("{}-2", set.token()))), "the second request of the term");
}

#[test]
fn many_tasks_of_one_pod_each_have_theirs_and_do_not_get_in_each_others_way() {
    const TASKS: usize = 20;
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let module = guest("heartbeat").display().to_string();
    let task = |number: usize| {
        json!({
            "name": format!("task-{number}"), "module": module, "leaderLabel": format!("leader.example.com/task-{number}"),
            "lease": {"duration": "300s", "renewDeadline": "200s"},
        })
    };
    let folder = tempfile::TempDir::new().expect("a folder");
    let config = folder.path().join("host.yaml");
    // JSON is YAML.
    let text = json!({"tasks": (0..TASKS).map(task).collect::<Vec<_>>()}).to_string();
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", cluster.plane.kubeconfig()).env("POD_NAME", "first");
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let mut host = HostProcess::spawn("first", command);
    host.wait_for_event("leader-label-set", TASKS);
    let carried = || pod(&cluster, "first").labels().keys().filter(|key| key.starts_with("leader.")).count();
    assert_eq!(carried(), TASKS);

    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!((host.count("leader-label-removed"), host.count("released")), (TASKS, TASKS));
    assert_eq!(carried(), 0);
    for trouble in ["leader-label-failed", "leader-label-left"] {
        assert_eq!(host.count(trouble), 0, "{trouble}");
    }
}

/// The right to change Pods is there, and yet somebody forbids it: a policy, a webhook.
#[test]
fn where_pods_may_not_be_changed_it_leads_says_so_and_hands_over_without_waiting() {
    let cluster = Cluster::start();
    make_two_pods(&cluster);
    cluster.forbid_changes_of_pods();
    let mut leader = host_in(&cluster, "first", "heartbeat", &LONG);
    leader.wait_for_event("guest-started", 1);
    let failed = leader.wait_for_event("leader-label-failed", 1);
    assert!(failed.message().contains("label this Pod") && failed.message().contains("not today"), "{failed:?}");
    let standby = host_in(&cluster, "second", "heartbeat", &LONG);
    standby.wait_for_event("new-leader", 1);
    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    leader.wait_for_event("leader-label-left", 1);
    standby.wait_for_event("guest-started", 1);
}

#[test]
fn a_pod_that_is_not_this_one_or_has_the_label_from_its_template_is_a_mistake() {
    let cluster = Cluster::start();
    cluster.make_pod("first");
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("a path").to_owned();
    let module = guest("heartbeat");
    let run = |env: &[(&str, &str)]| {
        let env = [&[("KUBECONFIG", &*kubeconfig)], env].concat();
        let module = module.to_str().expect("a path");
        leasehold(&["run", module, "--lease", "task", "--leader-label", KEY], &env)
    };
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 3] = [
        (&[], &["$POD_NAME", "$POD_UID"]),
        (&[("POD_NAME", "nobody")], &["no Pod default/nobody", "$POD_NAME"]),
        (&[("POD_NAME", "first"), ("POD_UID", "another")], &["Pod default/first", "not another", "$POD_UID"]),
    ];
    for (env, says) in cases {
        let said = run(env);
        assert_eq!(said.code, Some(MISTAKE), "{said:?}");
        assert!(says.iter().all(|word| said.stderr.contains(word)), "{said:?}");
    }
    change(&cluster, "first", &json!({"metadata": {"labels": {KEY: "false"}}}));
    let said = run(&[("POD_NAME", "first")]);
    assert_eq!(said.code, Some(MISTAKE), "{said:?}");
    assert!(said.stderr.contains("without having led") && said.stderr.contains(KEY), "{said:?}");
}

impl Cluster {
    /// By a policy that refuses each change, and is in force when this returns.
    fn forbid_changes_of_pods(&self) {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "frozen"},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["UPDATE"]},
                ]},
                "validations": [{"expression": "false", "message": "not today"}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "frozen"},
            "spec": {"policyName": "frozen", "validationActions": ["Deny"]},
        });
        self.make_of_cluster(&policy);
        self.make_of_cluster(&binding);
        let begun = Instant::now();
        let pods = pods(self);
        let trial = Patch::Merge(json!({"metadata": {"annotations": {"trial": "true"}}}));
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        while self.runtime.block_on(pods.patch("first", &params, &trial)).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "the policy does not come into force");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn make_of_cluster(&self, object: &Value) {
        use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
        let kind = object["kind"].as_str().expect("a kind");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
        let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let _inside = self.runtime.enter();
        let api: Api<DynamicObject> = Api::all_with(self.plane.client(), &resource);
        self.runtime.block_on(api.create(&kube::api::PostParams::default(), &object)).expect("made");
    }
}
