//! Traces, taken by a collector that decodes them as the OpenTelemetry Collector does; and collectors that are dead, or
//! hang.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::{HostProcess, leasehold},
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::prometheus::{get, program};

fn collector(address: &str) -> (HostProcess, String) {
    let mut command = Command::new(program("collector"));
    command.arg(address);
    let collector = HostProcess::spawn("collector", command);
    let address = collector.wait_for_event("listening", 1).line["address"].as_str().expect("an address").to_owned();
    (collector, address)
}

/// A host whose task `task` is at this path, with its spans sent to this address.
fn host(name: &str, module: &Path, folder: &TempDir, collector: &str) -> HostProcess {
    let mut command = Command::new(build::leasehold());
    command.arg("run").arg(module).args(["--name", "task", "--identity", name, "--log-format", "json"]);
    command.args(["--lease-store", &format!("file:{}", folder.path().join("leases").display())]);
    command.args(["--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "500ms"]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-test=a%20header");
    command.env("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=test");
    command.env("OTEL_SERVICE_NAME", "nightly");
    // What OpenTelemetry has as the default, and is not what is sent.
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    HostProcess::spawn(name, command)
}

/// The guest of this name, where a host follows it.
fn put(folder: &TempDir, guest_name: &str) -> PathBuf {
    let (new, module) = (folder.path().join("new"), folder.path().join("task.wasm"));
    fs::copy(guest(guest_name), &new).expect("a copy");
    fs::rename(new, &module).expect("in its place");
    module
}

/// Waits for all spans of the term with this token, to its root's.
fn of_term(collector: &HostProcess, token: u64) -> Vec<Event> {
    let of_term = |event: &&Event| event.line["attributes"]["leasehold.token"] == token;
    collector.wait_until(&format!("end of the term {token}"), |events| {
        let spans: Vec<_> = events.iter().filter(of_term).cloned().collect();
        spans.iter().any(|span| span.line["name"] == "term").then_some(spans)
    })
}

#[track_caller]
fn named<'a>(spans: &'a [Event], name: &str, count: usize) -> Vec<&'a Value> {
    let found: Vec<_> = spans.iter().map(|span| &span.line).filter(|span| span["name"] == name).collect();
    assert_eq!(found.len(), count, "{name} in {spans:#?}");
    found
}

fn metric(host: &HostProcess, series: &str) -> f64 {
    let address = host.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned();
    let metrics = get(&address, "/metrics", "*/*");
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in:\n{metrics}")).parse().expect("a number")
}

const SENT: &str = "leasehold_trace_spans_total{result=\"sent\"}";
const DROPPED: &str = "leasehold_trace_spans_total{result=\"dropped\"}";

#[test]
fn a_term_is_a_trace_of_what_happened_in_it() {
    let folder = TempDir::new().expect("a folder");
    let (collector, address) = collector("127.0.0.1:0");
    let module = put(&folder, "heartbeat");
    let first = host("first", &module, &folder, &address);
    let token = first.wait_for_event("guest-started", 1).token();
    assert!(first.wait_for_event("traces-protocol", 1).message().contains("http/protobuf"));
    let mut second = host("second", &module, &folder, &address);
    second.wait_for_event("new-leader", 1);
    put(&folder, "parked");
    let swapped = first.wait_for_event("module-swapped", 1);
    // Who takes over has to have it, too: else it begins with the one before.
    let new_module = swapped.line["digest"].clone();
    second.wait_for("the new module", |event| event.name() == "module-loaded" && event.line["digest"] == new_module);
    let store = format!("file:{}", folder.path().join("leases").display());
    let said = leasehold(&["step-down", "task", "--lease-store", &store], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let spans = of_term(&collector, token);
    let root = named(&spans, "term", 1)[0];
    let (acquire, start, swap) =
        (named(&spans, "acquire", 1)[0], named(&spans, "start", 1)[0], named(&spans, "swap", 1)[0]);
    let (runs, stops, release) = (named(&spans, "run", 2), named(&spans, "stop", 2), named(&spans, "release", 1)[0]);
    assert_eq!(spans.len(), 9, "{spans:#?}");
    for span in spans.iter().map(|span| &span.line) {
        assert_eq!(span["trace"], root["trace"], "{span}");
        assert!(span["start"].as_i64() <= span["end"].as_i64(), "{span}");
        assert!(root["start"].as_i64() <= span["start"].as_i64(), "{span}");
        assert!(span["end"].as_i64() <= root["end"].as_i64(), "{span}");
        let attributes = &span["attributes"];
        assert_eq!(
            (&attributes["leasehold.task"], &attributes["leasehold.lease"]),
            (&"task".into(), &"default/task".into())
        );
        assert!(
            attributes["leasehold.identity"].as_str().is_some_and(|identity| identity.starts_with("first_")),
            "{span}"
        );
        assert_eq!((&span["kind"], &span["status"]), (&"Internal".into(), &"Unset".into()), "{span}");
        assert_eq!((&span["scope"], &span["header"]), (&"leasehold".into(), &"a header".into()));
        let resource = &span["resource"];
        assert_eq!(
            (&resource["service.name"], &resource["deployment.environment"]),
            (&"nightly".into(), &"test".into())
        );
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        let parent = match span["name"].as_str() {
            Some("term") => "",
            Some("stop") if span["attributes"]["leasehold.digest"] == runs[0]["attributes"]["leasehold.digest"] => {
                runs[0]["id"].as_str().expect("an id")
            }
            Some("stop") => runs[1]["id"].as_str().expect("an id"),
            _ => root["id"].as_str().expect("an id"),
        };
        assert_eq!(span["parent"], parent, "{span}");
    }
    assert_eq!(
        (&root["attributes"]["leasehold.began"], &acquire["attributes"]["leasehold.began"]),
        (&"created".into(), &"created".into())
    );
    assert_eq!(root["attributes"]["leasehold.reason"], "released-asked");
    assert_eq!(
        (&runs[0]["attributes"]["leasehold.reason"], &stops[0]["attributes"]["leasehold.reason"]),
        (&"module-replaced".into(), &"module-replaced".into())
    );
    assert_eq!(
        (&runs[1]["attributes"]["leasehold.reason"], &runs[1]["attributes"]["leasehold.outcome"]),
        (&"stepped-down".into(), &"stopped".into())
    );
    assert_eq!(
        (&swap["attributes"]["leasehold.digest"], &swap["attributes"]["leasehold.digest_before"]),
        (&new_module, &runs[0]["attributes"]["leasehold.digest"])
    );
    assert_eq!(start["attributes"]["leasehold.digest"], runs[0]["attributes"]["leasehold.digest"]);
    assert!(runs[1]["end"].as_i64() <= release["start"].as_i64(), "released before it had stopped: {spans:#?}");

    // The next term is another trace; its last spans come, though the process ends at once.
    let next = second.wait_for_event("guest-started", 1).token();
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
    let spans = of_term(&collector, next);
    let other = named(&spans, "term", 1)[0];
    assert_ne!(other["trace"], root["trace"]);
    assert_eq!(other["attributes"]["leasehold.began"], "free");
    assert_eq!(other["attributes"]["leasehold.reason"], "released-shutdown");
    assert_eq!(named(&spans, "stop", 1)[0]["attributes"]["leasehold.reason"], "shutdown");
    assert_eq!(metric(&first, DROPPED), 0.0);
    assert!(metric(&first, SENT) >= 9.0);
    assert!(second.events_named("traces-unsent").is_empty());
}

#[test]
fn a_lost_term_and_a_failed_run_are_errors() {
    let folder = TempDir::new().expect("a folder");
    let (collector, address) = collector("127.0.0.1:0");
    let fails = host("first", &put(&folder, "returns-error"), &folder, &address);
    let token = fails.wait_for_event("guest-stopped", 1).token();
    fails.signal(Signal::STOP);
    let next = host("second", &folder.path().join("task.wasm"), &folder, &address);
    next.wait_for_event("leading", 1);
    fails.signal(Signal::CONT);
    let spans = of_term(&collector, token);
    let (term, run) =
        (named(&spans, "term", 1)[0], spans.iter().find(|span| span.line["name"] == "run").expect("a run"));
    assert_eq!((&term["status"], &run.line["status"]), (&"Error".into(), &"Error".into()));
    assert_eq!(run.line["attributes"]["leasehold.outcome"], "error");
    assert!(run.line["message"].as_str().is_some_and(|message| !message.is_empty()), "{run}");
    let reason = term["attributes"]["leasehold.reason"].as_str().expect("a reason");
    assert!(["expired", "taken"].contains(&reason), "{reason}");
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_nothing_else_and_is_found_when_it_comes() {
    let folder = TempDir::new().expect("a folder");
    // A port that was free a moment ago.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let host = host("only", &put(&folder, "returns-error"), &folder, &address);
    let failed = host.wait_for_event("traces-failed", 1);
    assert!(failed.message().contains(&address), "{failed}");
    assert!(metric(&host, DROPPED) >= 1.0);
    let (collector, _) = collector(&address);
    host.wait_for_event("traces-taken", 1);
    collector.wait_for_event("span", 1);
    assert!(metric(&host, SENT) >= 1.0);
    assert!(host.events_named("lost").is_empty(), "nothing waits for a collector");
}

#[test]
fn a_collector_that_hangs_holds_nothing_up_not_even_the_end() {
    let folder = TempDir::new().expect("a folder");
    // It takes connections, by the kernel's hand, and nobody reads what comes.
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = hangs.local_addr().expect("an address").to_string();
    let mut host = host("only", &put(&folder, "heartbeat"), &folder, &address);
    host.wait_for("beats", |event| event.name() == "guest-output" && event.message().starts_with("beat 5,"));
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    let names: Vec<_> = host.all_events().iter().map(|event| event.name().to_owned()).collect();
    let at =
        |name: &str| names.iter().position(|event| event == name).unwrap_or_else(|| panic!("no {name} in {names:?}"));
    assert!(at("guest-stopped") < at("released") && at("released") < at("traces-unsent"), "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "leading" || *name == "lost").count(), 1);
}

#[test]
fn spans_of_a_mistaken_url_are_refused_before_any_lease_is_touched() {
    let said = leasehold(&["run", "task.wasm", "--traces", "collector:4318"], &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("http://collector:4318"), "{}", said.stderr);
    let module = guest("heartbeat");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317")];
    let said = leasehold(&["run", module.to_str().expect("UTF-8"), "--lease-store", "file:/nonexistent/leases"], &env);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("$OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", said.stderr);
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let said = leasehold(&["run", module.to_str().expect("UTF-8"), "--lease-store", "file:/nonexistent/leases"], &env);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("$OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\""), "{}", said.stderr);
}
