//! A registry that hangs, serves wrong bytes, answers 429, redirects, sends too much: a task that runs goes on, and a
//! host that waits for it is neither held up nor filled.

use std::{
    io,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use flate2::write::GzEncoder;
use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::HostProcess,
    process_use::ProcessUse,
};
use rustix::process::Signal;
use serde_json::json;

use super::{
    artifact::{Artifact, WASM_TYPE},
    assert_beats_on, assert_refused, check, digest_of, host,
    scripted::{BASIC, Mood, Scripted, TOKEN},
};

const PLAIN: &str = "--plain-http";

fn module(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).expect("it was built")
}

/// A registry with `heartbeat`, and a host that runs it.
fn running(folder: &std::path::Path) -> (Scripted, HostProcess) {
    let registry = Scripted::start();
    registry.put("1", &Artifact::of(&module("heartbeat")));
    let host = host("only", &registry.module("1"), folder, &[PLAIN]);
    host.wait_for_event("guest-output", 1);
    (registry, host)
}

fn assert_unavailable(host: &HostProcess, count: usize, says: &str) {
    let unavailable = host.wait_for_event("module-source-unavailable", count);
    assert!(unavailable.message().contains(says), "no {says:?} in: {}", unavailable.message());
    assert_eq!(host.count("module-rejected"), 0, "the module has done nothing wrong");
}

#[test]
fn a_registry_that_hangs_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, mut host) = running(folder.path());
    registry.set(Mood::Hangs);
    let asked = registry.seen().len();
    registry.wait_for("another request", |seen| (seen.len() > asked).then_some(()));
    assert_beats_on(&host);
    assert_unavailable(&host, 1, "has not answered for 30s");
    assert_beats_on(&host);
    host.signal(Signal::TERM);
    let begun = Instant::now();
    assert_eq!(host.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "its end has waited for a registry: {:?}", begun.elapsed());
}

#[test]
fn a_module_that_stops_coming_in_the_middle_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, host) = running(folder.path());
    registry.set(Mood::HangsInBlob);
    registry.put("1", &Artifact::of(&module("parked")));
    assert_unavailable(&host, 1, "nothing more has come for 30s");
    registry.set(Mood::Well);
    host.wait_for_event("module-swapped", 1);
}

#[test]
fn wrong_bytes_are_not_run_and_right_ones_are_when_they_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, host) = running(folder.path());
    registry.set(Mood::WrongBytes);
    registry.put("1", &Artifact::of(&module("parked")));
    assert_unavailable(&host, 1, "gives wrong bytes");
    assert_beats_on(&host);
    assert_eq!(host.count("module-loaded"), 1);
    registry.set(Mood::Well);
    assert_eq!(host.wait_for_event("module-swapped", 1).line["digest"], digest_of("parked"));
}

#[test]
fn a_registry_that_was_asked_too_often_is_left_alone_for_as_long_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, host) = running(folder.path());
    registry.set(Mood::AskedTooOften(5));
    assert_unavailable(&host, 1, "answers 429 Too Many Requests (it was asked too often; next in 5s)");
    let asked = registry.seen().len();
    let next = registry.wait_for("the next request", |seen| seen.get(asked).map(|seen| seen.at));
    let waited = next - registry.seen()[asked - 1].at;
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert_beats_on(&host);
    registry.set(Mood::Well);
    registry.put("1", &Artifact::of(&module("parked")));
    host.wait_for_event("module-swapped", 1);
}

#[test]
fn a_registry_that_fails_is_asked_less_and_less() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, host) = running(folder.path());
    let before = registry.seen().len();
    registry.set(Mood::Fails(StatusCode::BAD_GATEWAY));
    assert_unavailable(&host, 1, "it answers 502 Bad Gateway");
    let times: Vec<_> = registry.wait_for("four requests", |seen| {
        let failed: Vec<_> = seen[before..].iter().map(|seen| seen.at).collect();
        (failed.len() >= 5).then_some(failed)
    });
    // Waits of 2, 4, 8 s, each half as much more or less; the first of these may have been a good one.
    let [.., second, third, fourth] = times[..] else { panic!("{times:?}") };
    assert!(fourth - third > Duration::from_secs(3) && third - second > Duration::from_millis(1500), "{times:?}");
    assert_beats_on(&host);
}

#[test]
fn a_registry_that_is_down_at_the_start_is_asked_again_soon_and_holds_up_no_other_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Scripted::start();
    registry.put("1", &Artifact::of(&module("heartbeat")));
    registry.set(Mood::Fails(StatusCode::BAD_GATEWAY));
    let config = folder.path().join("host.yaml");
    // So that what it waits for is no poll.
    let text = format!(
        "leaseStore: file:{}\ntasks:\n- {{name: other, module: {}}}\n- name: task\n  module: {}\n  \
         registry: {{plainHttp: true, poll: 24h}}\n",
        folder.path().join("leases").display(),
        guest("parked").display(),
        registry.module("1"),
    );
    std::fs::write(&config, text).expect("written");
    let mut command = std::process::Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let host = HostProcess::spawn("only", command);
    let started =
        |task: &'static str| move |event: &Event| event.name() == "guest-started" && event.line["task"] == task;
    host.wait_for("start of the other task", started("other"));
    let asked = registry.seen().len();
    registry.wait_for("another request", |seen| (seen.len() > asked).then_some(()));
    registry.set(Mood::Well);
    host.wait_for("start of the task", started("task"));
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (registry, elsewhere) = (Scripted::start(), Scripted::start());
    let artifact = Artifact::of(&module("parked"));
    registry.put("1", &artifact);
    elsewhere.put("1", &artifact);
    let docker = docker_config(&registry, "dXNlcjpwYXNzd29yZA==");
    let env = [("DOCKER_CONFIG", docker.path().to_str().expect("UTF-8"))];
    registry.set(Mood::RedirectsBlobs(elsewhere.url()));
    let said = check(&registry.module("1"), &[PLAIN], &env);
    assert_eq!(said.code, Some(0), "{said:?}");
    // Nor where that one asks for them, or names somebody else to show them to.
    for mood in [Mood::WantsPassword, Mood::WantsToken] {
        elsewhere.set(mood);
        assert_refused(&check(&registry.module("1"), &[PLAIN], &env), 1, &["get blob", "401"]);
    }
    let seen = elsewhere.seen();
    assert_eq!(seen.iter().filter(|seen| seen.path.contains("/blobs/")).count(), 3, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.authorization.is_none() && seen.path != "/token"), "{seen:?}");
    let shown = registry.seen().iter().filter(|seen| seen.authorization.as_deref() == Some(BASIC)).count();
    assert!(shown > 0, "the registry itself was shown them");
}

#[test]
fn a_token_is_asked_for_where_the_registry_says_and_shown_to_it() {
    let registry = Scripted::start();
    registry.put("1", &Artifact::of(&module("parked")));
    registry.set(Mood::WantsToken);
    let docker = docker_config(&registry, "dXNlcjpwYXNzd29yZA==");
    let env = [("DOCKER_CONFIG", docker.path().to_str().expect("UTF-8"))];
    let said = check(&registry.module("1"), &[PLAIN], &env);
    assert_eq!(said.code, Some(0), "{said:?}");
    let tokens = registry.seen().iter().filter(|seen| seen.path == "/token").count();
    assert_eq!(tokens, 1, "one does for all requests: {:?}", registry.seen());

    let wrong = docker_config(&registry, "dXNlcjp3cm9uZw==");
    let env = [("DOCKER_CONFIG", wrong.path().to_str().expect("UTF-8"))];
    assert_refused(&check(&registry.module("1"), &[PLAIN], &env), 1, &["a token of 127.0.0.1", "401", "config.json"]);
    assert_refused(&check(&registry.module("1"), &[PLAIN], &[]), 1, &["it was given no credentials"]);
}

#[test]
fn credentials_are_in_nothing_that_a_host_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Scripted::start();
    registry.put("1", &Artifact::of(&module("heartbeat")));
    registry.set(Mood::WantsToken);
    let auth = BASIC.trim_start_matches("Basic ");
    let docker = docker_config(&registry, auth);
    let mut command = std::process::Command::new(build::leasehold());
    command.env("DOCKER_CONFIG", docker.path()).args(["run", &registry.module("1"), PLAIN]);
    command.args(["--lease-store", &format!("file:{}", folder.path().display())]);
    command.args(["--lease", "task", "--poll", "1s", "--log-level", "trace", "--log-format", "json"]);
    let mut host = HostProcess::spawn("only", command);
    host.wait_for_event("guest-output", 1);
    // Refused, failed, and sent elsewhere.
    registry.set(Mood::Fails(StatusCode::UNAUTHORIZED));
    host.wait_for_event("module-source-unavailable", 1);
    registry.put("1", &Artifact::of(&module("parked")));
    registry.set(Mood::WantsPassword);
    host.wait_for_event("module-swapped", 1);
    let shown = |what: &str| registry.seen().iter().any(|seen| seen.authorization.as_deref() == Some(what));
    assert!(shown(BASIC) && shown(&format!("Bearer {TOKEN}")), "they were used");
    host.kill();
    let log: Vec<_> = host.all_events().iter().map(|event| event.line.to_string()).collect();
    for secret in [auth, TOKEN] {
        let lines: Vec<_> = log.iter().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret} in {lines:?}");
    }
}

/// Docker's config with credentials for this registry.
fn docker_config(registry: &Scripted, auth: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let host = registry.url().trim_start_matches("http://").to_owned();
    let config = json!({"auths": {host: {"auth": auth}}}).to_string();
    std::fs::write(folder.path().join("config.json"), config).expect("written");
    folder
}

/// A gibibyte of zeros, in a megabyte.
fn bomb() -> Vec<u8> {
    let mut bomb = GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::copy(&mut io::Read::take(io::repeat(0), 1 << 30), &mut bomb).expect("in memory");
    bomb.finish().expect("in memory")
}

#[test]
fn a_zip_bomb_is_refused_and_does_not_fill_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, host) = running(folder.path());
    let bomb = bomb();
    assert!(bomb.len() < 2 << 20, "{}", bomb.len());
    registry.put("1", &Artifact::of(&bomb));
    let rejected = host.wait_for_event("module-rejected", 1);
    assert!(rejected.message().contains("expand to more than 64.0 MiB"), "{}", rejected.message());
    assert_beats_on(&host);
    // The most that it has ever had; of the gibibyte, the bound is kept twice while it grows.
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    let now = ProcessUse::of(host.id()).expect("it runs").resident_bytes / 1024;
    assert!(peak < 400 << 10, "{peak} kB at most, {now} kB now");

    let file = folder.path().join("bomb.wasm");
    std::fs::write(&file, &bomb).expect("written");
    let said = check(file.to_str().expect("UTF-8"), &[], &[]);
    assert_refused(&said, 2, &["gzip", "expand to more than 64.0 MiB"]);
}

#[test]
fn compressed_modules_have_the_digest_of_what_they_expand_to() {
    let registry = Scripted::start();
    let bytes = module("parked");
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut gzip, &bytes).expect("in memory");
    let gzip = gzip.finish().expect("in memory");
    registry.put("gzip", &Artifact::of(&gzip));
    registry.put("typed", &Artifact::with_layers(&[("application/wasm+gzip", &gzip), ("text/plain", b"notes")]));
    let digest = digest_of("parked");
    for tag in ["gzip", "typed"] {
        let said = check(&registry.module(tag), &[PLAIN], &[]);
        assert!(said.code == Some(0) && said.stdout.contains(&digest), "{said:?}");
    }
    registry.put("cut", &Artifact::of(&gzip[..gzip.len() / 2]));
    assert_refused(&check(&registry.module("cut"), &[PLAIN], &[]), 2, &["gzip", "cut off or damaged"]);
}

#[test]
fn what_is_too_large_is_not_fetched_and_what_does_not_end_is_not_kept() {
    let registry = Scripted::start();
    let parked = Artifact::of(&module("parked"));
    registry.put("large", &parked.clone().whose_layer("size", json!(65 << 20)));
    assert_refused(&check(&registry.module("large"), &[PLAIN], &[]), 2, &["65.0 MiB", "more than 64.0 MiB"]);
    let blobs = registry.seen().iter().filter(|seen| seen.path.contains("/blobs/")).count();
    assert_eq!(blobs, 0, "what it says of itself is enough");
    registry.put("1", &parked);
    registry.set(Mood::EndlessBlob);
    assert_refused(&check(&registry.module("1"), &[PLAIN], &[]), 1, &["gives wrong bytes"]);
    registry.set(Mood::EndlessManifest);
    assert_refused(&check(&registry.module("1"), &[PLAIN], &[]), 2, &["get manifest", "more than 4.0 MiB"]);
}

#[test]
fn what_is_no_module_says_what_it_is() {
    let registry = Scripted::start();
    let image = "application/vnd.oci.image.layer.v1.tar+gzip";
    registry.put("image", &Artifact::with_layers(&[(image, b"a")]));
    let said = check(&registry.module("image"), &[PLAIN], &[]);
    assert_refused(&said, 2, &["no layer `application/wasm`", image, "`leasehold push`"]);
    registry.put("two", &Artifact::with_layers(&[(WASM_TYPE, b"a"), (WASM_TYPE, b"b")]));
    assert_refused(&check(&registry.module("two"), &[PLAIN], &[]), 2, &["2 layers"]);
    registry.put("text", &Artifact::of(b"hello"));
    assert_refused(&check(&registry.module("text"), &[PLAIN], &[]), 2, &["it is not WebAssembly"]);
    assert_refused(&check(&registry.module("none"), &[PLAIN], &[]), 2, &["there is no", "tasks/nightly:none"]);
    registry.set(Mood::Fails(StatusCode::SERVICE_UNAVAILABLE));
    assert_refused(&check(&registry.module("text"), &[PLAIN], &[]), 1, &["get manifest", "503", "it is not well"]);
    // Never without TLS unless it is said, on this machine either.
    assert_refused(&check(&registry.module("text"), &[], &[]), 1, &["is not reached"]);
}

#[test]
fn a_digest_is_fetched_once_and_not_looked_at_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Scripted::start();
    let artifact = Artifact::of(&module("heartbeat"));
    registry.put("1", &artifact);
    let pinned = format!("{}@{}", registry.module("1"), artifact.digest());
    let by_digest = host("digest", &pinned, folder.path(), &[PLAIN]);
    let leases = folder.path().join("of-the-other");
    let by_tag = host("tag", &registry.module("1"), &leases, &[PLAIN]);
    by_digest.wait_for_event("guest-output", 1);
    by_tag.wait_for_event("guest-output", 1);
    registry.put("1", &Artifact::of(&module("parked")));
    by_tag.wait_for_event("module-swapped", 1);
    assert_beats_on(&by_digest);
    assert_eq!(by_digest.count("module-loaded"), 1);
    let asked = registry.seen().iter().filter(|seen| seen.path.ends_with(&artifact.digest())).count();
    assert_eq!(asked, 1, "{:?}", registry.seen());
    // A poll that finds nothing new is one HEAD.
    let polls = registry.seen().len();
    let seen = registry.wait_for("three polls", |seen| (seen.len() > polls + 2).then(|| seen[polls..].to_vec()));
    assert!(seen.iter().all(|seen| seen.method == "HEAD"), "{seen:?}");
}
