//! Whom modules are trusted from: signatures of the real cosign, in the real registry.

use std::fs;

use super::{
    assert_beats_on, assert_not_run, assert_refused, check,
    cosign::{Form, Keys, text},
    digest_of,
    distribution::{Distribution, Options},
    host, pushed,
};

const PLAIN: &str = "--plain-http";

#[test]
fn what_is_signed_with_the_key_is_taken_in_either_form_and_nothing_else_is() {
    let registry = Distribution::start(Options::default());
    let (trusted, other) = (Keys::generate(), Keys::generate());
    let (key, other_key) = (trusted.public(), other.public());
    let checked = |module: &str| check(module, &[PLAIN, "--cosign-key", text(&key)], &[]);
    for (form, name) in [(Form::Bundle, "tasks/bundle:1"), (Form::Tag, "tasks/tag:1")] {
        let module = pushed("parked", &registry.module(name), &[PLAIN], &[]);
        assert_refused(&checked(&module), 2, &["is not signed", "cosign sign --key"]);
        other.sign(&module, form);
        assert_refused(&checked(&module), 2, &["is not signed with the key that is trusted", "by another key"]);
        trusted.sign(&module, form);
        let said = checked(&module);
        assert!(said.code == Some(0) && said.stdout.contains(&digest_of("parked")), "{form:?}: {said:?}");
        assert!(said.stdout.contains("signed    with the key"), "{said:?}");
        // Both have signed it.
        assert_eq!(check(&module, &[PLAIN, "--cosign-key", text(&other_key)], &[]).code, Some(0), "{form:?}");
    }
    // A statement by the right key that something is wrong with it is no signature.
    let module = pushed("parked", &registry.module("tasks/attested:1"), &[PLAIN], &[]);
    trusted.attest(&module);
    assert_refused(&checked(&module), 2, &["is not signed"]);
}

#[test]
fn a_module_that_is_not_signed_never_replaces_one_that_is_until_it_is_signed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Distribution::start(Options::default());
    let keys = Keys::generate();
    let module = registry.module("tasks/nightly:1");
    keys.sign(&pushed("heartbeat", &module, &[PLAIN], &[]), Form::Bundle);
    let key = keys.public();
    let host = host("only", &module, folder.path(), &[PLAIN, "--cosign-key", text(&key)]);
    host.wait_for_event("guest-output", 1);
    let unsigned = pushed("parked", &module, &[PLAIN], &[]);
    let rejected = host.wait_for_event("module-rejected", 1);
    assert!(rejected.message().contains("is not signed"), "{}", rejected.message());
    assert_beats_on(&host);
    assert_eq!(host.count("module-loaded"), 1, "it was compiled, though not signed");
    // It was asked for its manifest and its signature, and for nothing that would be run.
    let layer = digest_of("parked");
    let fetched =
        registry.log().lines().filter(|line| line.contains("http.request.method=GET") && line.contains(&layer)).count();
    assert_eq!(fetched, 0, "it was fetched, though not signed");
    keys.sign(&unsigned, Form::Tag);
    assert_eq!(host.wait_for_event("module-swapped", 1).line["digest"], digest_of("parked"));
}

#[test]
fn the_key_stands_in_the_config_or_in_a_file_of_its_own_and_is_a_key() {
    let registry = Distribution::start(Options::default());
    let keys = Keys::generate();
    let folder = tempfile::tempdir().expect("a folder");
    let module = pushed("parked", &registry.module("tasks/nightly:1"), &[PLAIN], &[]);
    let config = folder.path().join("host.yaml");
    let with = |key: &str| {
        let leases = folder.path().join("leases");
        let written = format!(
            "leaseStore: file:{}\ntasks:\n- name: task\n  module: {module}\n  registry: {{plainHttp: true}}\n  \
             verify:\n    cosignKey: {key}\n",
            leases.display()
        );
        fs::write(&config, written).expect("written");
    };
    let run = |key: &str| {
        with(key);
        super::leasehold(&["run", "--config", text(&config)], &[])
    };
    let inline = format!("|\n      {}\n", keys.public_pem().trim().replace('\n', "\n      "));
    for key in [&inline, text(&keys.public())] {
        with(key);
        assert_not_run(&config, &["is not signed"]);
    }
    let private = folder.path().join("private");
    fs::write(&private, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n").expect("written");
    assert_refused(&run(text(&private)), 2, &["it is a private key"]);
    assert_refused(&run("/nonexistent/cosign.pub"), 2, &["cannot read the cosign key /nonexistent/cosign.pub"]);
    assert_refused(&run("\"\""), 2, &["line 7", "expected a file"]);
}
