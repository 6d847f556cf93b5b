//! A real Prometheus scrapes real hosts, and is asked everything that the dashboard and the alerts ask.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Command, Stdio},
};

use leasehold_tests::{
    build::{self, guest},
    host_process::HostProcess,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    alerts, deployed,
    prometheus::{Prometheus, get, program},
    rules, text,
};

/// Three tasks: one that works, one that saves what it counts, one that fails.
fn host(name: &str, folder: &TempDir) -> HostProcess {
    let path = |file: &str| folder.path().join(file).display().to_string();
    let task = |name: &str, guest_name: &str| {
        format!(
            "- name: {name}\n  module: {}\n  lease: {{duration: 3s, renewDeadline: 2s, retryPeriod: 500ms}}\n",
            guest(guest_name).display(),
        )
    };
    let config = format!(
        "leaseStore: file:{}\nadmin: 127.0.0.1:0\nidentity: {name}\ncache: {}\ntasks:\n{}{}{}",
        path("leases"),
        path(&format!("{name}-cache")),
        task("works", "heartbeat"),
        task("counts", "counter"),
        task("fails", "returns-error"),
    );
    let file = path(&format!("{name}.yaml"));
    fs::write(&file, config).expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config", &file]);
    HostProcess::spawn(name, command)
}

fn address(host: &HostProcess) -> String {
    host.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned()
}

/// Every expression of the dashboard, with its panel's title.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&deployed("monitoring/dashboard.json")).expect("JSON");
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.iter().map(|target| (text(panel, "title").to_owned(), text(target, "expr").to_owned())).collect()
    };
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut expressions: Vec<_> = panels.iter().flat_map(of_panel).collect();
    for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
        expressions.push((text(annotation, "name").to_owned(), text(annotation, "expr").to_owned()));
    }
    expressions
}

/// With what Grafana puts in.
fn filled_in(expression: &str) -> String {
    let filled =
        [("$namespace", ".*"), ("$job", ".*"), ("$task", ".*"), ("$__rate_interval", "1m"), ("$__interval", "1m")]
            .iter()
            .fold(expression.to_owned(), |expression, (name, value)| expression.replace(name, value));
    assert!(!filled.contains('$'), "there is more to fill in: {filled}");
    filled
}

fn promtool_takes(metrics: &str) {
    let mut promtool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().expect("it is piped").write_all(metrics.as_bytes()).expect("it reads all");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool check metrics: {said}");
}

#[test]
fn prometheus_takes_what_hosts_tell_and_has_an_answer_to_all_that_it_is_asked() {
    let folder = TempDir::new().expect("a folder");
    let first = host("first", &folder);
    let counts =
        |event: &leasehold_tests::event_log::Event| event.line["task"] == "counts" && event.name() == "guest-output";
    first.wait_for("count", counts);
    first.wait_for_event("guest-stopped", 1);
    let mut second = host("second", &folder);
    second.wait_for_event("new-leader", 3);
    let targets = [address(&first), address(&second)];
    let prometheus = Prometheus::start(&targets, alerts());

    for target in &targets {
        promtool_takes(&get(target, "/metrics", "*/*"));
        let newer = get(target, "/metrics", "application/openmetrics-text;version=1.0.0");
        assert!(newer.ends_with("# EOF\n"), "{newer}");
    }
    let both_up = |prometheus: &Prometheus| (prometheus.series("up == 1").len() == 2).then_some(());
    prometheus.wait_for("scrape of both hosts", both_up);
    for task in ["works", "counts"] {
        let leads = format!("sum(leasehold_token{{task=\"{task}\"}} > bool 0) == 1");
        prometheus.wait_for(&leads, |prometheus| (!prometheus.series(&leads).is_empty()).then_some(()));
    }

    // Whatever an expression takes is there: nobody asks for a metric, or a label's value, that hosts do not have.
    let dashboard = dashboard();
    let of_dashboard = dashboard.iter().map(|(title, expression)| (&**title, filled_in(expression)));
    let rules = rules();
    let of_alerts = rules.iter().map(|rule| (text(rule, "alert"), text(rule, "expr").to_owned()));
    let mut asked = BTreeSet::new();
    for (whose, expression) in of_dashboard.clone().chain(of_alerts) {
        let selectors = prometheus.selectors(&expression);
        assert!(!selectors.is_empty(), "{whose}: {expression} asks for nothing");
        for selector in selectors {
            let there = |prometheus: &Prometheus| (!prometheus.series(&selector).is_empty()).then_some(());
            prometheus.wait_for(&format!("{selector}, of {whose}"), there);
            asked.insert(selector);
        }
        prometheus.series(&expression);
    }
    assert!(asked.len() > 40, "{asked:?}");
    // Every panel shows something.
    for (title, expression) in of_dashboard.filter(|(title, _)| *title != "New terms") {
        let there = |prometheus: &Prometheus| (!prometheus.series(&expression).is_empty()).then_some(());
        prometheus.wait_for(&format!("data for the panel {title:?}: {expression}"), there);
    }

    // Prometheus itself evaluates all rules, and one of them has something to say, sooner or later.
    let evaluated = |prometheus: &Prometheus| {
        let groups = prometheus.api("rules", "")["groups"].as_array().expect("groups").clone();
        let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect();
        (rules.iter().all(|rule| rule["health"] != "unknown")).then_some(rules)
    };
    let evaluated = prometheus.wait_for("evaluation of the rules", evaluated);
    assert_eq!(evaluated.len(), rules.len());
    for rule in &evaluated {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let fires = "ALERTS{alertname=\"LeaseholdGuestFailing\", task=\"fails\", alertstate=\"firing\"}";
    prometheus.wait_for(fires, |prometheus| (!prometheus.series(fires).is_empty()).then_some(()));
    let alerts = prometheus.series("ALERTS{task=~\"works|counts\"}");
    assert!(alerts.is_empty(), "what works gives no alarm: {alerts:?}");

    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
}
