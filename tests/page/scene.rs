//! Hosts whose status pages are looked at: several tasks each, with their Leases in one folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use leasehold_tests::{build, host_process::HostProcess};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with Leases and configs.
pub(super) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the Leases are, as it stands in configs.
    pub(super) fn lease_store(&self) -> String {
        format!("file:{}", self.path("leases").display())
    }

    /// A host with these tasks.
    pub(super) fn host(&self, name: &str, tasks: &[Value]) -> Host {
        self.host_at(name, "127.0.0.1:0", tasks)
    }

    /// The same, with its admin address.
    pub(super) fn host_at(&self, name: &str, admin: &str, tasks: &[Value]) -> Host {
        let config = self.path(&format!("{name}.yaml"));
        let text = json!({"leaseStore": self.lease_store(), "identity": name, "admin": admin, "tasks": tasks});
        fs::write(&config, ascii(&text)).expect("written");
        let mut command = Command::new(build::leasehold());
        command.args(["run", "--log-format", "json", "--config"]).arg(config);
        let process = HostProcess::spawn(name, command);
        let address = process.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned();
        Host { process, address }
    }
}

/// YAML takes no control characters as they are.
fn ascii(value: &Value) -> String {
    let escaped = |character: char| match character.is_ascii() {
        true => character.to_string(),
        false => character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    value.to_string().chars().map(escaped).collect()
}

/// A host, and where its page is.
pub(super) struct Host {
    pub(super) process: HostProcess,
    /// With its port.
    pub(super) address: String,
}

impl Host {
    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

/// A task with a Lease that does not run out while this machine is busy, and moves soon where its leader is gone.
pub(super) fn task(name: &str, module: &Path, more: Value) -> Value {
    let mut task = json!({
        "name": name,
        "module": module,
        "lease": {"name": name, "duration": "10s", "renewDeadline": "8s", "retryPeriod": "1s"},
    });
    let (Some(task_fields), Value::Object(more)) = (task.as_object_mut(), more) else { panic!("objects") };
    task_fields.extend(more);
    task
}

/// Prints these lines, one every so many milliseconds.
pub(super) fn prints(name: &str, pause_ms: u32, lines: &[&str]) -> Value {
    task(name, &build::guest("prints"), json!({"args": lines, "env": {"PAUSE_MS": pause_ms.to_string()}}))
}
