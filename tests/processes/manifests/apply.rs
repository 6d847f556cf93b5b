//! Applying, applying again, deleting.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use leasehold::{
    config::{self, Environment},
    lease::TOKEN_ANNOTATION,
    log::LogFormat,
};

use serde_json::{Value, json};

use super::{Cluster, KUSTOMIZATIONS, WAYS, cluster, held_by, text};

/// The base's own namespace, which only the first test uses.
const NAMESPACE: &str = "leasehold";

impl Cluster {
    /// The objects of a kustomization, each with its version.
    fn versions(&self, folder: &std::path::Path) -> BTreeMap<String, String> {
        let list = self.kubectl_says(&["get", "-k", text(folder), "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        let objects = list["items"].as_array().expect("several objects");
        let named = |object: &Value| {
            let metadata = &object["metadata"];
            let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (format!("{}/{}", field(&object["kind"]), field(&metadata["name"])), field(&metadata["resourceVersion"]))
        };
        objects.iter().map(named).collect()
    }

    /// Whether the API server would take the Pods that the Deployment asks for: it judges them
    /// (Pod Security, the service account) when they are made, here by no controller.
    fn assert_pods_are_admitted(&self) {
        let template = self.deployment(NAMESPACE).spec.expect("a spec").template;
        let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, ..Pod::default() };
        pod.metadata.name = Some("trial".into());
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let admitted = self.runtime.block_on(self.api::<Pod>(NAMESPACE).create(&params, &pod)).expect("admitted");
        let mounts = admitted.spec.expect("a spec").containers.remove(0).volume_mounts.expect("mounts");
        let token = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert!(mounts.iter().any(|mount| mount.mount_path == token), "without its token: {mounts:?}");
    }

    fn assert_applying_again_takes_nothing_from_a_leader(&self, folder: &std::path::Path) {
        let leases = self.api(NAMESPACE);
        let hold = |name: String| {
            let lease = held_by(self.lease(NAMESPACE, &name), "leader");
            let params = PostParams { field_manager: Some("leasehold".into()), ..PostParams::default() };
            self.runtime.block_on(leases.replace(&name, &params, &lease)).expect("written")
        };
        let held: Vec<_> = self.leases(NAMESPACE).into_iter().map(hold).collect();
        for way in WAYS {
            self.apply_over(folder, way);
            for held in &held {
                let now = self.lease(NAMESPACE, held.metadata.name.as_deref().expect("a name"));
                assert_eq!(now.spec, held.spec, "after apply {way:?}");
                assert_eq!(now.metadata.annotations.expect("annotations")[TOKEN_ANNOTATION], "7");
            }
        }
    }
}

#[test]
fn each_is_applied_either_way_stays_as_it_is_when_applied_again_and_is_deleted() {
    let cluster = cluster();
    for (name, way) in KUSTOMIZATIONS.iter().flat_map(|name| WAYS.map(|way| (name, way))) {
        let folder = cluster.kustomization(name);
        cluster.apply(&folder, way);
        let versions = cluster.versions(&folder);
        for kind in ["Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Deployment", "Lease"] {
            assert!(versions.keys().any(|object| object.starts_with(kind)), "{name} has no {kind}: {versions:?}");
        }
        // kubectl may say `configured` (of binary data, over the line breaks in it), but nothing is.
        cluster.apply(&folder, way);
        assert_eq!(cluster.versions(&folder), versions, "{name} {way:?}");

        cluster.assert_pods_are_admitted();
        cluster.assert_applying_again_takes_nothing_from_a_leader(&folder);

        // Its end is waited for below: there is no controller that brings it about.
        cluster.kubectl_says(&["delete", "-k", text(&folder), "--wait=false"]);
        let left = cluster.kubectl_says(&["get", "-k", text(&folder), "--ignore-not-found", "-o", "name"]);
        assert_eq!(left.trim(), format!("namespace/{NAMESPACE}"));
        cluster.remove_deleted_namespace(NAMESPACE);
    }
}

#[test]
fn a_deployment_that_asks_for_more_than_it_needs_is_warned_of_and_its_pods_are_refused() {
    let cluster = cluster();
    let careless = r#"patches: [{target: {kind: Deployment}, patch:
        '[{"op": "remove", "path": "/spec/template/spec/securityContext"}]'}]"#;
    let folder = cluster.kustomization_in("base", "careless", careless);
    let applied = cluster.kubectl(&["apply", "--server-side", "-k", text(&folder)]);
    let words = String::from_utf8_lossy(&applied.stderr);
    assert!(words.contains("would violate PodSecurity") && words.contains("runAsNonRoot"), "{words}");
    let template = cluster.deployment("careless").spec.expect("a spec").template;
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, ..Pod::default() };
    pod.metadata.name = Some("trial".into());
    let pods: Api<Pod> = cluster.api("careless");
    let refused = cluster.runtime.block_on(pods.create(&PostParams::default(), &pod)).expect_err("it is refused");
    assert!(refused.to_string().contains("violates PodSecurity \"restricted"), "{refused}");
}

/// The overlay of one's own that deploy/README.md tells to make.
#[test]
fn the_overlay_in_the_readme_makes_the_same_in_another_namespace_or_without_one() {
    let cluster = cluster();
    let readme = std::fs::read_to_string(cluster.deploy.join("README.md")).expect("it is there");
    let blocks: Vec<_> = readme.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let [overlay, without_namespace, ..] = blocks[..] else { panic!("other blocks of YAML than expected: {blocks:?}") };
    let folder = cluster.deploy.join("overlays/nightly");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(cluster.deploy.join("base/task.wasm"), folder.join("task.wasm")).expect("a copy");
    let kustomization = folder.join("kustomization.yaml");
    std::fs::write(&kustomization, overlay).expect("written");
    cluster.apply(&folder, WAYS[1]);
    assert_eq!(cluster.leases("jobs"), ["leasehold-task"]);
    let spec = cluster.deployment("jobs").spec.expect("a spec").template.spec.expect("a spec");
    let image = spec.containers[0].image.as_deref();
    assert_eq!(image, Some(concat!("registry.example.com/leasehold:", env!("CARGO_PKG_VERSION"))));

    std::fs::write(&kustomization, format!("{overlay}{without_namespace}")).expect("written");
    let kinds = cluster.versions(&folder);
    assert!(kinds.contains_key("Deployment/leasehold") && !kinds.contains_key("Namespace/jobs"), "{kinds:?}");
}

#[test]
fn the_numbers_in_the_deployment_are_those_of_the_host() {
    let cluster = cluster();
    cluster.apply(&cluster.kustomization_in("base", "numbers", ""), WAYS[1]);
    let spec = cluster.deployment("numbers").spec.expect("a spec").template.spec.expect("a spec");
    let container = &spec.containers[0];
    assert_eq!(container.image.as_deref(), Some(concat!("leasehold:", env!("CARGO_PKG_VERSION"))));

    let task = "tasks: [{name: a, module: a.wasm}]";
    let host = config::parse_file("host.yaml", task, LogFormat::Text, &Environment::default()).expect("it is right");
    let margin = Duration::from_secs(5);
    let grace = spec.termination_grace_period_seconds.expect("it is given");
    let fits = u64::try_from(grace).is_ok_and(|grace| Duration::from_secs(grace) >= host.shutdown_timeout + margin);
    assert!(fits, "{grace} s for {:?}", host.shutdown_timeout);

    let port = &container.ports.as_ref().expect("ports")[0];
    let admin = format!("--admin=:{}", port.container_port);
    assert!(container.args.as_ref().expect("args").contains(&admin), "no {admin}");
    assert!(container.startup_probe.is_none(), "a task that waits for its module would be started over and over");
    let probes = [&container.readiness_probe, &container.liveness_probe];
    let asked = probes.map(|probe| {
        let get = probe.as_ref().and_then(|probe| probe.http_get.as_ref()).expect("an HTTP probe");
        (get.path.as_deref().expect("a path"), json!(get.port))
    });
    let port = json!(port.name.as_ref().expect("a name"));
    assert_eq!(asked, [("/readyz", port.clone()), ("/livez", port)]);
}
