//! Modules in OCI registries: the real one (distribution), signatures of the real cosign, the real API server; and a
//! registry that does whatever one can do wrong.

mod artifact;
mod cosign;
mod distribution;
mod push;
mod scripted;
mod signed;
mod trouble;
mod whole;

use std::path::Path;

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, Said, leasehold},
};

/// A host that runs this artifact, with a Lease in `folder`.
fn host(name: &str, module: &str, folder: &Path, args: &[&str]) -> HostProcess {
    HostProcess::run_in_folder(name, module.as_ref(), folder, &with_lease(args))
}

fn with_lease<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["--lease", "task", "--env", "BEAT_MS=20", "--poll", "1s"], args].concat()
}

/// `leasehold push`, which has to succeed; the reference that it prints.
fn pushed(guest_name: &str, to: &str, args: &[&str], env: &[(&str, &str)]) -> String {
    let file = guest(guest_name);
    let said = leasehold(&[&["push", file.to_str().expect("UTF-8"), to], args].concat(), env);
    assert_eq!(said.code, Some(0), "{said:?}");
    let module = said.stdout.lines().find_map(|line| line.strip_prefix("module: ")).expect("a reference");
    let digest = format!("digest: {}", digest_of(guest_name));
    assert!(said.stdout.lines().any(|line| line == digest), "no {digest}: {said:?}");
    module.to_owned()
}

/// `leasehold check`
fn check(module: &str, args: &[&str], env: &[(&str, &str)]) -> Said {
    leasehold(&[&["check", module], args].concat(), env)
}

/// A host with this config says of a module that it is not to be run, and waits for another.
#[track_caller]
fn assert_not_run(config: &Path, says: &[&str]) {
    let mut command = std::process::Command::new(leasehold_tests::build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(config);
    let host = HostProcess::spawn("only", command);
    let rejected = host.wait_for_event("module-rejected", 1);
    for says in says {
        assert!(rejected.message().contains(says), "no {says:?} in: {}", rejected.message());
    }
    assert_eq!(host.count("guest-started"), 0);
}

/// It ended with this code, and has said all of this.
#[track_caller]
fn assert_refused(said: &Said, code: i32, says: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    for says in says {
        assert!(said.stderr.contains(says), "no {says:?} in: {}", said.stderr);
    }
}

fn digest_of(guest_name: &str) -> String {
    leasehold::guest::module::digest(&std::fs::read(guest(guest_name)).expect("it was built")).to_string()
}

/// Waits until the host has printed more of its guest's lines than it has by now.
fn assert_beats_on(host: &HostProcess) {
    let so_far = host.count("guest-output");
    host.wait_until("beat", |events| {
        (events.iter().filter(|event| event.name() == "guest-output").count() > so_far + 3).then_some(())
    });
}
