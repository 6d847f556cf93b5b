//! Python: the periodic report.

use std::fs;

use leasehold_tests::host_process::HostProcess;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    monitor::Monitor,
    project::{self, Example, PYTHON, hand_over, leader_and_standby},
    service::{Service, Told},
};

#[test]
fn a_new_project_runs_and_is_ended_when_it_spins() {
    project::a_new_project_runs_and_is_ended_when_it_spins(PYTHON);
}

/// How many events of this kind the reports have, all together.
fn counted(told: &Told, kind: &str) -> u64 {
    told.reports.values().filter_map(|report| report["counts"][kind].as_u64()).sum()
}

#[test]
fn the_periodic_report_counts_each_event_once_whoever_leads() {
    let reporter = Example::build("periodic-report", PYTHON);
    let service = Service::start();
    let kinds = |kind: &'static str, count: usize| std::iter::repeat_n(json!({"kind": kind}), count);
    // More than a page of them.
    service.told().events.extend(kinds("order", 700).chain(kinds("refund", 30)));
    let (events, reports) = (service.url("/events"), service.url("/reports"));
    let env = [format!("EVENTS_URL={events}"), format!("REPORT_URL={reports}")];
    let below = format!("{reports}/");
    let args = [
        "--env",
        &env[0],
        "--env",
        &env[1],
        "--env",
        "EVERY_SECONDS=0.2",
        "--allow-http",
        &events,
        "--allow-http",
        &below,
    ];
    let (mut leader, standby) = leader_and_standby(&reporter, &args);
    service.wait_for("all orders", |told| (counted(told, "order") == 700).then_some(()));
    let (before, after) = hand_over(&mut leader, &standby);
    service.told().events.extend(kinds("order", 50));
    service.wait_for("the new orders", |told| (counted(told, "order") >= 750).then_some(()));

    let told = service.told();
    assert_eq!((counted(&told, "order"), counted(&told, "refund")), (750, 30));
    // Numbered without a gap, each beginning where the one before ended, whoever wrote it.
    let reports: Vec<&Value> = told.reports.values().collect();
    assert!(told.reports.keys().copied().eq(1..=reports.len() as u64), "{:?}", told.reports.keys());
    assert!(reports.windows(2).all(|two| two[0]["until"] == two[1]["after"]), "{reports:?}");
    assert_eq!(
        (reports[0]["token"].as_u64(), reports[reports.len() - 1]["token"].as_u64()),
        (Some(before), Some(after))
    );
}

#[test]
fn pythons_own_http_client_goes_over_sockets_and_reaches_what_allow_tcp_names() {
    let place = TempDir::new().expect("a folder");
    let project = PYTHON.new_project(place.path());
    fs::write(project.join(PYTHON.source), include_str!("fetches.py")).expect("written");
    let module = project::build(&project);
    let (allowed, other) = (Service::start(), Monitor::start(1));
    allowed.told().events.push(json!("hello"));
    let rule = format!("localhost:{}", allowed.port());
    let (reached, not_allowed) = (format!("http://{rule}/events"), format!("localhost:{}", other.address.port()));
    let env = format!("URLS={reached} http://{not_allowed}/ http://elsewhere.test/");
    let args = ["--lease", "task", "--env", &env, "--allow-tcp", &rule];
    let host = HostProcess::run_in_folder("only", &module, &place.path().join("leases"), &args);

    let says = |words: &str| {
        host.wait_for(words, |event| event.name() == "guest-output" && event.message() == words);
    };
    says(&format!(r#"{reached}: 200 ["hello"]"#));
    for refused in [&not_allowed, "elsewhere.test"] {
        says(&format!("http://{refused}/: <urlopen error [Errno 2] Permission denied>"));
    }
    assert_eq!(other.told().connections, 0);
    let told: Vec<_> = host.events_named("tcp-refused").iter().map(|event| event.message().to_owned()).collect();
    for rule in [&not_allowed, "elsewhere.test:PORT"] {
        assert!(told.iter().any(|line| line.contains(&format!("add \"{rule}\" to allow.tcp"))), "{told:?}");
    }
}
