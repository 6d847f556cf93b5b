//! What is said of a Lease in each state.

use super::{
    facts::{Asked, Event, Facts, HolderPod, Node, PodSeen},
    verdict::of,
};
use crate::commands::status::lease::{
    SeenLease,
    tests::{held, time, wall},
};

/// It runs out at 12:00:25.25.
fn of_lease(change: impl FnOnce(&mut SeenLease)) -> Facts {
    let mut lease = held("nightly");
    lease.record.task = Some("nightly".into());
    change(&mut lease);
    Facts {
        namespace: "jobs".into(),
        name: "nightly".into(),
        lease: Some(lease),
        created: None,
        writes: Asked::Known(Vec::new()),
        events: Asked::Known(Vec::new()),
        pod: None,
        candidates: None,
    }
}

fn pod(holder_has_ended: bool, is_ready: Asked<bool>) -> HolderPod {
    let node = Some(Node { name: "node-1".into(), is_ready });
    let containers = vec!["container leasehold waits (CrashLoopBackOff)".to_owned()];
    let seen = PodSeen { phase: "Running".into(), is_deleted: false, holder_has_ended, containers, node };
    HolderPod { name: "pod-1".into(), seen: Asked::Known(Some(seen)) }
}

#[track_caller]
fn says(facts: &Facts, at: &str, wanted: &[&str], unwanted: &[&str]) {
    let verdict = of(facts, time(&format!("2026-01-02T{at}Z")));
    for part in wanted {
        assert!(verdict.contains(part), "no {part:?} in: {verdict}");
    }
    for part in unwanted {
        assert!(!verdict.contains(part), "{part:?} in: {verdict}");
    }
}

#[test]
fn a_lease_that_is_held_and_renewed_is_well() {
    let facts = of_lease(|_| {});
    says(&facts, "12:00:12", &["pod-1_0a holds it and has renewed it 1s ago", "All is as it should be"], &["Nobody"]);
    let asked = of_lease(|lease| lease.record.step_down = Some("pod-1_0a".into()));
    says(&asked, "12:00:12", &["asked to step down"], &["All is as it should be"]);
    let waiting = of_lease(|lease| lease.record.modules.waiting = Some("sha256:new".into()));
    says(&waiting, "12:00:12", &["Module sha256:new is ready, and takes over when"], &["failed soon"]);
    let refused = of_lease(|lease| lease.record.modules.refused = Some("sha256:bad".into()));
    says(
        &refused,
        "12:00:12",
        &["Module sha256:bad failed soon after it was started", "tries this one once in each of its terms"],
        &["no replica tries"],
    );
}

fn event(second: &str, reason: &str, message: &str) -> Event {
    let at = time(&format!("2026-01-02T12:00:{second}Z"));
    Event { at, reason: reason.into(), message: message.into(), by: "leasehold.dev/host".into(), count: 1 }
}

#[test]
fn a_module_that_was_not_taken_is_spoken_of_until_another_one_has_come_after_it() {
    let rejected = || event("05", "ModuleRejected", "pod-1_0a does not take the new module: it is no module");
    let swapped = |second: &str, runs: &str, before: &str| {
        event(second, "ModuleSwapped", &format!("pod-1_0a runs sha256:{runs} instead of sha256:{before}"))
    };
    let told = |events: Vec<Event>, unwanted: &[&str]| {
        let mut facts = of_lease(|lease| lease.record.modules.module = Some("sha256:b".into()));
        facts.events = Asked::Known(events);
        let wanted: &[&str] = if unwanted.is_empty() { &["not taken 7s ago"] } else { &[] };
        says(&facts, "12:00:12", &[wanted, &["All is as it should be"]].concat(), unwanted);
    };
    told(vec![rejected()], &[]);
    told(vec![rejected(), swapped("08", "b", "a")], &["not taken"]);
    let waits = |second: &str| event(second, "ModuleWaiting", "pod-1_0a has sha256:b ready: it waits");
    told(vec![rejected(), waits("06"), swapped("08", "b", "a")], &["not taken"]);
    // Not what the source has had since.
    told(vec![swapped("04", "b", "a"), rejected()], &[]);
    told(vec![waits("04"), rejected(), swapped("08", "b", "a")], &[]);
    told(vec![rejected(), swapped("06", "c", "b"), swapped("08", "b", "c")], &[]);
    let back = event("07", "ModuleRolledBack", "pod-1_0a runs sha256:b again: sha256:c has failed in its probation: ?");
    told(vec![rejected(), back, swapped("08", "b", "c")], &[]);
    // What runs is another one.
    told(vec![rejected(), swapped("08", "c", "b")], &[]);
}

#[test]
fn of_a_silent_holder_only_what_is_known_is_said() {
    let mut facts = of_lease(|_| {});
    says(
        &facts,
        "12:00:30",
        &["run out 4s ago", "What became of it is not known", "within seconds"],
        &["Nobody takes it"],
    );
    facts.pod = Some(HolderPod { name: "pod-1".into(), seen: Asked::Known(None) });
    says(&facts, "12:01:05", &["no Pod pod-1", "proves nothing", "Nobody takes it", "--adopt"], &["has ended"]);
    facts.pod = Some(pod(true, Asked::Known(true)));
    says(&facts, "12:00:12", &["that process has ended, the kubelet says", "in 13s"], &["All is as"]);
    says(&facts, "12:01:05", &["Its process has ended, the kubelet says."], &["if it still runs"]);
    facts.pod = Some(pod(false, Asked::Known(false)));
    says(&facts, "12:01:05", &["on node node-1, which is not ready", "nobody can say"], &["which is ready"]);
    facts.pod = Some(pod(false, Asked::NotKnown("no right".into())));
    says(
        &facts,
        "12:01:05",
        &["CrashLoopBackOff", "of which no more is known", "kubectl logs pod-1 -n jobs"],
        &["not ready"],
    );
    let foreign = of_lease(|lease| lease.record.task = None);
    says(&foreign, "12:01:05", &["whether its work goes on nevertheless is not known"], &["stopped its component"]);
}

#[test]
fn a_free_lease_is_waited_for_and_after_a_while_somebody_has_to_look() {
    let free = |renewed| of_lease(|lease| (lease.record.holder, lease.record.renewed) = (None, renewed));
    says(&free(None), "12:00:12", &["nobody has held it since it was made", "Nobody takes it"], &["within seconds"]);
    let mut released = free(wall("2026-01-02T12:00:10.25Z"));
    says(&released, "12:00:12", &["nobody holds it, since 1s ago", "within seconds"], &["Nobody takes it"]);
    let at = time("2026-01-02T12:00:10Z");
    let message = "pod-1_0a has released the lease, token 7: stepped-down".to_owned();
    let stepped = Event { at, reason: "StoppedLeading".into(), message, by: "leasehold.dev/host".into(), count: 1 };
    released.events = Asked::Known(vec![stepped]);
    says(&released, "12:00:22", &["lets others go first for 18s more"], &["Nobody takes it"]);
    says(&released, "12:00:52", &["Nobody takes it"], &["go first"]);
    released.candidates = Some(Asked::Known(Vec::new()));
    says(&released, "12:00:52", &["there is none: no replica runs with --coordinated"], &["Nobody takes it"]);
}

#[test]
fn what_cannot_be_told_is_said_to_be_so() {
    let untimed = of_lease(|lease| lease.record.renewed = None);
    says(&untimed, "12:00:12", &["does not say when it was renewed"], &["All is"]);
    let endless = of_lease(|lease| lease.record.duration = None);
    says(&endless, "12:00:12", &["does not say for how long it is valid"], &["All is"]);
    let broken = of_lease(|lease| lease.problem = Some("?".into()));
    says(&broken, "12:00:12", &["does not say what a Lease says"], &["All is"]);
    let gone = Facts { lease: None, ..of_lease(|_| {}) };
    says(&gone, "12:00:12", &["there is no such Lease now"], &[]);
}
