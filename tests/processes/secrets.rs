//! Whatever is asked of the log: no secret that a host has, reads or sends is ever in it, nor in an error. What a component
//! prints is its own affair.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use leasehold_tests::{
    build::{self, guest},
    host_process::{PATIENCE, leasehold},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{cluster::Cluster, task_events::Events};

/// What must be nowhere.
const PLANTED: [(&str, &str); 9] = [
    ("the kubeconfig's bearer token", "planted-bearer"),
    ("the password in the cluster's address", "planted-password"),
    ("a value from a Secret", "planted-env"),
    ("a plain value", "planted-plain"),
    ("a URL's user-info", "planted-user-info"),
    ("a URL's query", "planted-query"),
    ("a request's header", "planted-header"),
    ("a checkpoint", "planted-checkpoint"),
    // "planted-checkpoint" in base64.
    ("a checkpoint as it stands on the Lease", "cGxhbnRlZC1jaGVja3BvaW50"),
];

/// A host, with all that it writes in one file. Ended when dropped.
struct Host {
    child: Child,
    said: PathBuf,
}

impl Host {
    fn start(mut command: Command, said: PathBuf) -> Self {
        let file = fs::File::create(&said).expect("a file");
        let errors = file.try_clone().expect("the same file");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().expect("leasehold starts");
        Self { child, said }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("text")
    }

    /// Where its admin address is.
    fn admin(&self) -> String {
        let said = self.said();
        let (_, after) = said.split_once("health and metrics are at http://").expect("it is told");
        after.chars().take_while(|character| character.is_ascii_digit() || ".:".contains(*character)).collect()
    }

    fn wait_for(&self, what: &str) {
        let begun = Instant::now();
        while !self.said().contains(what) {
            assert!(begun.elapsed() < PATIENCE, "no {what:?} in:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing planted is in what was said, but for what the component said itself.
#[track_caller]
fn assert_no_secret(said: &str, further: &[(&str, &str)]) {
    let of_the_host = said.lines().filter(|line| !line.contains("guest-output"));
    for line in of_the_host {
        for (what, planted) in PLANTED.iter().chain(further) {
            assert!(!line.contains(planted), "{what} is in: {line}");
        }
    }
}

/// All that the admin address shows of its one task, a line each, but for what the component says itself; that is
/// nothing but what the log has.
fn shown(host: &Host) -> String {
    let admin = host.admin();
    let mut shown = String::new();
    for path in ["/", "/status/page.js", "/tasks", "/metrics", "/readyz"] {
        let mut stream = TcpStream::connect(&admin).expect("it listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
        stream.read_to_string(&mut shown).expect("an answer");
    }
    let mut all = Events::of(&admin, "/tasks/events");
    shown += &format!("\n{}\n{}\n", all.next().1, all.find("task", |data| Some(data["tasks"].get(0)?.clone())));
    let mut of_task = Events::of(&admin, "/tasks/task/events").next().1;
    let said = host.said();
    for line in of_task["output"].take().as_array().expect("lines") {
        let text = line["text"].as_str().expect("text");
        assert!(said.contains(text) || said.contains(&text.replace('"', "\\\"")), "{text:?} is not in the log");
    }
    shown + &of_task.to_string()
}

fn kubeconfig(path: &Path, server: &str, user: &Value) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    fs::write(path, format!("{kubeconfig:#}\n")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// A cluster that knows the planted token, with the planted Secret and Lease.
fn cluster(folder: &TempDir) -> Cluster {
    let tokens = folder.path().join("tokens.csv");
    fs::write(&tokens, "planted-bearer,somebody,1,\"system:masters\"\n").expect("written");
    let cluster = Cluster::start_with(&[&format!("--token-auth-file={}", tokens.display())]);
    let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": "planted-env"}});
    let secret: Secret = serde_json::from_value(secret).expect("a Secret");
    cluster.runtime.block_on(cluster.api().create(&PostParams::default(), &secret)).expect("made");
    cluster.make_lease("task");
    cluster.patch(&json!({"metadata": {"annotations": {"leasehold.dev/checkpoint": "cGxhbnRlZC1jaGVja3BvaW50"}}}));
    cluster
}

#[test]
fn a_host_that_tells_all_it_can_tells_no_secret() {
    let folder = TempDir::new().expect("a folder");
    let mut cluster = cluster(&folder);
    let server = format!("https://me:planted-password@{}", cluster.plane.server());
    let by_token = kubeconfig(&folder.path().join("token"), &server, &json!({"token": "planted-bearer"}));
    let own = fs::read_to_string(cluster.plane.kubeconfig()).expect("the kubeconfig");
    let own: Value = serde_json::from_str(&own).expect("JSON");
    let key = own["users"][0]["user"]["client-key-data"].as_str().expect("a key").to_owned();
    let config = folder.path().join("host.yaml");
    let steps = [
        "GET https://me:planted-user-info@localhost:1/x?token=planted-query",
        "GET http://localhost:1/denied?token=planted-query",
        // Nothing listens there.
        "GET http://localhost:2/allowed?token=planted-query Authorization:planted-header body=planted-query",
        "stay",
    ];
    let text = json!({"admin": "127.0.0.1:0", "tasks": [{
        "name": "task",
        "module": guest("http-requests"),
        "args": steps,
        "env": {
            "PASSWORD": {"valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            "PLAIN": "planted-plain",
        },
        "allow": {"http": ["http://localhost:2/"], "tokenHeader": "Leasehold-Token"},
        "lease": {"duration": "6s", "renewDeadline": "4s", "retryPeriod": "1s"},
    }]});
    fs::write(&config, text.to_string()).expect("written");
    let run = |name: &str, kubeconfig: &str, format: &str| {
        let mut command = Command::new(build::leasehold());
        command.env("KUBECONFIG", kubeconfig).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        command.args(["run", "--log-format", format, "--config"]).arg(&config);
        Host::start(command, folder.path().join(name))
    };
    let leader = run("leader", &by_token, "text");
    leader.wait_for("staying");
    let standby = run("standby", cluster.plane.kubeconfig().to_str().expect("UTF-8"), "json");
    standby.wait_for("new-leader");
    leader.wait_for("http-refused");
    leader.wait_for("http-failed");
    let shown_at_first = shown(&leader);
    assert!(
        shown_at_first.contains("certainForSeconds") && shown_at_first.contains("checkpointBytes"),
        "{shown_at_first}"
    );

    // Trouble makes talkative.
    cluster.plane.stop_api_server().expect("stopped");
    leader.wait_for("request-failed");
    standby.wait_for("watch-broken");
    leader.wait_for("guest-stopped");
    for shown in [shown_at_first, shown(&leader), shown(&standby)] {
        assert_no_secret(&shown, &[("the client's key", &key)]);
    }
    let (leader_said, standby_said) = (leader.said(), standby.said());
    leader.signal(Signal::TERM);
    leader.signal(Signal::INT);
    for said in [leader_said, standby_said, leader.said()] {
        assert!(said.contains("TRACE") || said.contains("DEBUG") || said.contains("INFO"), "it told nothing: {said}");
        assert_no_secret(&said, &[("the client's key", &key)]);
        // Of others' targets nothing that has requests and answers in it.
        for others in ["pooling idle connection", "checkout waiting", "requesting", "ClientHello"] {
            assert!(!said.contains(others), "{others:?} in {said}");
        }
    }
}

#[test]
fn what_is_wrong_with_credentials_is_said_without_them() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let server = "https://me:planted-password@127.0.0.1:1";
    let damaged = kubeconfig(&path("damaged"), server, &json!({"token": "planted-bearer"}));
    fs::write(
        path("damaged"),
        fs::read_to_string(&damaged).expect("it").replace("planted-bearer\"", "planted-bearer\"]"),
    )
    .expect("written");
    let plugin = |name: &str, code: i32| {
        let text = format!("#!/bin/sh\necho '{{\"token\": \"planted-bearer\"'\necho log in again >&2\nexit {code}\n");
        fs::write(path(name), text).expect("written");
        fs::set_permissions(path(name), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("may be run");
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": path(name), "args": ["planted-query"], "env": [{"name": "KEY", "value": "planted-env"}],
        });
        kubeconfig(&path(&format!("{name}.kubeconfig")), server, &json!({"exec": exec}))
    };
    let half_a_key =
        json!({"client-key-data": "cGxhbnRlZC1jaGVja3BvaW50", "client-certificate-data": "cGxhbnRlZC1jaGVja3BvaW50"});
    for (kubeconfig, says) in [
        (damaged, "no kubeconfig works"),
        (plugin("fails", 3), "credentials plugin has failed (exit status: 3): log in again"),
        (plugin("damages", 0), "credentials plugin has printed is not an ExecCredential"),
        (kubeconfig(&path("half"), server, &half_a_key), "does not make a client"),
        (kubeconfig(&path("unreachable"), server, &json!({"token": "planted-bearer"})), "cannot reach the cluster"),
    ] {
        for args in [&["run", guest("parked").to_str().expect("UTF-8"), "--log-level", "trace"][..], &["status"]] {
            let said =
                leasehold(args, &[("KUBECONFIG", &kubeconfig), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full")]);
            assert_eq!(said.code, Some(1), "{said:?}");
            assert!(said.stderr.contains(says), "no {says:?} in {said:?}");
            assert_no_secret(&format!("{}\n{}", said.stdout, said.stderr), &[]);
        }
    }
}
