//! Compiled modules in a folder: a restart finds them, and whatever is wrong with the folder costs only that.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use leasehold_tests::{
    build::{self, guest, preview1},
    event_log::Event,
    host_process::HostProcess,
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{config_map::assert_metric, folder::of_guest};

struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn args(&self) -> [String; 4] {
        ["--cache".into(), self.cache().display().to_string(), "--admin".into(), "127.0.0.1:0".into()]
    }

    /// A host with a Lease of its own.
    fn host(&self, name: &str, module: &Path) -> HostProcess {
        let args = self.args();
        let args: Vec<_> = args.iter().map(String::as_str).chain(["--lease", name]).collect();
        HostProcess::run_in_folder(name, module, &self.0.path().join("leases"), &args)
    }

    fn compiled(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache()).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "compiled")).collect()
    }
}

/// Whether the module that it has ready was compiled before.
fn cached(host: &HostProcess) -> bool {
    host.wait_for_event("module-loaded", 1).line["cached"].as_bool().expect("it says so")
}

fn assert_count(host: &HostProcess, result: &str, count: u32) {
    assert_metric(host, &format!("leasehold_module_cache_total{{result=\"{result}\"}} {count}"));
}

fn end(mut host: HostProcess) {
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn a_restart_finds_what_was_compiled_a_component_as_a_program_of_preview_1() {
    let scene = Scene::new();
    for (name, module, line) in [("one", guest("heartbeat"), "beat 1,"), ("two", preview1("program"), "")] {
        let first = scene.host(name, &module);
        assert!(!cached(&first));
        assert_count(&first, "stored", 1);
        first.wait_for("line of the guest", of_guest(line));
        end(first);
        let again = scene.host(name, &module);
        assert!(cached(&again));
        assert_count(&again, "hit", 1);
        assert_count(&again, "miss", 0);
        again.wait_for("line of the guest", of_guest(line));
        end(again);
    }
    assert_eq!(scene.compiled().len(), 2);
}

#[test]
fn a_damaged_file_is_told_of_and_compiled_anew_and_the_next_start_finds_it_again() {
    let scene = Scene::new();
    end({
        let host = scene.host("task", &guest("parked"));
        assert!(!cached(&host));
        host
    });
    let [file] = &scene.compiled()[..] else { panic!("{:?}", scene.compiled()) };
    let whole = fs::read(file).expect("it is there");
    // What no check but the seal's would see: one bit, somewhere in the machine code.
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (what, content) in [("rubbish", &b"rubbish"[..]), ("cut off", &whole[..whole.len() / 2]), ("bit", &damaged)] {
        fs::write(file, content).expect("written");
        let host = scene.host("task", &guest("parked"));
        assert!(!cached(&host), "{what}");
        let refused = host.wait_for_event("module-cache-refused", 1);
        assert!(refused.message().contains("is damaged"), "{what}: {refused}");
        host.wait_for("line of the guest", of_guest("parked"));
        assert_count(&host, "refused", 1);
        end(host);
        assert!(fs::read(file).expect("it is there").len() == whole.len(), "{what}: written anew");
    }
    assert!(cached(&scene.host("task", &guest("parked"))));
}

#[test]
fn a_folder_that_others_may_write_to_is_told_of_and_not_used() {
    let scene = Scene::new();
    fs::create_dir(scene.cache()).expect("a folder");
    fs::set_permissions(scene.cache(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let host = scene.host("task", &guest("parked"));
    let off = host.wait_for_event("module-cache-off", 1);
    assert!(off.message().contains("others may write there (mode 777)"), "{off}");
    host.wait_for("line of the guest", of_guest("parked"));
    assert!(fs::read_dir(scene.cache()).expect("a folder").next().is_none(), "nothing was written there");
}

#[test]
fn hosts_that_start_at_once_share_a_folder_and_one_that_is_killed_in_it_leaves_it_whole() {
    const HOSTS: usize = 4;
    let scene = Scene::new();
    let module = guest("heartbeat");
    let names: Vec<_> = (0..HOSTS).map(|index| format!("host-{index}")).collect();
    let mut hosts: Vec<_> = names.iter().map(|name| scene.host(name, &module)).collect();
    for host in &mut hosts {
        host.wait_for("line of the guest", of_guest("beat 1,"));
        assert!(host.events_named("module-cache-refused").is_empty());
        host.kill();
    }
    assert_eq!(scene.compiled().len(), 1, "each has written it, or found it: {:?}", scene.compiled());
    assert!(cached(&scene.host("last", &module)));
}

/// The full disk is a small file system in a mount namespace of that host's own: it goes when the host does, however
/// that ends.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_the_cache_and_nothing_else() {
    let scene = Scene::new();
    fs::create_dir(scene.cache()).expect("a folder");
    let script = "mount -t tmpfs -o size=16k,mode=700 full \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(scene.cache()).arg(build::leasehold());
    command.arg("run").arg(guest("heartbeat")).args(["--identity", "full", "--log-format", "json"]);
    command.arg("--lease-store").arg(format!("file:{}", scene.0.path().join("leases").display()));
    command.args(scene.args());
    let host = HostProcess::spawn("full", command);
    let failed = host.wait_for("words about the disk", |event: &Event| event.name() == "module-cache-failed");
    assert!(failed.message().contains("No space left"), "{failed}");
    host.wait_for("beat", of_guest("beat 2,"));
    assert_count(&host, "failed", 1);
    assert_count(&host, "stored", 0);
    end(host);
}
