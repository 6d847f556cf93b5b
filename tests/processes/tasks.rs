//! `/tasks` on the admin address: each task of a host as it is.

use std::{fs, time::Instant};

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, PATIENCE},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LEASE, config_map::get, folder::of_guest};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// The only task, as `/tasks` has it.
fn task(host: &HostProcess) -> Value {
    let (status, body) = get(host, "/tasks");
    assert_eq!(status, 200, "{body}");
    let all: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(all["tasks"].as_array().map(Vec::len), Some(1), "{all}");
    all["tasks"][0].clone()
}

/// The same, once `is` takes it.
fn task_when(host: &HostProcess, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let task = task(host);
        if is(&task) {
            return task;
        }
        assert!(begun.elapsed() < PATIENCE, "no {what}: {task:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_leader_and_its_standby_show_who_leads_since_when_and_for_how_long_that_is_certain() {
    let folder = TempDir::new().expect("a folder");
    let run = |name| HostProcess::run_in_folder(name, &guest("counter"), folder.path(), &[&LEASE[..], &ADMIN].concat());
    let mut first = run("first");
    let started = first.wait_for_event("guest-started", 1);
    let leads = task_when(&first, "checkpoint", |task| task["checkpointBytes"].is_u64());
    let (identity, digest) = (&started.line["identity"], &started.line["digest"]);
    assert_eq!(
        (&leads["name"], &leads["lease"], &leads["namespace"]),
        (&json!("counter"), &json!("counter"), &json!("default"))
    );
    assert_eq!((&leads["role"], &leads["holder"], &leads["identity"]), (&json!("leading"), identity, identity));
    assert_eq!((&leads["term"]["token"], &leads["run"]["token"]), (&started.line["token"], &started.line["token"]));
    assert_eq!((&leads["module"]["running"], &leads["module"]["ready"]), (digest, digest));
    let certain = leads["certainForSeconds"].as_f64().expect("a time");
    assert!(certain > 0.0 && certain < 6.0, "a lease of 6 s is certain for {certain}");
    let begun = leads["term"]["since"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    assert!(begun.is_some_and(|begun| begun.as_microsecond() <= started.at_micros), "{leads}");
    assert_eq!([&leads["module"]["rejected"], &leads["waitsFor"], &leads["holderUnsure"]], [&Value::Null; 3]);

    let second = run("second");
    second.wait_for_event("new-leader", 1);
    let stands = task_when(&second, "checkpoint", |task| task["checkpointBytes"].is_u64());
    assert_eq!((&stands["role"], &stands["holder"]), (&json!("standby"), identity));
    assert_eq!(
        [&stands["term"], &stands["run"], &stands["certainForSeconds"], &stands["module"]["running"]],
        [&Value::Null; 4]
    );
    assert_eq!(&stands["module"]["ready"], digest);

    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    let leads = task_when(&second, "term", |task| task["role"] == "leading" && task["run"].is_object());
    assert_eq!(leads["holder"], leads["identity"]);
    assert!(leads["term"]["token"].as_u64() > started.line["token"].as_u64());
}

#[test]
fn a_module_that_was_refused_is_shown_with_the_reason_beside_the_one_that_runs() {
    let (folder, modules) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let module = modules.path().join("task.wasm");
    fs::copy(guest("reports-progress"), &module).expect("a copy");
    let args = [&LEASE[..], &ADMIN, &["--env", "PAUSE_MS=50"]].concat();
    let host = HostProcess::run_in_folder("only", &module, folder.path(), &args);
    let first = host.wait_for_event("guest-started", 1).line["digest"].clone();
    let told = task_when(&host, "progress", |task| task["progress"].is_object());
    assert!(told["progress"]["message"].as_str().is_some_and(|message| message.starts_with("item ")), "{told}");

    fs::write(&module, b"\0asm, but not really").expect("written");
    let rejected = host.wait_for_event("module-rejected", 1);
    let told = task_when(&host, "rejection", |task| task["module"]["rejected"].is_object());
    assert_eq!(told["module"]["rejected"]["digest"], rejected.line["digest"]);
    let why = told["module"]["rejected"]["why"].as_str().expect("words");
    assert!(!why.is_empty() && rejected.message().contains(why), "{why}");
    assert_eq!((&told["module"]["running"], &told["module"]["ready"]), (&first, &first));
    assert_eq!(told["pastRuns"], json!([]));

    fs::copy(guest("parked"), modules.path().join("next.wasm")).expect("a copy");
    fs::rename(modules.path().join("next.wasm"), &module).expect("renamed");
    host.wait_for("line of the new guest", of_guest("parked"));
    let told = task(&host);
    let [ended] = &told["pastRuns"].as_array().expect("a list")[..] else { panic!("one run has ended: {told}") };
    assert_eq!(
        (&ended["digest"], &ended["reason"], &ended["outcome"]),
        (&first, &json!("module-replaced"), &json!("returned"))
    );
    assert!(ended["stopMillis"].is_f64() && ended["detail"].is_null(), "{ended}");
    assert!(told["module"]["running"] != first && told["module"]["running"] == told["module"]["ready"], "{told}");
    assert_eq!(told["term"]["token"], ended["token"], "a swap stays within the term");
}

#[test]
fn runs_that_failed_are_shown_with_what_they_said() {
    let folder = TempDir::new().expect("a folder");
    let host =
        HostProcess::run_in_folder("only", &guest("returns-error"), folder.path(), &[&LEASE[..], &ADMIN].concat());
    host.wait_for_event("guest-stopped", 2);
    let told = task_when(&host, "failed runs", |task| task["pastRuns"].as_array().is_some_and(|runs| runs.len() >= 2));
    let failed = &told["pastRuns"][0];
    assert_eq!(failed["outcome"], "error");
    assert!(failed["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{failed}");
    assert!(failed["since"].as_str() <= failed["until"].as_str());
}
