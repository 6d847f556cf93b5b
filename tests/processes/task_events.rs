//! `/tasks/events` and `/tasks/NAME/events` on the admin address: tasks as they change.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Instant,
};

use leasehold_tests::{
    build::{self, guest},
    host_process::{HostProcess, PATIENCE},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{cluster::Cluster, config_map::get};

/// An event stream that is read.
pub(super) struct Events(BufReader<TcpStream>);

impl Events {
    pub(super) fn of(address: &str, path: &str) -> Self {
        Self::asked_for_as(address, address, path)
    }

    /// With this `Host`.
    fn asked_for_as(host: &str, address: &str, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // By HTTP/1.0 it comes as it is, and not in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").expect("sent");
        let mut events = Self(BufReader::new(stream));
        assert!(events.line().starts_with("HTTP/1.0 200"), "{path} is not served");
        while !events.line().is_empty() {}
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).expect("a line in time") > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next one's name and data.
    pub(super) fn next(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            match self.line().split_once(": ") {
                Some(("event", of)) => name = of.to_owned(),
                Some(("data", of)) => data += of,
                Some(_) => {}
                None => return (name, serde_json::from_str(&data).expect("JSON")),
            }
        }
    }

    /// The first one that `found` finds something in.
    pub(super) fn find<T>(&mut self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let (_, data) = self.next();
            if let Some(found) = found(&data) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what}: {data:#}");
        }
    }
}

fn host(folder: &TempDir, name: &str, admin: &str, more: &[&str], tasks: &Value) -> HostProcess {
    let store = format!("file:{}", folder.path().join("leases").display());
    let config = json!({"leaseStore": store, "identity": name, "admin": admin, "tasks": tasks});
    spawn(folder, name, more, &config, |_| {})
}

fn host_in_cluster(cluster: &Cluster, folder: &TempDir, name: &str, tasks: &Value) -> HostProcess {
    let config = json!({"identity": name, "admin": "127.0.0.1:0", "tasks": tasks});
    spawn(folder, name, &[], &config, |command| {
        command.env("KUBECONFIG", cluster.plane.kubeconfig());
    })
}

fn spawn(
    folder: &TempDir,
    name: &str,
    more: &[&str],
    config: &Value,
    change: impl FnOnce(&mut Command),
) -> HostProcess {
    let path = folder.path().join(format!("{name}.yaml"));
    std::fs::write(&path, config.to_string()).expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json"]).args(more).arg("--config").arg(path);
    change(&mut command);
    HostProcess::spawn(name, command)
}

fn address(host: &HostProcess) -> String {
    host.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned()
}

fn task_in<'a>(data: &'a Value, name: &str) -> Option<&'a Value> {
    data["tasks"].as_array()?.iter().find(|task| task["name"] == name)
}

#[test]
fn each_task_is_told_of_once_and_then_again_when_it_changes() {
    // Not in a folder, where each Lease's file takes one of the 128 watchers that a user often may have: the others' tests
    // would go without, and some of these be polled, which is a change.
    let (cluster, folder) = (Cluster::start(), TempDir::new().expect("a folder"));
    // Not one of which is to be lost on a busy machine.
    let lease = json!({"duration": "40s", "renewDeadline": "25s", "retryPeriod": "1s"});
    // Nor to change, since its module has run for long enough.
    let swap = json!({"probation": "1h"});
    let tasks: Vec<_> = (0..120)
        .map(|index| json!({"name": format!("task-{index}"), "module": guest("parked"), "lease": lease, "swap": swap}))
        .collect();
    let first = host_in_cluster(&cluster, &folder, "first", &json!(tasks));
    first.wait_for_event("guest-started", tasks.len());
    let mut events = Events::of(&address(&first), "/tasks/events");
    let (name, data) = events.next();
    assert_eq!((name.as_str(), data["tasks"].as_array().map(Vec::len)), ("host", Some(tasks.len())), "{data}");
    // A bounded number at a time, until all were told of.
    let mut told = Vec::new();
    while told.len() < tasks.len() {
        let (name, data) = events.next();
        let of_event = data["tasks"].as_array().expect("tasks");
        assert!(name == "tasks" && of_event.len() <= 100, "{name}: {}", of_event.len());
        told.extend(of_event.iter().map(|task| task["name"].to_string()));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), tasks.len());
    // At rest, to which some may come a moment later, there is nothing to tell but that it is still there.
    let (begun, mut quiet) = (Instant::now(), Vec::new());
    while quiet.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "it tells of changes without end");
        let asked = Instant::now();
        match events.next().1["tasks"].as_array().map(Vec::len) {
            Some(0) => quiet.push(asked),
            _ => quiet.clear(),
        }
    }
    assert!(quiet[0].elapsed().as_millis() > 3000, "it says nothing too often");

    let one = json!([tasks[7]]);
    let _second = host_in_cluster(&cluster, &folder, "second", &one);
    let kubeconfig = cluster.plane.kubeconfig().to_str().expect("UTF-8");
    let asked = leasehold_tests::host_process::leasehold(&["step-down", "task-7"], &[("KUBECONFIG", kubeconfig)]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let other = events.find("new holder", |data| {
        assert!(data["tasks"].as_array().is_some_and(|tasks| tasks.len() <= 1), "others have not changed: {data}");
        task_in(data, "task-7")?["holder"].as_str().filter(|holder| holder.starts_with("second")).map(str::to_owned)
    });
    // And what was before it is still known.
    let (status, body) = get(&first, "/tasks");
    let all: Value = serde_json::from_str(&body).expect("JSON");
    let task = task_in(&all, "task-7").expect("the task");
    let holders: Vec<_> = task["holders"].as_array().expect("holders").iter().map(|held| &held["own"]).collect();
    assert_eq!((status, holders), (200, vec![&json!(true), &json!(false)]), "{task:#}");
    assert_eq!(task["holders"][1]["identity"], json!(other));
}

#[test]
fn what_one_task_prints_and_reports_is_told_as_it_comes_and_other_names_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let tasks =
        json!([{"name": "events", "module": guest("prints"), "args": ["one", "two"], "env": {"PAUSE_MS": "200"}}]);
    let only = host(&folder, "only", "127.0.0.1:0", &[], &tasks);
    // More than are kept for who comes later; at a pace at which ten seconds of them are.
    only.wait_for_event("guest-output", 60);
    let mut events = Events::of(&address(&only), "/tasks/events/events");
    let (name, data) = events.next();
    let lines = data["output"].as_array().expect("lines");
    assert!(name == "task" && lines.len() == 50, "{name}: {} lines", lines.len());
    assert!(data["task"]["certainForSeconds"].as_f64() > Some(0.0), "{}", data["task"]);
    let last = lines[49]["number"].as_u64().expect("a number");
    // From there on, none is missing and none comes twice.
    let mut next = last + 1;
    while next < last + 60 {
        for line in events.next().1["output"].as_array().expect("lines") {
            assert_eq!(line["number"], next);
            let said = (&line["text"], &line["stream"], &line["token"]);
            let text = if next % 2 == 0 { "one" } else { "two" };
            assert_eq!(said, (&json!(text), &json!("stdout"), &data["task"]["term"]["token"]));
            next += 1;
        }
    }
    assert_eq!(get(&only, "/tasks/nobody/events").0, 404);
}

/// A page whose owner has its name resolve to this machine is of no other origin to a browser, and what it asks comes from
/// here (DNS rebinding).
#[test]
fn what_a_component_prints_is_not_told_by_the_name_of_somebody_elses() {
    let folder = TempDir::new().expect("a folder");
    let tasks = json!([{"name": "events", "module": guest("prints"), "args": ["planted"], "env": {"PAUSE_MS": "20"}}]);
    let host = host(&folder, "only", "127.0.0.1:0", &[], &tasks);
    host.wait_for_event("guest-output", 1);
    let address = address(&host);
    let port = address.rsplit_once(':').expect("a port").1;
    let told = |name: &str| {
        let mut events = Events::asked_for_as(&format!("{name}:{port}"), &address, "/tasks/events/events");
        events.next().1
    };
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let output = told(name)["output"].to_string();
        assert!(output.contains("planted"), "{name}: {output}");
    }
    let data = told("rebinds.example");
    assert_eq!((&data["output"], &data["task"]["name"]), (&Value::Null, &json!("events")));
}

#[test]
fn what_the_log_does_not_tell_of_output_is_not_shown_either() {
    let folder = TempDir::new().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let tasks = json!([{"name": "quiet", "module": guest("prints"), "args": ["planted"], "env": {"PAUSE_MS": "20"}}]);
    let host = host(&folder, "only", &free, &["--log-level", "warn"], &tasks);
    let begun = Instant::now();
    while TcpStream::connect(&free).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut events = Events::of(&free, "/tasks/quiet/events");
    // It runs, and so has printed.
    events.find("run", |data| data["task"]["progress"].is_object().then_some(()));
    let (_, data) = events.next();
    assert_eq!((&data["output"], host.count("guest-output")), (&json!([]), 0));
}
