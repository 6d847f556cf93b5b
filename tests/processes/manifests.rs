//! `deploy/`, put on a real API server by kubectl. There are no nodes: what a kubelet would start is
//! started by hand.

mod apply;
mod label;
mod pod;
mod rights;
mod sidecar;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use leasehold::lease::TOKEN_ANNOTATION;
use leasehold_tests::{build, control_plane::ControlPlane, host_process::PATIENCE};
use serde_json::json;
use tempfile::TempDir;

/// Everything in `deploy/` that a person applies.
const KUSTOMIZATIONS: [&str; 6] =
    ["base", "overlays/kind", "overlays/configmap-api", "overlays/many-tasks", LEADER_SERVICE, KAFKA_SIDECAR];

/// The leader's Pod is labelled.
const LEADER_SERVICE: &str = "overlays/leader-service";

/// Its task needs an application beside the host.
const KAFKA_SIDECAR: &str = "overlays/kafka-sidecar";

/// Those whose hosts need nobody.
fn alone() -> impl Iterator<Item = &'static str> {
    KUSTOMIZATIONS.into_iter().filter(|name| *name != KAFKA_SIDECAR)
}

/// Both ways to apply: the one that keeps what was applied in an annotation, and the other.
const WAYS: [&[&str]; 2] = [&[], &["--server-side"]];

/// An API server for all tests of these files, each with a namespace of its own; and a copy of
/// `deploy/`, in which a test may add a folder.
struct Cluster {
    plane: ControlPlane,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
    deploy: PathBuf,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
        // Within the control plane's folder, which goes even if this static is never dropped.
        let place = plane.kubeconfig().parent().expect("it is in a folder");
        let folder = TempDir::new_in(place).expect("a folder");
        let deploy = build::copy_of_deploy(folder.path());
        Cluster { plane, runtime, folder, deploy }
    })
}

impl Cluster {
    fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with(self.plane.kubeconfig(), args)
    }

    fn kubectl_with(&self, kubeconfig: &Path, args: &[&str]) -> Output {
        Command::new(build::kubectl())
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            // Its cache of what the API server has goes there.
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("kubectl starts")
    }

    /// What kubectl prints when all is well: without a warning, from itself or from the API server.
    fn kubectl_says(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.kubectl(args);
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success() && stderr.is_empty(), "kubectl {args:?}: {status}\n{stdout}\n{stderr}");
        stdout.into_owned()
    }

    fn kustomization(&self, name: &str) -> PathBuf {
        self.deploy.join(name)
    }

    /// The kustomization, for another namespace, as a person's own overlay would have it.
    fn kustomization_in(&self, name: &str, namespace: &str, patches: &str) -> PathBuf {
        let folder = self.deploy.join(format!("of-test-{namespace}"));
        fs::create_dir(&folder).expect("a folder");
        let text = format!("resources: [../{name}]\nnamespace: {namespace}\n{patches}");
        fs::write(folder.join("kustomization.yaml"), text).expect("written");
        folder
    }

    fn apply(&self, folder: &Path, way: &[&str]) -> String {
        self.kubectl_says(&[&["apply", "-k", text(folder)], way].concat())
    }

    /// Applies over what may have been applied the other way: kubectl has something to say to that,
    /// and `--server-side` takes fields over only if it is told to.
    fn apply_over(&self, folder: &Path, way: &[&str]) {
        let force: &[&str] = if way.is_empty() { &[] } else { &["--force-conflicts"] };
        let applied = self.kubectl(&[&["apply", "-k", text(folder)], way, force].concat());
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let _inside = self.runtime.enter();
        Api::namespaced(self.plane.client(), namespace)
    }

    /// The names of the Leases that have been made in this namespace.
    fn leases(&self, namespace: &str) -> Vec<String> {
        let leases = self.runtime.block_on(self.api::<Lease>(namespace).list(&ListParams::default()));
        leases.expect("leases").items.into_iter().filter_map(|lease| lease.metadata.name).collect()
    }

    fn lease(&self, namespace: &str, name: &str) -> Lease {
        self.runtime.block_on(self.api(namespace).get(name)).expect("the lease is there")
    }

    fn deployment(&self, namespace: &str) -> Deployment {
        self.runtime.block_on(self.api(namespace).get("leasehold")).expect("the deployment is there")
    }

    /// A namespace that is being deleted is emptied and removed by a controller. Here, that is this.
    fn remove_deleted_namespace(&self, name: &str) {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = {
            let _inside = self.runtime.enter();
            Api::all(self.plane.client())
        };
        let mut namespace = self.runtime.block_on(namespaces.get(name)).expect("it is there");
        assert!(namespace.metadata.deletion_timestamp.is_some(), "nobody has deleted it");
        namespace.spec = None;
        let params = PostParams::default();
        let removed = self.runtime.block_on(namespaces.replace_subresource("finalize", name, &params, &namespace));
        removed.expect("it is finalized");
        wait_until("the namespace is gone", || {
            self.runtime.block_on(namespaces.get_opt(name)).expect("an answer").is_none().then_some(())
        });
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder's path is UTF-8")
}

/// Waits until `found` finds something.
fn wait_until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The Lease as a host that leads has written it.
fn held_by(mut lease: Lease, holder: &str) -> Lease {
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
        "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:01:00.000000Z",
    });
    lease.spec = Some(serde_json::from_value(spec).expect("a spec"));
    lease.metadata.annotations.get_or_insert_default().insert(TOKEN_ANNOTATION.into(), "7".into());
    lease
}
