//! What a Lease is for. `kubectl get lease -A` shows all of them alike.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::lease::TASK_ANNOTATION;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::commands) enum Kind {
    /// Leasehold's: the annotation `leasehold.dev/task` says whose.
    Task,
    /// Some other application's.
    Application,
    /// A component of Kubernetes' own control plane.
    Component,
    /// The identity of an API server.
    ApiServer,
    /// The heartbeat of a node.
    Node,
}

/// Where kubelets keep theirs.
/// <https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats>
const NODES: &str = "kube-node-lease";
const SYSTEM: &str = "kube-system";
/// <https://kubernetes.io/docs/concepts/architecture/leases/#api-server-identity>
const API_SERVER_LABEL: &str = "apiserver.kubernetes.io/identity";
/// What Kubernetes' own components call their Leases in `kube-system`, by default. Others keep theirs there as well.
const COMPONENTS: [&str; 5] = [
    "cloud-controller-manager",
    "kube-controller-manager",
    "kube-scheduler",
    // Of the API server: it picks leaders (KEP-4355).
    "leader-election-controller",
    // The migration of one of them to another (KEP-2436).
    "cloud-provider-extraction-migration",
];

impl Kind {
    /// Of a Lease in Kubernetes.
    pub(in crate::commands) fn of(metadata: &ObjectMeta) -> Self {
        let has_label = |name| metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(name));
        let name = metadata.name.as_deref().unwrap_or_default();
        match metadata.namespace.as_deref() {
            _ if metadata.annotations.as_ref().is_some_and(|all| all.contains_key(TASK_ANNOTATION)) => Self::Task,
            Some(NODES) => Self::Node,
            Some(SYSTEM) if has_label(API_SERVER_LABEL) => Self::ApiServer,
            Some(SYSTEM) if COMPONENTS.contains(&name) => Self::Component,
            _ => Self::Application,
        }
    }

    /// Whether it is the cluster's own, and not of those that people run on it.
    pub(in crate::commands) fn is_of_the_cluster(self) -> bool {
        matches!(self, Self::Component | Self::ApiServer | Self::Node)
    }

    pub(in crate::commands) fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Application => "application",
            Self::Component => "component",
            Self::ApiServer => "api-server",
            Self::Node => "node",
        }
    }

    /// So many of them, in words.
    pub(super) fn counted(self, count: usize) -> String {
        let one = match self {
            Self::Task => "task",
            Self::Application => "application",
            Self::Component => "component of Kubernetes",
            Self::ApiServer => "API server identity",
            Self::Node => "node heartbeat",
        };
        match (count, self) {
            (1, _) => format!("1 {one}"),
            (_, Self::Component) => format!("{count} components of Kubernetes"),
            (_, Self::ApiServer) => format!("{count} API server identities"),
            _ => format!("{count} {one}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(namespace: &str, name: &str, label: Option<&str>, annotation: Option<&str>) -> Kind {
        let map = |name: Option<&str>| name.map(|name| BTreeMap::from([(name.to_owned(), "x".to_owned())]));
        Kind::of(&ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            labels: map(label),
            annotations: map(annotation),
            ..ObjectMeta::default()
        })
    }

    #[test]
    fn the_clusters_own_leases_are_told_from_those_that_people_run() {
        let identity = Some("apiserver.kubernetes.io/identity");
        assert_eq!(of("kube-node-lease", "node-1", None, None), Kind::Node);
        assert_eq!(of("kube-system", "apiserver-ab12", identity, None), Kind::ApiServer);
        assert_eq!(of("kube-system", "kube-scheduler", None, None), Kind::Component);
        assert_eq!(of("kube-system", "cert-manager-controller", None, None), Kind::Application);
        assert_eq!(of("jobs", "kube-scheduler", identity, None), Kind::Application);
        assert_eq!(of("kube-system", "nightly", None, Some(TASK_ANNOTATION)), Kind::Task);
    }
}
