//! Hosts with many tasks, a Lease each.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};
use leasehold_tests::{
    build::guest,
    event_log::Event,
    host_process::HostProcess,
    many_tasks::{ManyTasks, PATIENCE, Rights, first_of_each, wait_for_all},
};
use rustix::process::Signal;

use super::cluster::Cluster;

const MANY: usize = 200;
/// Enough that they share a watch where they may.
const SOME: usize = 12;

struct Scene {
    tasks: ManyTasks,
    cluster: Cluster,
}

impl Scene {
    fn new(count: usize, module: std::path::PathBuf) -> Self {
        let cluster = Cluster::start();
        let tasks = cluster.runtime.block_on(ManyTasks::prepare(&cluster.plane, "many", count, module));
        Self { tasks: tasks.expect("a namespace").with_long_leases(), cluster }
    }

    fn host(&self, name: &str, rights: Rights) -> HostProcess {
        let kubeconfig = self.cluster.runtime.block_on(self.tasks.kubeconfig(&self.cluster.plane, name, rights));
        self.tasks.host(name, &kubeconfig.expect("a user"))
    }

    /// How often this host has asked for that.
    fn asked(&self, host: &str, verb: &str, resource: &str) -> usize {
        let requests = self.cluster.plane.requests_of(host).expect("a record");
        requests.iter().filter(|request| request.verb == verb && request.resource == resource).count()
    }

    /// Who holds each Lease, without the nonce.
    fn holders(&self) -> BTreeMap<String, String> {
        let leases: Api<Lease> = {
            let _inside = self.cluster.runtime.enter();
            Api::namespaced(self.cluster.plane.client(), self.tasks.namespace())
        };
        let leases = self.cluster.runtime.block_on(leases.list(&ListParams::default())).expect("leases").items;
        let holder = |lease: Lease| {
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let holder = holder.rsplit_once('_').map_or("", |(host, _nonce)| host).to_owned();
            (lease.metadata.name.unwrap_or_default(), holder)
        };
        leases.into_iter().map(holder).collect()
    }

    fn assert_all_held_by(&self, host: &str, count: usize) {
        let expected: BTreeMap<_, _> = (0..count).map(|index| (ManyTasks::name(index), host.to_owned())).collect();
        assert_eq!(self.holders(), expected);
    }
}

/// Each task has led exactly once, and has lost nothing.
fn assert_each_led_once(events: &[Event], count: usize) {
    let led: Vec<_> =
        events.iter().filter(|event| event.name() == "leading").map(|event| &event.line["task"]).collect();
    let tasks: BTreeSet<_> = led.iter().map(ToString::to_string).collect();
    assert_eq!((led.len(), tasks.len()), (count, count));
    let lost: Vec<_> = events.iter().filter(|event| ["lost", "watch-broken"].contains(&event.name())).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

fn tokens(events: &[Event]) -> BTreeMap<String, u64> {
    let leading = events.iter().filter(|event| event.name() == "leading");
    leading.map(|event| (event.line["task"].to_string(), event.token())).collect()
}

#[test]
fn many_tasks_of_one_host_are_each_led_once_and_all_move_to_the_other_when_it_ends() {
    let scene = Scene::new(MANY, guest("heartbeat"));
    let mut first = scene.host("first", Rights::Namespace);
    wait_for_all(&mut [&mut first], "guest-output", MANY);
    let mut second = scene.host("second", Rights::Namespace);
    wait_for_all(&mut [&mut second], "new-leader", MANY);
    scene.assert_all_held_by("first", MANY);
    assert_eq!(second.count("leading"), 0);
    wait_until("the standby follows the leader's Pod", || scene.asked("second", "watch", "pods") > 0);
    assert_eq!(scene.asked("second", "watch", "pods"), 1, "for all tasks");

    first.signal(Signal::TERM);
    wait_for_all(&mut [&mut second], "guest-output", MANY);
    assert_eq!(first.wait().code(), Some(0));
    let (of_first, of_second) = (first.all_events(), second.events());
    scene.assert_all_held_by("second", MANY);
    for events in [&of_first, &of_second] {
        assert_each_led_once(events, MANY);
    }
    let (stopped, started) = (first_of_each(&of_first, "guest-stopped"), first_of_each(&of_second, "guest-started"));
    let before: Vec<_> =
        started.iter().filter(|(task, at)| stopped.get(*task).is_none_or(|stopped| stopped > at)).collect();
    assert!(before.is_empty(), "two at once: {before:?}");
    assert_eq!(first.count("released"), MANY);
    let (before, after) = (tokens(&of_first), tokens(&of_second));
    assert!(after.iter().all(|(task, token)| *token > before[task]), "{before:?} {after:?}");

    // What they share: the watch, the questions what is allowed, the module.
    for (host, events) in [("first", &of_first), ("second", &of_second)] {
        assert_eq!(events.iter().filter(|event| event.name() == "module-loading").count(), 1);
        assert!(scene.asked(host, "watch", "leases") <= 3, "{host}");
        assert!(scene.asked(host, "create", "selfsubjectaccessreviews") <= 10, "{host}");
    }
}

#[test]
fn tasks_whose_role_names_each_lease_have_a_watch_each_and_one_change_of_their_module_swaps_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("task.wasm");
    std::fs::copy(guest("heartbeat"), &module).expect("copied");
    let scene = Scene::new(SOME, module.clone());
    let mut first = scene.host("first", Rights::Names);
    wait_for_all(&mut [&mut first], "guest-output", SOME);
    let told = first.wait_for_event("leases-watched", 1);
    assert!(told.message().contains("12 watches") && told.message().contains("resources: [leases]"), "{told}");
    let mut second = scene.host("second", Rights::Names);
    wait_for_all(&mut [&mut second], "new-leader", SOME);
    wait_until("there is a watch of each", || scene.asked("second", "watch", "leases") >= SOME);

    let next = folder.path().join("next.wasm");
    std::fs::copy(guest("busy-loop"), &next).expect("copied");
    std::fs::rename(&next, &module).expect("renamed");
    wait_for_all(&mut [&mut first], "module-swapped", SOME);
    wait_for_all(&mut [&mut second], "module-loaded", 2 * SOME);
    std::fs::write(&next, "no component").expect("written");
    std::fs::rename(&next, &module).expect("renamed");
    wait_for_all(&mut [&mut first, &mut second], "module-rejected", 2 * SOME);

    first.signal(Signal::TERM);
    wait_for_all(&mut [&mut second], "guest-started", SOME);
    assert_eq!(first.wait().code(), Some(0));
    assert_each_led_once(&second.events(), SOME);
    scene.assert_all_held_by("second", SOME);
}

#[test]
fn a_shared_watch_that_breaks_is_made_up_for_by_polling_and_comes_back() {
    let mut scene = Scene::new(SOME, guest("heartbeat"));
    let mut first = scene.host("first", Rights::Namespace);
    wait_for_all(&mut [&mut first], "guest-output", SOME);
    let mut second = scene.host("second", Rights::Namespace);
    wait_for_all(&mut [&mut second], "new-leader", SOME);
    let watches = scene.asked("second", "watch", "leases");

    scene.cluster.plane.stop_api_server().expect("stopped");
    wait_for_all(&mut [&mut second], "watch-broken", SOME);
    let Cluster { plane, runtime } = &mut scene.cluster;
    runtime.block_on(plane.start_api_server()).expect("started again");
    wait_until("the watch comes back", || scene.asked("second", "watch", "leases") > watches);
    // However long the API server took to come back: all have a leader again.
    let led_by = |host: &HostProcess| host.count("leading") - host.count("lost");
    wait_until("all are led", || led_by(&first) + led_by(&second) == SOME);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    wait_until("all have moved", || led_by(&second) == SOME);
    scene.assert_all_held_by("second", SOME);
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
