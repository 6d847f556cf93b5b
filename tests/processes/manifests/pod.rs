//! One of the Deployment's Pods, started by hand: its container's arguments and environment, its
//! ConfigMaps as files, its service account's rights.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, PodTemplateSpec, Volume};
use kube::api::PostParams;
use leasehold_tests::{
    build,
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
};
use tempfile::TempDir;

use super::Cluster;

pub(super) struct ByHand {
    pub(super) host: HostProcess,
    pub(super) name: String,
    files: TempDir,
}

/// The service account's name, as bindings see it.
pub(super) fn user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:leasehold")
}

impl ByHand {
    /// Starts what the Deployment in this namespace asks for.
    pub(super) fn start(cluster: &Cluster, namespace: &str) -> Self {
        Self::start_as("leasehold-by-hand", cluster, namespace)
    }

    /// The same as the Pod of this name.
    pub(super) fn start_as(name: &str, cluster: &Cluster, namespace: &str) -> Self {
        let files = TempDir::new().expect("a folder");
        let template = cluster.deployment(namespace).spec.expect("a spec").template;
        let uid = make_pod(cluster, namespace, name, template.clone());
        let spec = template.spec.expect("a spec");
        let host = |container: &Container| container.name == "leasehold";
        let container = spec.containers.into_iter().find(host).expect("a host");
        let mounts = container.volume_mounts.unwrap_or_default();
        // A port that is free, and paths that are this test's own.
        let here = |text: &str| {
            let text = text.replace("--admin=:8080", "--admin=127.0.0.1:0").replace("\":8080\"", "127.0.0.1:0");
            mounts.iter().fold(text, |text, mount| {
                let folder = files.path().join(&mount.name).display().to_string();
                text.replace(&format!("{}/", mount.mount_path), &format!("{folder}/"))
            })
        };
        // What is projected is the service account's token, which the kubeconfig below stands for.
        for volume in spec.volumes.unwrap_or_default().into_iter().filter(|volume| volume.projected.is_none()) {
            write_volume(cluster, namespace, &volume, &files.path().join(&volume.name), here);
        }

        let mut command = Command::new(build::leasehold());
        command.args(container.args.expect("args").iter().map(|arg| here(arg)));
        for variable in container.env.unwrap_or_default() {
            let value = value_of(&variable, name, namespace, &uid);
            command.env(variable.name, value);
        }
        // In a Pod, its service account says that.
        command.env("POD_NAMESPACE", namespace);
        command.env("KUBECONFIG", cluster.plane.kubeconfig_for(&user(namespace)).expect("a kubeconfig"));
        command.stderr(fs::File::create(files.path().join("stderr")).expect("a file"));
        Self { host: HostProcess::spawn(name, command), name: name.to_owned(), files }
    }

    /// Waits for its first complaint: a warning in its log, or the words it ends with.
    pub(super) fn complaint(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let running = self.host.is_running();
            let complains = |event: &Event| is_complaint(event);
            if let Some(event) = self.host.events().iter().find(|event| complains(event)) {
                return format!("{}: {}", event.name(), event.message());
            }
            if !running {
                return fs::read_to_string(self.files.path().join("stderr")).expect("it is text");
            }
            assert!(begun.elapsed() < PATIENCE, "it does not complain: {:?}", self.host.events());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether the host tells of something it could not do.
pub(super) fn is_complaint(event: &Event) -> bool {
    event.name() == "events-off" || event.line["level"] == "WARN" || event.line["level"] == "ERROR"
}

/// A ConfigMap as the files of its volume, or an empty folder as a kubelet makes it.
fn write_volume(cluster: &Cluster, namespace: &str, volume: &Volume, folder: &Path, here: impl Fn(&str) -> String) {
    fs::create_dir(folder).expect("a folder");
    if volume.empty_dir.is_some() {
        // Whoever the container runs as.
        return fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    let source = volume
        .config_map
        .as_ref()
        .unwrap_or_else(|| panic!("volume {} is neither a ConfigMap nor an empty folder", volume.name));
    let config_map: ConfigMap =
        cluster.runtime.block_on(cluster.api(namespace).get(&source.name)).expect("it is there");
    for (key, text) in config_map.data.unwrap_or_default() {
        fs::write(folder.join(key), here(&text)).expect("written");
    }
    for (key, bytes) in config_map.binary_data.unwrap_or_default() {
        fs::write(folder.join(key), bytes.0).expect("written");
    }
}

/// The Pod as an object, which no node ever starts; its uid.
fn make_pod(cluster: &Cluster, namespace: &str, name: &str, template: PodTemplateSpec) -> String {
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, ..Pod::default() };
    pod.metadata.name = Some(name.to_owned());
    let pods = cluster.api::<Pod>(namespace);
    let made = match cluster.runtime.block_on(pods.create(&PostParams::default(), &pod)) {
        Err(kube::Error::Api(status)) if status.code == 409 => cluster.runtime.block_on(pods.get(name)),
        made => made,
    };
    made.expect("a Pod").metadata.uid.expect("a uid")
}

fn value_of(variable: &EnvVar, pod: &str, namespace: &str, uid: &str) -> String {
    if let Some(value) = &variable.value {
        return value.clone();
    }
    let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
    match field.map(|field| field.field_path.as_str()) {
        Some("metadata.name") => pod.to_owned(),
        Some("metadata.namespace") => namespace.to_owned(),
        Some("metadata.uid") => uid.to_owned(),
        _ => panic!("{} comes from somewhere new", variable.name),
    }
}
