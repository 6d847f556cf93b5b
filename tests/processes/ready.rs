//! A task competes when it could run its module at once; one that has none waits for it, and the others run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LEASE, cluster::Cluster, config_map::get, folder::of_guest};

struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A host with these tasks: name, module, what else there is to say.
    fn host(&self, name: &str, tasks: &[(&str, &Path, &str)]) -> HostProcess {
        let leases = self.path("leases");
        let mut text = format!("leaseStore: file:{}\nidentity: {name}\nadmin: 127.0.0.1:0\ntasks:\n", leases.display());
        for (task, module, more) in tasks {
            text += &format!("- {{name: {task}, module: {}, env: {{BEAT_MS: '20'}}{more}}}\n", module.display());
        }
        self.host_with(name, &text, &[])
    }

    fn host_with(&self, name: &str, config_text: &str, env: &[(&str, &Path)]) -> HostProcess {
        let config = self.path(&format!("{name}.yaml"));
        fs::write(&config, config_text).expect("written");
        let mut command = Command::new(build::leasehold());
        command.args(["run", "--log-format", "json", "--config"]).arg(config).envs(env.iter().copied());
        HostProcess::spawn(name, command)
    }
}

fn of_task(task: &'static str, name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name() == name && event.line["task"] == task
}

/// Waits until `/readyz` answers this, with all of these in it.
fn wait_for_readyz(host: &HostProcess, status: u16, says: &[&str]) {
    let begun = Instant::now();
    loop {
        let answer = get(host, "/readyz");
        if answer.0 == status && says.iter().all(|says| answer.1.contains(says)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not {status} with {says:?}, but {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn replace(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, content).expect("written");
    fs::rename(next, path).expect("renamed");
}

#[test]
fn tasks_without_a_good_module_wait_unready_with_words_and_the_others_run() {
    let scene = Scene::new();
    let good = fs::read(guest("heartbeat")).expect("it was built");
    let (broken, missing, later) =
        (scene.path("broken.wasm"), scene.path("missing.wasm"), scene.path("later/task.wasm"));
    fs::write(&broken, &good[..good.len() / 2]).expect("written");
    let pin = format!(", digest: 'sha256:{}'", "0".repeat(64));
    let mut host = scene.host(
        "host",
        &[
            ("good", &guest("heartbeat"), ""),
            ("broken", &broken, ""),
            ("missing", &missing, ""),
            ("later", &later, ""),
            ("pinned", &guest("heartbeat"), &pin),
        ],
    );
    host.wait_for("beat", of_guest("beat 3,"));
    wait_for_readyz(
        &host,
        503,
        &[
            "good: ready\n",
            "broken: not ready: its module sha256:",
            "is not taken: it is cut off or damaged",
            &format!(
                "missing: not ready: its module is not taken: {} cannot be read: there is no such file",
                missing.display()
            ),
            "later: not ready",
            "pinned: not ready",
            "but the task is pinned to sha256:0000",
        ],
    );
    for task in ["broken", "missing", "later", "pinned"] {
        let competes = of_task(task, "candidate");
        assert!(!host.events().iter().any(competes), "{task} competes");
        let told = host.wait_for("words", of_task(task, "module-rejected"));
        assert!(told.message().contains("the task waits for one that is"), "{told}");
    }

    replace(&broken, &good);
    fs::write(&missing, &good).expect("written");
    fs::create_dir(scene.path("later")).expect("a folder");
    fs::write(&later, &good).expect("written");
    for task in ["broken", "missing", "later"] {
        host.wait_for("start of its guest", of_task(task, "guest-started"));
    }
    wait_for_readyz(&host, 503, &["broken: ready\n", "missing: ready\n", "later: ready\n", "pinned: not ready"]);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0), "one that waits does not keep it from ending");
}

#[test]
fn a_replica_that_starts_while_the_api_server_is_away_waits_for_it() {
    let scene = Scene::new();
    let mut cluster = Cluster::start();
    cluster.plane.stop_api_server().expect("stopped");
    let text = format!(
        "admin: 127.0.0.1:0\ntasks:\n- {{name: task, module: {}, env: {{BEAT_MS: '20'}}}}\n",
        guest("heartbeat").display()
    );
    let mut host = scene.host_with("only", &text, &[("KUBECONFIG", cluster.plane.kubeconfig())]);
    host.wait_for_event("cluster-unavailable", 1);
    wait_for_readyz(&host, 503, &["task: not ready: the cluster does not answer: "]);
    cluster.runtime.block_on(cluster.plane.start_api_server()).expect("started again");
    host.wait_for("beat", of_guest("beat 1,"));
    wait_for_readyz(&host, 200, &["task: ready\n"]);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn in_a_pod_a_broken_module_is_waited_out_and_not_started_over_and_over() {
    let scene = Scene::new();
    let module = scene.path("task.wasm");
    fs::write(&module, "no component").expect("written");
    let mut command = Command::new(build::leasehold());
    command.env("POD_NAME", "pod-1").arg("run").arg(&module).args(["--log-format", "json", "--admin", "127.0.0.1:0"]);
    command.arg("--lease-store").arg(format!("file:{}", scene.path("leases").display()));
    let mut host = HostProcess::spawn("pod", command);
    host.wait_for_event("module-rejected", 1);
    wait_for_readyz(&host, 503, &["task: not ready", "it is not WebAssembly"]);
    assert_eq!(get(&host, "/livez").0, 200);
    assert!(host.is_running() && host.count("candidate") == 0);
    replace(&module, &fs::read(guest("heartbeat")).expect("it was built"));
    host.wait_for("beat", of_guest("beat 1,"));
    wait_for_readyz(&host, 200, &["task: ready\n"]);
}

#[test]
fn a_standby_makes_a_new_module_ready_before_it_is_needed_and_says_what_it_does_not_take() {
    let scene = Scene::new();
    let module = scene.path("task.wasm");
    fs::copy(guest("heartbeat"), &module).expect("a copy");
    let mut leader = scene.host("leader", &[("task", &module, "")]);
    leader.wait_for("beat", of_guest("beat 1,"));
    let standby = scene.host("standby", &[("task", &module, "")]);
    standby.wait_for_event("new-leader", 1);
    let events = standby.events();
    let at = |name: &str| events.iter().position(|event| event.name() == name).expect("it was told");
    assert!(at("module-loaded") < at("candidate"), "it competes with what it could run: {events:?}");

    replace(&module, &fs::read(guest("parked")).expect("it was built"));
    let loaded = standby.wait_for_event("module-loaded", 2);
    wait_for_readyz(&standby, 200, &["task: ready\n"]);
    leader.wait_for("line of the new guest", of_guest("parked"));
    replace(&module, b"\0asm, but not really");
    standby.wait_for_event("module-rejected", 1);
    let runs = loaded.line["digest"].as_str().expect("a digest");
    wait_for_readyz(&standby, 200, &[&format!("task: ready, with {runs}; its module sha256:"), "is not taken"]);
    leader.kill();
    let started = standby.wait_for_event("guest-started", 1);
    assert_eq!(started.line["digest"], runs);
}

/// Written as slowly as somebody might: a part of it is never a module of ours.
#[test]
fn a_module_that_is_written_slowly_in_place_is_taken_when_it_is_whole_and_the_old_one_runs_until_then() {
    use std::io::Write;
    let scene = Scene::new();
    let module = scene.path("task.wasm");
    fs::copy(guest("heartbeat"), &module).expect("a copy");
    let args = [&LEASE[..], &["--env", "BEAT_MS=20"]].concat();
    let host = HostProcess::run_in_folder("only", &module, &scene.path("leases"), &args);
    host.wait_for("beat", of_guest("beat 1,"));
    let next = fs::read(guest("parked")).expect("it was built");
    let mut file = fs::File::create(&module).expect("opened");
    for piece in next.chunks(next.len() / 5) {
        let beats = host.count("guest-output");
        file.write_all(piece).expect("written");
        file.sync_all().expect("on the disk");
        // Longer than anything that only settles would wait.
        host.wait_until("the old one beats on", |events| {
            (events.iter().filter(|event| event.name() == "guest-output").count() >= beats + 20).then_some(())
        });
    }
    drop(file);
    host.wait_for("line of the new guest", of_guest("parked"));
    if cfg!(target_os = "linux") {
        assert_eq!(host.count("module-rejected"), 0, "no part of it was taken for a module");
    }
}

/// Its module is ready, and it never competes.
#[test]
fn a_task_whose_lease_is_anothers_is_not_ready_and_says_so() {
    let scene = Scene::new();
    let module = guest("heartbeat");
    let first = scene.host("first", &[("one", &module, ", lease: {name: shared}")]);
    first.wait_for("its lead", of_task("one", "guest-started"));
    let second = scene.host("second", &[("two", &module, ", lease: {name: shared}"), ("three", &module, "")]);
    second.wait_for("the mistake", of_task("two", "other-task"));
    wait_for_readyz(&second, 503, &["two: not ready: its Lease is marked as another task's", "three: ready\n"]);
    wait_for_readyz(&first, 200, &["one: ready\n"]);
}
