//! A folder with a task in some language, and the commands that its README tells.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use leasehold_tests::{
    build::{apart_from_this_cargo, root},
    event_log::Event,
    host_process::{HostProcess, leasehold},
};
use rustix::process::Signal;
use tempfile::TempDir;

/// What a task is written in.
#[derive(Clone, Copy)]
pub(crate) struct Language {
    /// As `leasehold new` and `tests/languages/tools` know it.
    pub(crate) name: &'static str,
    /// Where the work is, in a new project.
    pub(crate) source: &'static str,
    /// What says "spins", and then does, for ever.
    pub(crate) spin: &'static str,
}

pub(crate) const RUST: Language =
    Language { name: "rust", source: "src/lib.rs", spin: r#"println!("spins"); loop { std::hint::spin_loop(); }"# };
pub(crate) const JS: Language =
    Language { name: "js", source: "task.js", spin: r#"console.log("spins"); for (;;) {}"# };
pub(crate) const PYTHON: Language =
    Language { name: "python", source: "task.py", spin: "print('spins', flush=True); exec('while True: pass')" };
pub(crate) const GO: Language = Language { name: "go", source: "main.go", spin: r#"fmt.Println("spins"); for {}"# };
pub(crate) const C: Language =
    Language { name: "c", source: "task.c", spin: r#"puts("spins"); for (volatile int x = 0;; x++) {}"# };

impl Language {
    /// What `leasehold new` makes in `place`, with the tools that it needs.
    pub(crate) fn new_project(self, place: &Path) -> PathBuf {
        let project = place.join("my-task");
        let folder = project.to_str().expect("it is UTF-8");
        let made = leasehold(&["new", folder, "--lang", self.name], &[]);
        assert_eq!(made.code, Some(0), "{made:?}");
        self.link_tools(&project);
        project
    }

    /// Puts into a project what its README has installed by the commands under "Tools": once, into a cache, and
    /// linked from there.
    pub(crate) fn link_tools(self, project: &Path) {
        let output = Command::new(root().join("tests/languages/tools"))
            .arg(self.name)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/languages/tools starts");
        assert!(output.status.success(), "the tools for {} are not here; why is said above", self.name);
        let tools = PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim());
        if self.name == RUST.name {
            // So that what the task is made with is built once.
            fs::create_dir_all(tools.join("target")).expect("the cache can be written");
        }
        for entry in fs::read_dir(&tools).expect("the cache can be read") {
            let entry = entry.expect("the cache can be read");
            symlink(entry.path(), project.join(entry.file_name())).expect("a link");
        }
    }
}

/// Runs the commands under "Build" of the README in `project`. Returns the module that they make.
pub(crate) fn build(project: &Path) -> PathBuf {
    let commands = Command::new(root().join("tests/languages/readme"))
        .arg(project)
        .arg("Build")
        .output()
        .expect("tests/languages/readme starts");
    let commands = String::from_utf8(commands.stdout).expect("a README in UTF-8");
    assert!(!commands.is_empty(), "{} has a README with a section Build", project.display());
    let output = apart_from_this_cargo(&mut Command::new("bash"))
        .args(["-euo", "pipefail", "-c", &commands])
        .current_dir(project)
        // Where CI keeps what it builds; the README's commands know nothing of it.
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    assert!(
        output.status.success(),
        "{commands}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let module = project.join("task.wasm");
    assert!(module.is_file(), "{commands} has made a task.wasm");
    module
}

/// An example of guest-examples, built by its README in a copy of its folder: nothing is left in the checkout.
pub(crate) struct Example {
    pub(crate) module: PathBuf,
    // What it was built in goes with it; Leases of a test may lie in it.
    pub(crate) place: TempDir,
}

impl Example {
    pub(crate) fn build(name: &str, language: Language) -> Self {
        let place = TempDir::new().expect("a folder");
        let (examples, folder) = (root().join("guest-examples"), place.path().join("guest-examples").join(name));
        fs::create_dir_all(&folder).expect("a folder");
        symlink(root().join("wit"), place.path().join("wit")).expect("a link");
        symlink(examples.join("bindings"), place.path().join("guest-examples/bindings")).expect("a link");
        for entry in fs::read_dir(examples.join(name)).expect("the example is there") {
            let entry = entry.expect("the folder can be read");
            // What somebody has built or installed in the checkout is not the example.
            if entry.file_type().expect("it is there").is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
            }
        }
        language.link_tools(&folder);
        Self { module: build(&folder), place }
    }
}

/// Two hosts with the same task, so that the first leads. In a folder's Lease.
pub(crate) fn leader_and_standby(example: &Example, args: &[&str]) -> (HostProcess, HostProcess) {
    let leases = example.place.path().join("leases");
    let args = [&["--lease", "task"], args].concat();
    let leader = HostProcess::run_in_folder("first", &example.module, &leases, &args);
    leader.wait_for_event("guest-started", 1);
    let standby = HostProcess::run_in_folder("second", &example.module, &leases, &args);
    standby.wait_for_event("new-leader", 1);
    (leader, standby)
}

/// Asks the leader to end; its guest stops by itself when it is asked to. Waits until the other's guest runs, and
/// returns both tokens.
pub(crate) fn hand_over(leader: &mut HostProcess, standby: &HostProcess) -> (u64, u64) {
    leader.signal(Signal::TERM);
    assert_eq!(leader.wait().code(), Some(0));
    let said = leader.all_events();
    assert_eq!(outcomes(&said), [("shutdown".to_owned(), "returned".to_owned())]);
    let started = standby.wait_for_event("guest-started", 1);
    let before = said.iter().find(|event| event.name() == "leading").expect("it has led").token();
    assert!(started.token() > before);
    (before, started.token())
}

/// Why each run of the guest was to end, and how it has ended.
fn outcomes(events: &[Event]) -> Vec<(String, String)> {
    let text = |event: &Event, field: &str| event.line[field].as_str().unwrap_or_default().to_owned();
    let stopped = events.iter().filter(|event| event.name() == "guest-stopped");
    stopped.map(|event| (text(event, "reason"), text(event, "outcome"))).collect()
}

/// `leasehold new`: what it makes is built, checked, run, changed, swapped, and ended when it spins.
pub(crate) fn a_new_project_runs_and_is_ended_when_it_spins(language: Language) {
    let place = TempDir::new().expect("a folder");
    let project = language.new_project(place.path());
    let module = build(&project);
    let checked = leasehold(&["check", module.to_str().expect("it is UTF-8")], &[]);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let leases = place.path().join("leases");
    let host = HostProcess::run_in_folder("only", &module, &leases, &["--stop-grace", "2s"]);
    let token = host.wait_for_event("leading", 1).token();
    host.wait_for("second round", |event| event.message() == format!("round 2, token {token}"));

    let source = project.join(language.source);
    let text = fs::read_to_string(&source).expect("the source");
    fs::write(&source, spinning(&text, language.spin)).expect("written");
    build(&project);
    host.wait_for("line of the one that spins", |event| event.message() == "spins");
    // The first one was asked, and stopped by itself.
    host.wait_for("its last words", |event| event.message().starts_with("asked to stop: "));
    host.signal(Signal::TERM);
    ended(host);
}

/// The one that spins does not stop when it is asked to, and is ended all the same; then the Lease is released.
fn ended(mut host: HostProcess) {
    assert_eq!(host.wait().code(), Some(0));
    let said = host.all_events();
    let outcomes = outcomes(&said);
    let outcomes: Vec<_> = outcomes.iter().map(|(reason, outcome)| (reason.as_str(), outcome.as_str())).collect();
    assert_eq!(outcomes, [("module-replaced", "returned"), ("shutdown", "stopped")]);
    let at = |name| said.iter().rposition(|event| event.name() == name).expect("it happened");
    assert!(at("guest-stopped") < at("released"));
}

/// The source with what spins in the place of the work.
fn spinning(source: &str, spin: &str) -> String {
    let work = source.lines().find(|line| line.contains("The work comes here")).expect("a line that says where");
    let indentation = &work[..work.len() - work.trim_start().len()];
    source.replace(work, &format!("{indentation}{spin}"))
}
