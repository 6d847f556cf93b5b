//! A real API server, and ConfigMaps in it.

use std::{
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use leasehold_tests::{build, control_plane::ControlPlane, host_process::PATIENCE};
use serde_json::json;

const KEY: &str = "value";

pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
        Self { plane, runtime }
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        let _inside = self.runtime.enter();
        Api::namespaced(self.plane.client(), namespace)
    }

    pub(crate) fn make_namespace(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let namespaces: Api<Namespace> = {
            let _inside = self.runtime.enter();
            Api::all(self.plane.client())
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        self.runtime.block_on(namespaces.create(&PostParams::default(), &namespace)).expect("made");
    }

    /// A ConfigMap with these labels and one value.
    pub(crate) fn make(&self, namespace: &str, name: &str, labels: &[(&str, &str)], value: &str) {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let metadata = ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() };
        let data = Some([(KEY.to_owned(), value.to_owned())].into());
        let config_map = ConfigMap { metadata, data, ..ConfigMap::default() };
        let made = self.config_maps(namespace);
        self.runtime.block_on(made.create(&PostParams::default(), &config_map)).expect("made");
    }

    pub(crate) fn change(&self, namespace: &str, name: &str, value: &str) {
        let (changed, patch) = (self.config_maps(namespace), Patch::Merge(json!({"data": {KEY: value}})));
        self.runtime.block_on(changed.patch(name, &PatchParams::default(), &patch)).expect("changed");
    }

    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let removed = self.config_maps(namespace);
        self.runtime.block_on(removed.delete(name, &DeleteParams::default())).expect("removed");
    }

    pub(crate) fn value(&self, namespace: &str, name: &str) -> Option<String> {
        let there = self.config_maps(namespace);
        let found = self.runtime.block_on(there.get_opt(name)).expect("the API server answers");
        found.and_then(|config_map| config_map.data?.remove(KEY))
    }

    /// The names of all ConfigMaps.
    pub(crate) fn names(&self, namespace: &str) -> Vec<String> {
        let listed = self.config_maps(namespace);
        let list = self.runtime.block_on(listed.list(&ListParams::default())).expect("the API server answers");
        list.items.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until `found` finds something in the names of all ConfigMaps.
    pub(crate) fn wait_until<T>(&self, what: &str, namespace: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let names = self.names(namespace);
            if let Some(found) = found(&names) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not so; in {namespace} there are {names:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
