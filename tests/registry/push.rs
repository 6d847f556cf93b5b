//! `leasehold push` into a ConfigMap, and a pull secret, on the real API server.

use std::{collections::BTreeMap, fs, sync::Mutex};

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{ConfigMap, Secret},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{Api, api::PostParams};
use leasehold_tests::{
    build::{control_plane_binaries, guest},
    control_plane::ControlPlane,
    host_process::{Said, leasehold},
};
use serde_json::json;

use super::{
    assert_refused, check, digest_of,
    distribution::{Distribution, Options},
    pushed,
};

/// Control planes that start at the same time get in each other's way on two cores.
static STARTING: Mutex<()> = Mutex::new(());

struct Cluster {
    plane: ControlPlane,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    fn start() -> Self {
        let one_at_a_time = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(control_plane_binaries())).expect("a control plane");
        drop(one_at_a_time);
        Self { plane, runtime }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let _inside = self.runtime.enter();
        Api::default_namespaced(self.plane.client())
    }

    fn kubeconfig(&self) -> &str {
        self.plane.kubeconfig().to_str().expect("UTF-8")
    }

    fn push(&self, file: &std::path::Path, to: &str) -> Said {
        leasehold(&["push", file.to_str().expect("UTF-8"), to], &[("KUBECONFIG", self.kubeconfig())])
    }

    fn config_map(&self, name: &str) -> ConfigMap {
        self.runtime.block_on(self.api::<ConfigMap>().get(name)).expect("it is there")
    }

    fn create<K>(&self, object: serde_json::Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).expect("it is one");
        self.runtime.block_on(self.api::<K>().create(&PostParams::default(), &object)).expect("created");
    }
}

/// A component, with so many bytes in a section that nobody reads. `random`: that do not compress.
fn larger(by: usize, random: bool) -> Vec<u8> {
    let mut bytes = fs::read(guest("parked")).expect("it was built");
    let mut rng = fastrand::Rng::with_seed(7);
    let filling: Vec<u8> = (0..by).map(|_| if random { rng.u8(..) } else { 7 }).collect();
    let section = [&[4][..], b"fill", &filling].concat();
    bytes.push(0);
    let mut size = section.len();
    loop {
        let low = u8::try_from(size & 0x7f).expect("seven bits");
        size >>= 7;
        bytes.push(if size == 0 { low } else { low | 0x80 });
        if size == 0 {
            break;
        }
    }
    bytes.extend(section);
    bytes
}

#[test]
fn a_module_is_put_beside_what_a_config_map_has_compressed_only_where_it_has_to_be() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    let key = "configmap:default/nightly/task.wasm";
    let written = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    };

    // Made.
    let env = [("KUBECONFIG", cluster.kubeconfig())];
    assert_eq!(pushed("heartbeat", "configmap:nightly/task.wasm", &[], &env), key);
    let made = cluster.config_map("nightly");
    let bytes = |config_map: &ConfigMap| config_map.binary_data.as_ref().expect("binary data")["task.wasm"].0.clone();
    assert_eq!(bytes(&made), fs::read(guest("heartbeat")).expect("it was built"));

    // Replaced, and what others wrote into it stays.
    let mut others = made;
    others.data = Some(BTreeMap::from([("notes".to_owned(), "x".repeat(200_000))]));
    others.binary_data.get_or_insert_default().insert("other".into(), ByteString(vec![1; 100_000]));
    others.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "nights".to_owned())]));
    let params = PostParams::default();
    cluster.runtime.block_on(cluster.api().replace("nightly", &params, &others)).expect("replaced");
    let large = larger(900_000, false);
    let said = cluster.push(&written("large.wasm", &large), key);
    assert!(said.code == Some(0) && said.stderr.contains("compressed with zstd, to "), "{said:?}");
    let digest = leasehold::guest::module::digest(&large);
    assert!(said.stdout.contains(&format!("digest: {digest}\n")), "{said:?}");
    let found = cluster.config_map("nightly");
    assert!(bytes(&found).len() < 100_000, "{} bytes", bytes(&found).len());
    assert_eq!((&found.data, &found.metadata.labels), (&others.data, &others.metadata.labels));
    assert_eq!(found.binary_data.expect("binary data")["other"].0.len(), 100_000);
    let said = check(key, &[], &env);
    assert!(said.code == Some(0) && said.stdout.contains(&*digest), "{said:?}");

    // No room: by how much, and what else to do; and nothing has changed.
    let said = cluster.push(&written("huge.wasm", &larger(1_000_000, true)), key);
    let says =
        ["too much for configmap default/nightly", "1.0 MiB in all", "its other keys have 293.0 KiB", "oci:REGISTRY"];
    assert_refused(&said, 2, &says);
    assert!(check(key, &[], &env).stdout.contains(&*digest));

    // What could not be run is not pushed.
    let said = cluster.push(&written("text.wasm", b"hello"), "configmap:broken/task.wasm");
    assert_refused(&said, 2, &["is not pushed", "it is not WebAssembly"]);
    let said = cluster.push(&written("core.wasm", b"\0asm\x01\0\0\0"), "configmap:broken/task.wasm");
    assert_refused(&said, 2, &["is not pushed", "core module"]);
    let broken = cluster.runtime.block_on(cluster.api::<ConfigMap>().get_opt("broken")).expect("an answer");
    assert!(broken.is_none());
    let path = written("copy.wasm", b"");
    assert_refused(&cluster.push(&path, "there.wasm"), 2, &["is not pushed"]);
    assert_refused(
        &cluster.push(&guest("parked"), "there.wasm"),
        2,
        &["is a file, and not where a module is pushed to"],
    );
}

#[test]
fn whoever_may_not_write_a_config_map_is_told_the_rule() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.plane.kubeconfig_for("nobody").expect("written");
    let env = [("KUBECONFIG", kubeconfig.to_str().expect("UTF-8"))];
    let file = guest("parked");
    let said = leasehold(&["push", file.to_str().expect("UTF-8"), "configmap:nightly/task.wasm"], &env);
    let rule = "{apiGroups: [\"\"], resources: [configmaps], verbs: [get, create, update]}";
    assert_refused(&said, 1, &["may not get configmap default/nightly", rule]);
}

#[test]
fn a_pull_secret_is_read_through_the_api_by_who_may() {
    let cluster = Cluster::start();
    let registry = Distribution::start(Options { tls: false, password: true });
    let module = registry.module("tasks/nightly:1");
    let env = [("KUBECONFIG", cluster.kubeconfig())];
    let auths = json!({"auths": {registry.host(): {"username": "user", "password": "password"}}});
    cluster.create::<Secret>(json!({
        "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()},
    }));
    cluster.create::<Secret>(json!({"metadata": {"name": "other"}, "stringData": {"a": "b"}}));
    let with = |secret| ["--plain-http", "--pull-secret", secret];
    pushed("parked", &module, &with("pull"), &env);
    let said = check(&module, &with("pull"), &env);
    assert!(said.code == Some(0) && said.stdout.contains(&digest_of("parked")), "{said:?}");
    assert_refused(&check(&module, &with("none"), &env), 2, &["there is no Secret default/none"]);
    assert_refused(&check(&module, &with("other"), &env), 2, &["default/other", "kubernetes.io/dockerconfigjson"]);

    // `get` on that one Secret is all it takes.
    let kubeconfig = cluster.plane.kubeconfig_for("reader").expect("written");
    let reader = [("KUBECONFIG", kubeconfig.to_str().expect("UTF-8"))];
    let rule = "{apiGroups: [\"\"], resources: [secrets], resourceNames: [pull], verbs: [get]}";
    assert_refused(&check(&module, &with("pull"), &reader), 2, &["may not read the pull secret default/pull", rule]);
    cluster.create::<Role>(json!({
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pull"], "verbs": ["get"]}],
    }));
    cluster.create::<RoleBinding>(json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    }));
    // An authorizer hears of new rules within moments.
    let begun = std::time::Instant::now();
    while check(&module, &with("pull"), &reader).code != Some(0) {
        assert!(begun.elapsed() < leasehold_tests::host_process::PATIENCE, "the rule does not do");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
