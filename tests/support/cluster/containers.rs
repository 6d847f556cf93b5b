//! A container's process on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};

use super::{Cluster, PATIENCE, now_micros};

/// A container that was killed without having been asked to end.
#[derive(Clone, Debug)]
pub struct Kill {
    /// Its Pod's.
    pub uid: String,
    /// When it had certainly ended.
    pub at_micros: i64,
}

impl Cluster {
    /// SIGKILL to all processes of the Pod's first container.
    ///
    /// # Errors
    /// They are not found, or do not end.
    pub fn kill_container(&self, pod: &Pod) -> Result<Kill> {
        ensure!(self.hands_off().is_none(), "a container can only be killed on the cluster of tests/cluster");
        let uid = pod.uid().context("a Pod with a uid")?;
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let id = statuses.and_then(|statuses| statuses.first()?.container_id.as_deref());
        let id = id.and_then(|id| id.strip_prefix("containerd://")).context("a container with an id")?;
        let cgroup = cgroup_of(&uid, id)?;
        let pids = processes(&cgroup)?;
        ensure!(!pids.is_empty(), "the container {id} of {} has no process", pod.name_any());
        for pid in pids {
            kill_process(pid, Signal::KILL)?;
        }
        let begun = Instant::now();
        // A cgroup whose last process has ended is removed by the runtime.
        while processes(&cgroup).is_ok_and(|pids| !pids.is_empty()) {
            ensure!(begun.elapsed() < PATIENCE, "the processes of {} do not end", pod.name_any());
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Kill { uid, at_micros: now_micros() })
    }
}

/// kubelet's, in a hierarchy of version 1 or in that of version 2.
fn cgroup_of(uid: &str, container: &str) -> Result<PathBuf> {
    for root in ["/sys/fs/cgroup/pids/leasehold-cluster", "/sys/fs/cgroup/leasehold-cluster"] {
        let pod = find(Path::new(root), &format!("pod{uid}"))?;
        if let Some(found) = pod.map(|pod| find(&pod, container)).transpose()?.flatten() {
            return Ok(found);
        }
    }
    anyhow::bail!("there is no cgroup of the container {container} of the Pod {uid}")
}

/// The folder of that name, at any depth.
fn find(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Containers end while this looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
        if let Some(found) = find(&entry.path(), name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn processes(cgroup: &Path) -> Result<Vec<Pid>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    text.lines().map(|line| Pid::from_raw(line.parse()?).context("a process id")).collect()
}
