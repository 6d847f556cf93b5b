//! One host process with many tasks, a Lease each, on a real API server.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    core::v1::Namespace,
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{build, control_plane::ControlPlane, event_log::Event, host_process::HostProcess};

/// For what a thousand tasks take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A config of many tasks, in a namespace of its own.
pub struct ManyTasks {
    folder: TempDir,
    namespace: String,
    count: usize,
    module: PathBuf,
    /// What each task's config says of its Lease, but for the name.
    lease: Value,
}

/// Who may watch what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// All Leases of the namespace.
    Namespace,
    /// Each Lease by its name.
    Names,
}

impl ManyTasks {
    /// Makes the namespace. All tasks run the module in this file.
    ///
    /// # Errors
    /// The API server does not take it.
    pub async fn prepare(plane: &ControlPlane, namespace: &str, count: usize, module: PathBuf) -> Result<Self> {
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(plane.client()).create(&PostParams::default(), &object).await.context("a namespace")?;
        Ok(Self {
            folder: tempfile::tempdir()?,
            namespace: namespace.to_owned(),
            count,
            module,
            lease: json!({"namespace": namespace}),
        })
    }

    /// With times that a busy machine does not get near to.
    #[must_use]
    pub fn with_long_leases(self) -> Self {
        let lease = json!({
            "namespace": self.namespace, "duration": "60s", "renewDeadline": "50s", "retryPeriod": "2s",
        });
        Self { lease, ..self }
    }

    /// The name of a task and of its Lease.
    pub fn name(index: usize) -> String {
        format!("task-{index:04}")
    }

    /// Where the Leases are.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Gives this user what a host needs, and makes its kubeconfig.
    ///
    /// # Errors
    /// The API server does not take it.
    pub async fn kubeconfig(&self, plane: &ControlPlane, user: &str, rights: Rights) -> Result<PathBuf> {
        let mut rules = vec![
            json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}),
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}),
        ];
        let leases = ["coordination.k8s.io"];
        match rights {
            Rights::Namespace => rules.push(json!({
                "apiGroups": leases, "resources": ["leases"], "verbs": ["get", "list", "watch", "create", "update"],
            })),
            Rights::Names => {
                let names: Vec<_> = (0..self.count).map(Self::name).collect();
                rules.push(json!({"apiGroups": leases, "resources": ["leases"], "verbs": ["create"]}));
                rules.push(json!({
                    "apiGroups": leases, "resources": ["leases"], "resourceNames": names,
                    "verbs": ["get", "list", "watch", "update"],
                }));
            }
        }
        let metadata = json!({"name": user, "namespace": self.namespace});
        let role = serde_json::from_value(json!({"metadata": metadata, "rules": rules}))?;
        let binding = serde_json::from_value(json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))?;
        let (client, new) = (plane.client(), PostParams::default());
        Api::<Role>::namespaced(client.clone(), &self.namespace).create(&new, &role).await.context("a role")?;
        Api::<RoleBinding>::namespaced(client, &self.namespace).create(&new, &binding).await.context("a binding")?;
        plane.kubeconfig_for(user)
    }

    /// A host with all of the tasks. Of each, a heartbeat says one line when it begins.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn host(&self, name: &str, kubeconfig: &Path) -> HostProcess {
        let task = |index| {
            json!({
                "name": Self::name(index), "module": self.module, "lease": self.lease,
                "env": {"BEAT_MS": "3600000"},
            })
        };
        let tasks: Vec<_> = (0..self.count).map(task).collect();
        let file = self.folder.path().join(format!("{name}.yaml"));
        // JSON is YAML.
        let config = json!({"identity": name, "tasks": tasks}).to_string();
        std::fs::write(&file, config).expect("the folder can be written");
        let mut command = Command::new(build::leasehold());
        command.env("KUBECONFIG", kubeconfig).args(["run", "--log-format", "json", "--config"]).arg(file);
        HostProcess::spawn(name, command)
    }
}

/// Waits until `hosts` have logged `count` lines with this event's name, all together.
///
/// # Panics
/// They do not within [`PATIENCE`], or one of them ends.
pub fn wait_for_all(hosts: &mut [&mut HostProcess], event: &str, count: usize) {
    let begun = Instant::now();
    loop {
        let seen: usize = hosts.iter().map(|host| host.count(event)).sum();
        if seen >= count {
            return;
        }
        let ended = hosts.iter_mut().find_map(|host| (!host.is_running()).then(|| host.last_lines(20)));
        if let Some(lines) = ended {
            panic!("a host has ended with {seen} of {count} {event}. Its last lines:\n{lines}");
        }
        assert!(begun.elapsed() < PATIENCE, "{seen} of {count} {event}. The last lines:\n{}", hosts[0].last_lines(20));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// When each task's event of this name came first, in microseconds since the Unix epoch, by the task's name.
pub fn first_of_each(events: &[Event], name: &str) -> std::collections::BTreeMap<String, i64> {
    let mut first = std::collections::BTreeMap::new();
    for event in events.iter().filter(|event| event.name() == name) {
        let task = event.line["task"].as_str().unwrap_or_default().to_owned();
        first.entry(task).or_insert(event.at_micros);
    }
    first
}
