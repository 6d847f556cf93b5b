//! What `/metrics` says of terms: how each began, and how it ended.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    host_process::{HostProcess, PATIENCE, leasehold},
};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    LEASE,
    config_map::{assert_metric, get},
};

fn host(name: &str, folder: &TempDir) -> HostProcess {
    HostProcess::run_in_folder(
        name,
        &guest("heartbeat"),
        folder.path(),
        &[&LEASE[..], &["--admin", "127.0.0.1:0"]].concat(),
    )
}

fn begun(host: &HostProcess, reason: &str, count: u32) {
    assert_metric(host, &format!("leasehold_terms_begun_total{{task=\"heartbeat\",reason=\"{reason}\"}} {count}"));
}

/// The number that is shown for this series.
fn value(host: &HostProcess, series: &str) -> f64 {
    value_in(&get(host, "/metrics").1, series)
}

/// The same, of an answer.
fn value_in(metrics: &str, series: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in:\n{metrics}")).parse().expect("a number")
}

#[test]
fn terms_are_counted_by_how_they_began_and_ended() {
    let folder = TempDir::new().expect("a folder");
    let first = host("first", &folder);
    first.wait_for_event("guest-started", 1);
    begun(&first, "created", 1);
    let renewed = "leasehold_lease_requests_total{task=\"heartbeat\",kind=\"renew\",result=\"ok\"}";
    let begun_at = Instant::now();
    // Of one answer: the next renewal is counted by both.
    let (metrics, renewals) = loop {
        let (_, metrics) = get(&first, "/metrics");
        let renewals = value_in(&metrics, renewed);
        if renewals >= 1.0 {
            break (metrics, renewals);
        }
        assert!(begun_at.elapsed() < PATIENCE, "it is not renewed");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(value_in(&metrics, "leasehold_renewal_duration_seconds_count{task=\"heartbeat\"}"), renewals);
    let left = value(&first, "leasehold_term_remaining_seconds{task=\"heartbeat\"}");
    assert!(left > 0.0 && left <= 6.0, "{left}");

    // Released, to the standby.
    let mut second = host("second", &folder);
    second.wait_for_event("new-leader", 1);
    assert_eq!(value(&second, "leasehold_term_remaining_seconds{task=\"heartbeat\"}"), 0.0);
    let store = format!("file:{}", folder.path().display());
    let said = leasehold(&["step-down", "heartbeat", "--lease-store", &store], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    second.wait_for_event("guest-started", 1);
    begun(&second, "free", 1);
    // The second one may have seen that before the first one has heard of its own write.
    first.wait_for_event("released", 1);
    assert_metric(&first, "leasehold_terms_ended_total{task=\"heartbeat\",reason=\"released-asked\"} 1");
    assert_metric(&first, "leasehold_guest_running{task=\"heartbeat\"} 0");
    assert_eq!(value(&first, "leasehold_guest_stop_duration_seconds_count{task=\"heartbeat\"}"), 1.0);

    // Waited out, by another.
    let third = host("third", &folder);
    third.wait_for_event("new-leader", 1);
    second.kill();
    third.wait_for_event("guest-started", 1);
    begun(&third, "expired", 1);

    // Lost, by a process that was stopped for too long.
    third.signal(Signal::STOP);
    let mut fourth = host("fourth", &folder);
    fourth.wait_for_event("guest-started", 1);
    begun(&fourth, "expired", 1);
    third.signal(Signal::CONT);
    third.wait_for_event("lost", 1);
    let lost = ["expired", "taken"]
        .map(|reason| value(&third, &format!("leasehold_terms_ended_total{{task=\"heartbeat\",reason=\"{reason}\"}}")));
    assert_eq!(lost.iter().sum::<f64>(), 1.0, "{lost:?}");
    fourth.signal(Signal::TERM);
    assert_eq!(fourth.wait().code(), Some(0));
}

#[test]
fn a_lease_that_is_given_back_is_counted_by_why() {
    let folder = TempDir::new().expect("a folder");
    let tasks = [
        ("steps-down", "steps-down", ""),
        ("returns", "program", "  onReturn: release\n  args: ['1']\n"),
        ("fails", "returns-error", ""),
    ];
    let tasks = tasks.map(|(name, of, more)| format!("- name: {name}\n  module: {}\n{more}", guest(of).display()));
    let store = folder.path().join("leases");
    let config = format!("leaseStore: file:{}\nadmin: 127.0.0.1:0\ntasks:\n{}", store.display(), tasks.concat());
    let file = folder.path().join("host.yaml");
    fs::write(&file, config).expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(&file);
    let host = HostProcess::spawn("only", command);
    for (task, why) in [("steps-down", "stepped-down"), ("returns", "returned"), ("fails", "failed")] {
        host.wait_for(task, |event| event.name() == "released" && event.line["task"] == task);
        assert_metric(&host, &format!("leasehold_terms_ended_total{{task=\"{task}\",reason=\"released-{why}\"}} 1"));
    }
}
