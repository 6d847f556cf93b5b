//! `leasehold status`: what a person and a script see of Leases, once and for as long as they look.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use leasehold_tests::{
    build,
    host_process::{HostProcess, PATIENCE, Said, leasehold},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    LEASE,
    cluster::Cluster,
    folder::{leader_and_standby, lease as lease_file},
};

/// What `leasehold status` with these arguments says in a cluster; and its exit code.
fn status(kubeconfig: &Path, args: &[&str]) -> Said {
    leasehold(&[&["status"], args].concat(), &[("KUBECONFIG", kubeconfig.to_str().expect("UTF-8"))])
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error} in {said:?}"))
}

/// `leasehold status --watch`, which writes JSON, a line for each change.
fn watching(name: &str, kubeconfig: &Path, args: &[&str]) -> HostProcess {
    let mut command = Command::new(build::leasehold());
    command.env("KUBECONFIG", kubeconfig).args(["status", "--watch", "-o", "json"]).args(args);
    HostProcess::spawn(name, command)
}

impl Cluster {
    fn make_lease_in(&self, namespace: &str, name: &str, spec: &Value, labels: &Value) {
        let _inside = self.runtime.enter();
        let lease = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        let lease: Lease = serde_json::from_value(lease).expect("a lease");
        let api = Api::namespaced(self.plane.client(), namespace);
        self.runtime.block_on(api.create(&PostParams::default(), &lease)).expect("made");
    }
}

#[test]
fn a_lease_is_held_then_expired_then_anothers_and_scripts_know_it_by_the_exit_code() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.plane.kubeconfig();
    let mut leader = cluster.host("first", "counter", &LEASE);
    leader.wait_for_event("guest-started", 1);
    cluster.wait_for_renewals(2);
    let held = status(kubeconfig, &["task", "-o", "json"]);
    assert_eq!((held.code, &*held.stderr), (Some(0), ""), "{held:?}");
    let (listing, lease) = (parsed(&held), cluster.lease());
    let spec = lease.spec.expect("a spec");
    let seen = &listing["leases"][0];
    assert_eq!(seen["holder"], json!(spec.holder_identity));
    let token =
        lease.metadata.annotations.expect("annotations")["leasehold.dev/token"].parse::<u64>().expect("a number");
    let told = [&seen["namespace"], &seen["name"], &seen["kind"], &seen["state"], &seen["task"], &seen["token"]];
    assert_eq!(
        told,
        [&json!("default"), &json!("task"), &json!("task"), &json!("held"), &json!("task"), &json!(token)]
    );
    assert!(seen["renewedSecondsAgo"].as_f64().is_some_and(|ago| ago < 6.0), "{seen}");
    assert!(seen["checkpointBytes"].as_u64().is_some_and(|bytes| bytes > 0), "the counter saves: {seen}");
    assert_eq!((&seen["leaseDurationSeconds"], &listing["clock"]), (&json!(6), &json!("api-server")));
    let yaml = status(kubeconfig, &["task", "-o", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&yaml.stdout).expect("YAML");
    assert_eq!(yaml["leases"][0]["token"], seen["token"]);

    leader.kill();
    let begun = Instant::now();
    let expired = loop {
        let said = status(kubeconfig, &["task"]);
        if said.code != Some(0) {
            break said;
        }
        assert!(begun.elapsed() < PATIENCE, "it stays held: {said:?}");
    };
    assert_eq!((expired.code, &*expired.stderr), (Some(1), ""), "{expired:?}");
    let lines: Vec<_> = expired.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[1].contains(" expired ") && lines[1].contains("first_"), "{lines:?}");

    let missing = status(kubeconfig, &["task", "gone"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert_eq!(missing.stderr, "error: there is no lease gone in namespace default\n");
    assert!(missing.stdout.contains("first_"), "{missing:?}");
    // Without a name it is no question whether they are held.
    assert_eq!(status(kubeconfig, &[]).code, Some(0));
    let nowhere = status(kubeconfig, &["-n", "nowhere"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("namespace nowhere does not exist"), "{nowhere:?}");
}

#[test]
fn the_clusters_own_leases_are_counted_and_shown_when_they_are_asked_for() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.plane.kubeconfig();
    let held =
        json!({"holderIdentity": "somebody", "leaseDurationSeconds": 40, "renewTime": "2020-01-01T00:00:00.000000Z"});
    for node in ["node-1", "node-2"] {
        cluster.make_lease_in("kube-node-lease", node, &held, &json!({}));
    }
    cluster.make_lease_in("kube-system", "kube-scheduler", &held, &json!({}));
    cluster.make_lease_in("kube-system", "some-operator", &json!({}), &json!({}));
    cluster.make_lease_in("default", "elector", &held, &json!({}));

    let said = status(kubeconfig, &["-A"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let names: Vec<_> =
        said.stdout.lines().skip(1).map(|line| line.split_whitespace().take(4).collect::<Vec<_>>()).collect();
    // The API server took the write just now, whatever time its writer wrote.
    let shown =
        [["default", "elector", "application", "held"], ["kube-system", "some-operator", "application", "free"]];
    assert_eq!(names, shown);
    // The API server's own identity is there as soon as its loops have begun.
    assert!(said.stderr.contains("2 node heartbeats") && said.stderr.contains("1 component of Kubernetes"), "{said:?}");
    assert!(said.stderr.contains("the clock of who renews default/elector is"), "{said:?}");

    let all = parsed(&status(kubeconfig, &["-A", "--all-kinds", "-o", "json"]));
    let kind_of = |name: &str| {
        let leases = all["leases"].as_array().expect("a list");
        leases.iter().find(|lease| lease["name"] == name).unwrap_or_else(|| panic!("no {name} in {all}"))["kind"]
            .clone()
    };
    assert_eq!([kind_of("node-1"), kind_of("kube-scheduler")], ["node", "component"]);
    assert_eq!(all["notShown"], json!({}));
    let elector = status(kubeconfig, &["elector", "-n", "default"]);
    assert_eq!(elector.code, Some(0), "{elector:?}");
    assert!(elector.stderr.starts_with("the clock of who renews default/elector is"), "{elector:?}");
    // Whoever names one means it.
    let named = status(kubeconfig, &["kube-scheduler", "-n", "kube-system"]);
    assert_eq!(named.code, Some(0), "{named:?}");
}

#[test]
fn a_watch_tells_each_change_once_and_asks_for_nothing_again() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.runtime.block_on(cluster.plane.kubeconfig_for_admin("looks-on")).expect("a kubeconfig");
    let mut watching = watching("status", &kubeconfig, &["-n", "default"]);
    let mut leader = cluster.host("first", "heartbeat", &LEASE);
    let is = |state: &'static str, holder: &'static str| {
        move |event: &leasehold_tests::event_log::Event| {
            let lease = &event.line["lease"];
            lease["state"] == state && lease["holder"].as_str().is_some_and(|named| named.starts_with(holder))
        }
    };
    watching.wait_for("first who holds it", is("held", "first_"));
    let standby = cluster.host("second", "heartbeat", &LEASE);
    standby.wait_for_event("new-leader", 1);
    // No news.
    cluster.wait_for_renewals(3);
    leader.kill();
    watching.wait_for("lease that has run out", is("expired", "first_"));
    watching.wait_for("second who holds it", is("held", "second_"));
    standby.wait_for_event("guest-started", 1);
    drop(standby);
    cluster.runtime.block_on(cluster.api::<Lease>().delete("task", &DeleteParams::default())).expect("deleted");
    watching.wait_for("deletion", |event| event.line["change"] == "deleted");
    watching.signal(Signal::INT);
    assert_eq!(watching.wait().code(), Some(0));

    let changes: Vec<_> = watching.all_events();
    let told: Vec<_> = changes
        .iter()
        .map(|event| &event.line["lease"])
        .map(|lease| (lease["state"].as_str().expect("a state"), lease["token"].is_u64(), lease["holder"].clone()))
        .collect();
    let mut once = told.clone();
    once.dedup_by(|one, other| one == other && one.0 != "expired");
    // A new term has its token with the first renewal; a deletion tells the last state again.
    assert!(told.len() - once.len() <= 1 && told.len() <= 7, "{told:#?}");
    let requests = cluster.plane.requests_of("looks-on").expect("an audit log");
    let of_leases: Vec<_> = requests.iter().filter(|request| request.resource == "leases").collect();
    // One to know at once whether it may, one to begin the watch with, and the watch.
    assert_eq!(of_leases.len(), 3, "{of_leases:?}");
}

/// `leasehold status --watch` with this stdout. Ended when dropped.
struct Watch(Child);

impl Watch {
    fn start(folder: &Path, stdout: Stdio) -> Self {
        Self::of(&[], folder, stdout, Stdio::null())
    }

    fn of(names: &[&str], folder: &Path, stdout: Stdio, stderr: Stdio) -> Self {
        let store = format!("file:{}", folder.display());
        let watch = Command::new(build::leasehold())
            .args(["status", "--watch", "--lease-store", &store])
            .args(names)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn();
        Self(watch.expect("leasehold starts"))
    }

    fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watch_whose_reader_has_gone_ends_by_itself_though_nothing_changes() {
    let folder = TempDir::new().expect("a folder");
    let mut watch = Watch::start(folder.path(), Stdio::piped());
    drop(watch.0.stdout.take());
    assert_eq!(watch.wait(), Some(0));
}

#[test]
fn in_a_folder_the_same_is_told_and_the_first_lines_are_a_table() {
    let folder = TempDir::new().expect("a folder");
    let (leader, _standby) = leader_and_standby("parked", folder.path(), &[]);
    let store = format!("file:{}", folder.path().display());
    let said = leasehold(&["status", "parked", "--lease-store", &store, "-o", "json"], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let listing = parsed(&said);
    let file = lease_file(folder.path(), "parked");
    assert_eq!(listing["leases"][0]["holder"], file["holderIdentity"]);
    assert_eq!((&listing["clock"], &listing["leases"][0]["kind"]), (&json!("machine"), &json!("task")));

    let mut watch = Watch::start(folder.path(), Stdio::piped());
    let mut lines = BufReader::new(watch.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let header = lines.next().expect("a header");
    assert!(header.starts_with("TIME ") && header.contains(" HOLDER "), "{header}");
    assert!(lines.next().is_some_and(|line| line.contains(" held ") && line.contains("first_")));
    leader.signal(Signal::TERM);
    let second = lines.by_ref().find(|line| line.contains("second_")).expect("the second");
    assert!(second.contains(" held "), "{second}");
    kill_process(Pid::from_child(&watch.0), Signal::TERM).expect("it runs");
    assert_eq!(watch.wait(), Some(0));
}

#[test]
fn a_named_lease_that_is_not_there_is_told_of_once_and_shown_when_it_comes_and_when_it_goes() {
    let folder = TempDir::new().expect("a folder");
    let mut watch = Watch::of(&["parked", "nihgtly"], folder.path(), Stdio::piped(), Stdio::piped());
    let mut notes = BufReader::new(watch.0.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    for name in ["parked", "nihgtly"] {
        let note = notes.next().expect("a note");
        assert!(note.starts_with(&format!("there is no lease {name} in namespace default of ")), "{note}");
    }
    let mut host = HostProcess::run_in_folder("first", &build::guest("parked"), folder.path(), &LEASE);
    let mut lines = BufReader::new(watch.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    lines.by_ref().find(|line| line.contains(" held ") && line.contains("first_")).expect("the one that has come");
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    lines.by_ref().find(|line| line.contains(" free ")).expect("its release");
    std::fs::remove_file(folder.path().join("default.parked.json")).expect("it is there");
    let gone = lines.next().expect("a line");
    assert!(gone.ends_with("default/parked deleted"), "{gone}");
    kill_process(Pid::from_child(&watch.0), Signal::TERM).expect("it runs");
    assert_eq!(watch.wait(), Some(0));
    assert_eq!(notes.collect::<Vec<_>>(), Vec::<String>::new(), "both were told of once");
}

#[test]
fn why_a_named_lease_is_unknown_is_said() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("default.broken.json"), "no lease").expect("written");
    let store = format!("file:{}", folder.path().display());
    let said = leasehold(&["status", "broken", "--lease-store", &store], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains(" unknown "), "{said:?}");
    assert!(said.stderr.starts_with("lease default/broken cannot be read: "), "{said:?}");
}

#[test]
fn on_a_terminal_it_is_drawn_again_and_the_screen_is_given_back() {
    let folder = TempDir::new().expect("a folder");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let open = || rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
    // One end stays open, so that what was written last can be read after its writer has ended.
    let (_kept, other) = (open(), open());
    let mut watch = Watch::start(folder.path(), other.into());
    let mut terminal = File::from(terminal);
    let mut shown = String::new();
    let mut read_until = |wanted: &str| {
        let begun = Instant::now();
        while !shown.contains(wanted) {
            assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {shown:?}");
            let mut bytes = [0; 4096];
            let count = terminal.read(&mut bytes).expect("it can be read");
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        shown.clone()
    };
    read_until("no lease in namespace default");
    let _host = HostProcess::run_in_folder("first", &build::guest("parked"), folder.path(), &LEASE);
    let drawn = read_until("first_");
    assert!(drawn.starts_with("\u{1b}[?1049h"), "another screen than the shell's: {drawn:?}");
    assert!(drawn.contains("\u{1b}[32mheld"), "the state has a colour: {drawn:?}");
    kill_process(Pid::from_child(&watch.0), Signal::INT).expect("it runs");
    let drawn = read_until("\u{1b}[?1049l");
    assert!(drawn.contains("\u{1b}[?25h"), "the cursor is back: {drawn:?}");
    assert_eq!(watch.wait(), Some(0));
}

#[test]
fn get_of_one_lease_is_enough_to_see_it_and_what_is_missing_for_more_is_named() {
    let cluster = Cluster::start();
    cluster.make_lease_in("default", "one", &json!({}), &json!({}));
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["one"], "verbs": ["get"]});
    let kubeconfig = cluster.user_with_role("reader", json!({"rules": [rule]}));
    let kubeconfig = Path::new(&kubeconfig);
    let seen = status(kubeconfig, &["one"]);
    assert!(seen.stdout.contains(" free "), "{seen:?}");
    for (args, says) in [
        (
            &[][..],
            "needs a Role there with {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}",
        ),
        (
            &["-A"],
            "needs a ClusterRole with {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}",
        ),
        (&["two"], "needs a Role there with {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get]}"),
        (
            &["one", "--watch"],
            "needs a Role there with {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch]}",
        ),
    ] {
        let refused = status(kubeconfig, args);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.starts_with("error: may not ") && refused.stderr.contains(says), "{refused:?}");
    }
}
