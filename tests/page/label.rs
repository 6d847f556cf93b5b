//! The leader's label, where one is asked for: on a real API server, since no folder has Pods.

use std::process::Command;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, ResourceExt, api::PostParams};
use leasehold_tests::{
    build::{self, guest},
    control_plane::ControlPlane,
    host_process::HostProcess,
};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{assert_at_peace, boxes::assert_tidy, chromium::Chromium, says, scene::Host};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object of this kind")
}

/// Two Pods, and the uid of each.
async fn make_pods(plane: &ControlPlane) -> [String; 2] {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(plane.client());
    let account = object(json!({"metadata": {"name": "default"}}));
    accounts.create(&PostParams::default(), &account).await.expect("nobody else makes it");
    let pods: Api<Pod> = Api::default_namespaced(plane.client());
    let make = async |name: &str| {
        let spec = json!({"containers": [{"name": "leasehold", "image": "leasehold:0.1.0"}]});
        let pod = object(json!({"metadata": {"name": name}, "spec": spec}));
        pods.create(&PostParams::default(), &pod).await.expect("made").uid().expect("a uid")
    };
    [make("first").await, make("second").await]
}

fn host(plane: &ControlPlane, pod: &str, uid: &str) -> Host {
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", plane.kubeconfig()).env("POD_NAME", pod).env("POD_UID", uid);
    command.arg("run").arg(guest("heartbeat")).args([
        "--lease",
        "nightly",
        "--leader-label",
        "leader.example.com/nightly",
    ]);
    command.args(["--admin", "127.0.0.1:0", "--log-format", "json"]);
    let process = HostProcess::spawn(pod, command);
    let address = process.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned();
    Host { process, address }
}

#[test]
fn where_the_leaders_label_is_asked_for_it_is_said_whether_this_pod_has_it() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let [of_first, of_second] = runtime.block_on(make_pods(&plane));
    let mut first = host(&plane, "first", &of_first);
    first.process.wait_for_event("leader-label-set", 1);
    let second = host(&plane, "second", &of_second);
    second.process.wait_for_event("new-leader", 1);

    let chromium = Chromium::start();
    chromium.resize(1280, 900);
    chromium.open(&second.page());
    let fact = |words: &str| {
        format!(
            "[...document.querySelectorAll('#facts div')].some((fact) => fact.checkVisibility()
              && fact.firstChild.textContent === 'Leader’s label' && fact.lastChild.textContent === '{words}')"
        )
    };
    chromium.wait_until("that the other Pod has it", &fact("not on this Pod"));
    first.process.signal(Signal::TERM);
    assert_eq!(first.process.wait().code(), Some(0));
    second.process.wait_for_event("leader-label-set", 1);
    chromium.wait_until("that this one has it", &fact("on this Pod"));
    chromium.wait_until("its state", &says("#task-state", "Leading"));
    for (width, height) in [(1280, 900), (390, 844)] {
        chromium.resize(width, height);
        if width < 900 {
            chromium.value("location.hash = '#/nightly'");
        }
        chromium.wait_until("the fact", &fact("on this Pod"));
        assert_tidy(&chromium);
    }
    assert_at_peace(&chromium, &second.page());
}
