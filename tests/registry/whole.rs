//! From `leasehold push` to the task that runs, through the real registry.

use std::fs;

use leasehold_tests::build::guest;
use rustix::process::Signal;

use super::{
    assert_beats_on, assert_not_run, assert_refused, check,
    cosign::{Keys, text},
    digest_of,
    distribution::{Distribution, Options, docker_config},
    host, pushed,
};

const PLAIN: &str = "--plain-http";

#[test]
fn a_tag_that_moves_takes_the_task_along_and_a_registry_that_is_down_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = Distribution::start(Options::default());
    let module = registry.module("tasks/nightly:1");
    let first = pushed("heartbeat", &module, &[PLAIN], &[]);
    assert!(first.starts_with(&format!("{module}@sha256:")), "{first}");
    let host = host("only", &module, folder.path(), &[PLAIN]);
    let begun = host.wait_for_event("guest-started", 1);

    // Pushed again it is the same, to the last byte of its manifest.
    assert_eq!(pushed("heartbeat", &module, &[PLAIN], &[]), first);
    let second = pushed("parked", &module, &[PLAIN], &[]);
    assert_ne!(first, second);
    assert_eq!(host.wait_for_event("module-swapped", 1).line["digest"], digest_of("parked"));
    assert_eq!(host.wait_for_event("guest-started", 2).token(), begun.token());
    pushed("heartbeat", &module, &[PLAIN], &[]);
    host.wait_for_event("module-swapped", 2);

    registry.stop();
    let unavailable = host.wait_for_event("module-source-unavailable", 1);
    assert!(unavailable.message().contains("is not reached"), "{}", unavailable.message());
    assert_beats_on(&host);
    registry.start_again();
    pushed("parked", &module, &[PLAIN], &[]);
    host.wait_for_event("module-swapped", 3);
    assert_eq!(host.count("module-rejected"), 0);

    // What was pushed is there by its digest, whatever became of the tag.
    let said = check(&first, &[PLAIN], &[]);
    assert!(said.code == Some(0) && said.stdout.contains(&digest_of("heartbeat")), "{said:?}");
}

#[test]
fn a_host_starts_with_what_its_registry_had_last_while_that_is_down() {
    let [leases, cache] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let mut registry = Distribution::start(Options::default());
    let module = registry.module("tasks/nightly:1");
    pushed("heartbeat", &module, &[PLAIN], &[]);
    let args = [PLAIN, "--cache", cache.path().to_str().expect("UTF-8")];
    let mut first = host("first", &module, leases.path(), &args);
    first.wait_for_event("guest-started", 1);
    first.wait_until("that it is remembered", |_| {
        let names = fs::read_dir(cache.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        names.into_iter().find(|name| name.to_string_lossy().ends_with(".source"))
    });
    registry.stop();

    let second = host("second", &module, leases.path(), &args);
    let last_known = second.wait_for_event("module-last-known", 1);
    assert!(last_known.message().contains("is not reached"), "{}", last_known.line);
    assert_eq!(second.wait_for_event("module-loaded", 1).line["digest"], digest_of("heartbeat"));
    first.signal(Signal::INT);
    first.wait();
    second.wait_for_event("guest-started", 1);
    second.wait_for_event("module-source-unavailable", 1);
    assert_beats_on(&second);

    // Of another tag, or where somebody has to have signed it, that says nothing.
    let keys = Keys::generate();
    let key = keys.public();
    let (other_tag, signed) = (registry.module("tasks/nightly:2"), [&args[..], &["--cosign-key", text(&key)]].concat());
    for (module, args) in [(&other_tag, &args[..]), (&module, &signed)] {
        let store = format!("file:{}", leases.path().display());
        let said = super::leasehold(&[&["run", module, "--lease-store", &store], args].concat(), &[]);
        assert_refused(&said, 1, &["is not reached"]);
    }

    registry.start_again();
    pushed("parked", &module, &[PLAIN], &[]);
    assert_eq!(second.wait_for_event("module-swapped", 1).line["digest"], digest_of("parked"));
}

#[test]
fn with_tls_and_a_password_both_have_to_be_right() {
    let registry = Distribution::start(Options { tls: true, password: true });
    let module = registry.module("tasks/nightly");
    let authority = registry.authority();
    let ca = ["--registry-ca-file", authority.to_str().expect("UTF-8")];
    let right = docker_config(&registry, "user", "password");
    let right = [("DOCKER_CONFIG", right.path().to_str().expect("UTF-8"))];
    let wrong = docker_config(&registry, "user", "another");
    let wrong = [("DOCKER_CONFIG", wrong.path().to_str().expect("UTF-8"))];

    let first = pushed("parked", &module, &ca, &right);
    assert!(first.starts_with(&format!("{module}:latest@sha256:")), "{first}");
    assert_eq!(check(&module, &ca, &right).code, Some(0));
    assert_refused(&check(&module, &ca, &wrong), 1, &["401", "it was given those of", "config.json"]);
    assert_refused(
        &check(&module, &ca, &[]),
        1,
        &["the registry wants to know who asks", "it was given no credentials"],
    );
    assert_refused(&check(&module, &[], &right), 1, &["is not reached", "certificate"]);
    assert_refused(&check(&module, &[PLAIN], &right), 1, &["400"]);
    let file = guest("parked");
    let said = super::leasehold(&[&["push", file.to_str().expect("UTF-8"), &module], &ca[..]].concat(), &wrong);
    assert_refused(&said, 1, &["is not pushed", "401"]);
}

#[test]
fn a_digest_of_the_config_is_of_the_module_and_that_of_a_reference_of_the_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Distribution::start(Options::default());
    let module = registry.module("tasks/nightly:1");
    let pushed = pushed("parked", &module, &[PLAIN], &[]);
    let config = |module: &str, more: &str| {
        let leases = folder.path().join("leases");
        let text = format!(
            "leaseStore: file:{}\ntasks:\n- name: task\n  module: {module}\n  registry: {{plainHttp: true, poll: 1s}}\n{more}",
            leases.display()
        );
        let path = folder.path().join("host.yaml");
        fs::write(&path, text).expect("written");
        path
    };
    let run = |path: &std::path::Path| super::leasehold(&["run", "--config", path.to_str().expect("UTF-8")], &[]);
    let other = digest_of("heartbeat");
    let pinned = config(&pushed, &format!("  digest: {other}\n"));
    assert_not_run(&pinned, &[&format!("its digest is {}", digest_of("parked")), &other]);
    let absent = format!("{module}@sha256:{}", "0".repeat(64));
    assert_not_run(&config(&absent, ""), &["there is no", "knows no such artifact"]);
    // What nobody would check is a mistake.
    let path = guest("parked");
    let said = run(&config(path.to_str().expect("UTF-8"), ""));
    assert_refused(&said, 2, &["line 3", "what is said of a registry"]);
}
