//! What the stories apply: close to deploy/base, and with what a story needs to be different.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use leasehold_tests::{build, cluster::image};
use serde_json::{Value, json};

/// The key of the module in its ConfigMap.
pub(crate) const MODULE_KEY: &str = "task.wasm";
/// Where Leasehold serves health and metrics.
pub(crate) const ADMIN_PORT: u16 = 8080;
/// What a host needs on its Lease, where that was made beforehand.
pub(crate) const ENOUGH: [&str; 4] = ["get", "list", "watch", "update"];

/// A Deployment of an elector; its name is that of its Lease, its ServiceAccount and its Pods' label `app` as well.
pub(crate) struct Elector {
    pub(crate) name: &'static str,
    pub(crate) replicas: u32,
    image: &'static str,
    args: Vec<String>,
    /// The ConfigMap that is mounted.
    module: Option<&'static str>,
    /// Whether the kubelet asks it how it is.
    probed: bool,
}

impl Elector {
    /// Leasehold, with the module of the ConfigMap of its name mounted.
    pub(crate) fn leasehold(name: &'static str) -> Self {
        let admin = format!("--admin=:{ADMIN_PORT}");
        let args = ["run", "/module/task.wasm", &admin, "--log-format=json", "--env=BEAT_MS=50"];
        Self {
            name,
            replicas: 3,
            image: image::LEASEHOLD,
            args: args.map(str::to_owned).into(),
            module: Some(name),
            probed: true,
        }
    }

    /// With so many replicas.
    pub(crate) fn with_replicas(self, replicas: u32) -> Self {
        Self { replicas, ..self }
    }

    /// Leasehold, with the module of the ConfigMap of its name watched through the API.
    pub(crate) fn leasehold_watching(name: &'static str) -> Self {
        let mut this = Self::leasehold(name);
        this.args[1] = format!("configmap:{name}/{MODULE_KEY}");
        this.module = None;
        this
    }

    /// The Pod that leads carries this label.
    pub(crate) fn labelled(mut self, label: &str) -> Self {
        self.args.push(format!("--leader-label={label}"));
        self
    }

    /// client-go's elector.
    pub(crate) fn client_go(name: &'static str) -> Self {
        let args = [name, "$(POD_NAME)"].map(str::to_owned).into();
        Self { name, replicas: 3, image: image::CLIENT_GO, args, module: None, probed: false }
    }

    /// The Deployment and its ServiceAccount, which is given what the Role `role` allows.
    pub(crate) fn objects(&self, role: &str) -> Vec<Value> {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let labels = json!({"app": self.name});
        let (mounts, volumes) = match self.module {
            None => (json!([]), json!([])),
            Some(module) => (
                json!([{"name": "module", "mountPath": "/module", "readOnly": true}]),
                json!([{"name": "module", "configMap": {"name": module}}]),
            ),
        };
        let mut container = json!({
            "name": "elector",
            "image": self.image,
            "imagePullPolicy": "Never",
            "args": self.args,
            "env": [
                {"name": "POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "POD_UID", "valueFrom": field("metadata.uid")},
                {"name": "NAMESPACE", "valueFrom": field("metadata.namespace")},
                {"name": "LEASE_NAME", "value": self.name},
            ],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": mounts,
        });
        if self.probed {
            let ask = |path: &str| json!({"path": path, "port": ADMIN_PORT});
            container["startupProbe"] = json!({"httpGet": ask("/readyz"), "periodSeconds": 1, "failureThreshold": 120});
            container["readinessProbe"] = json!({"httpGet": ask("/readyz"), "periodSeconds": 5});
            container["livenessProbe"] = json!({"httpGet": ask("/livez"), "periodSeconds": 10, "timeoutSeconds": 5});
        }
        let apart = json!({
            "weight": 100,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}},
        });
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": self.name,
                        "enableServiceLinks": false,
                        "terminationGracePeriodSeconds": 30,
                        "securityContext": {
                            "runAsNonRoot": true,
                            "runAsUser": 65532,
                            "runAsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}},
                        "containers": [container],
                        "volumes": volumes,
                    },
                },
            },
        });
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name}});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": self.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": self.name}],
        });
        vec![account, binding, deployment]
    }
}

/// A Role with these verbs on Leases.
pub(crate) fn role(name: &str, verbs: &[&str]) -> Value {
    role_of(name, &json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}]))
}

/// A Role with all that a host can make use of; of the ConfigMaps it may read the one of its own name.
pub(crate) fn role_for_all(name: &str, config_map: &str) -> Value {
    role_of(
        name,
        &json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ENOUGH},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {
                "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [config_map],
                "verbs": ["get", "list", "watch"],
            },
        ]),
    )
}

/// A Role with these rules.
pub(crate) fn role_of(name: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": rules,
    })
}

/// A Lease made beforehand, as people make them: held by `""`.
pub(crate) fn free_lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": ""},
    })
}

/// A ConfigMap with the module of this guest example.
pub(crate) fn module(name: &str, guest: &str) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    object["binaryData"] = module_data(&module_bytes(guest));
    object
}

/// What the ConfigMap of a module has as its `binaryData`.
pub(crate) fn module_data(bytes: &[u8]) -> Value {
    json!({MODULE_KEY: BASE64_STANDARD.encode(bytes)})
}

/// A guest example's component.
pub(crate) fn module_bytes(guest: &str) -> Vec<u8> {
    let path = build::guest(guest);
    read(&path)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
