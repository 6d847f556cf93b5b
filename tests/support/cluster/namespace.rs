//! A namespace for one story, and what is done in it through the API.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::{NamespaceResourceScope, api::core::v1};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{Cluster, wait_for};

/// Deleted when it is dropped, with all that is in it; nobody waits until that is done.
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

/// What is in a namespace.
pub trait Namespaced:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned
{
}

impl<'a> Namespace<'a> {
    /// Makes it, once the one of that name which a run before has left is gone.
    pub fn make(cluster: &'a Cluster, name: &str) -> Self {
        let mut object = v1::Namespace::default();
        object.metadata.name = Some(name.to_owned());
        let namespaces = Api::<v1::Namespace>::all(cluster.client());
        wait_for(&format!("namespace {name} can be made"), || {
            match cluster.block_on(namespaces.create(&PostParams::default(), &object)) {
                Ok(_) => Ok(Some(())),
                Err(error) => Err(error.into()),
            }
        });
        cluster.logs().add_namespace(name);
        Self { cluster, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects of a kind in it.
    pub fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// `kubectl apply` of these objects.
    ///
    /// # Panics
    /// kubectl fails.
    pub fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let args = ["--namespace", &self.name, "apply", "--filename=-"];
        self.cluster.kubectl(&args, &list).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// One object.
    ///
    /// # Errors
    /// The API server's.
    pub fn get<K: Namespaced>(&self, name: &str) -> Result<K> {
        Ok(self.cluster.block_on(self.api::<K>().get(name))?)
    }

    /// All of a kind whose labels are these.
    ///
    /// # Errors
    /// The API server's.
    pub fn list<K: Namespaced>(&self, labels: &str) -> Result<Vec<K>> {
        let params = ListParams::default().labels(labels);
        Ok(self.cluster.block_on(self.api::<K>().list(&params))?.items)
    }

    /// Changes parts of an object.
    ///
    /// # Panics
    /// The API server refuses.
    pub fn patch<K: Namespaced>(&self, name: &str, patch: &Value) -> K {
        let api = self.api::<K>();
        let patched = self.cluster.block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)));
        patched.unwrap_or_else(|error| panic!("{name} cannot be patched: {error}"))
    }

    /// Begins to delete an object, in the way and with the time it has for that.
    ///
    /// # Panics
    /// The API server refuses.
    pub fn delete<K: Namespaced>(&self, name: &str) {
        let api = self.api::<K>();
        let deleted = self.cluster.block_on(api.delete(name, &DeleteParams::default()));
        deleted.unwrap_or_else(|error| panic!("{name} cannot be deleted: {error}"));
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let namespaces = Api::<v1::Namespace>::all(self.cluster.client());
        if let Err(error) = self.cluster.block_on(namespaces.delete(&self.name, &DeleteParams::default())) {
            eprintln!("namespace {} is not deleted: {error}", self.name);
        }
    }
}

/// The node a Pod runs on.
///
/// # Errors
/// It is not on any yet.
pub fn node_of(pod: &v1::Pod) -> Result<&str> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.with_context(|| format!("{} has no node", pod.name_any()))
}

/// How often a Pod's containers were restarted.
pub fn restarts(pod: &v1::Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.map_or(0, |statuses| statuses.iter().map(|status| status.restart_count).sum())
}
