//! The leader's Pod is deleted, or its container is killed: another leads. Beside it, deployed in the same way,
//! client-go's elector, for comparison.

use std::{thread, time::Duration};

use k8s_openapi::api::{coordination::v1::LeaseSpec, core::v1::Pod};
use kube::ResourceExt;
use leasehold_tests::cluster::{now_micros, wait_for};
use serde_json::Value;

use crate::{
    manifests::{Elector, free_lease, module, role, role_for_all},
    replicas::{LEASE_DURATION_MICROS, Leader, Replicas, micros},
    story::Story,
    times::{What, Who},
};

const DELETED_ROUNDS: usize = 5;
const KILLED_ROUNDS: usize = 3;
const PROVEN_ROUNDS: usize = 5;
const RENEWED_EVERY_MS: u64 = 5_000;
/// A Role that people have: it may not create a Lease.
pub(crate) const WITHOUT_CREATE: [&str; 5] = ["get", "watch", "list", "update", "patch"];

/// Both electors in the story's namespace, each with a Lease that was made beforehand.
pub(crate) fn deploy_both<'s>(story: &'s Story<'s>) -> (Replicas<'s>, Replicas<'s>) {
    let (ours, theirs) = ("leasehold", "client-go");
    story.namespace.apply(&[
        role("elector", &WITHOUT_CREATE),
        free_lease(ours),
        free_lease(theirs),
        module(ours, "heartbeat"),
    ]);
    story.judge(ours);
    (
        Replicas::deploy(story, Elector::leasehold(ours), "elector"),
        Replicas::deploy(story, Elector::client_go(theirs), "elector"),
    )
}

pub(crate) fn deleted_pod(story: &Story<'_>) {
    let (ours, theirs) = deploy_both(story);
    let first = ours.settled();
    let lease = as_kubectl_shows_it(story);
    assert_eq!(lease["spec"]["leaseTransitions"], 1, "from nobody to the first: {lease}");
    let names = || ours.pods().expect("pods").iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let (mut before, mut joined_as_standby) = (names(), 0);

    let deleted = delete(story, &first);
    let successor = ours.wait_for_other(&first.run, "leading", deleted);
    measure(story, &ours, Who::Leasehold, &first, deleted);
    let holder = successor.event.line["identity"].as_str().expect("an identity").to_owned();

    let lease = as_kubectl_shows_it(story);
    let spec: LeaseSpec = serde_json::from_value(lease["spec"].clone()).expect("a spec");
    assert_eq!(spec.holder_identity.as_ref(), Some(&holder));
    let nonce = holder.strip_prefix(&format!("{}_", successor.run.pod)).expect("the Pod's name, and a nonce");
    assert!(nonce.len() == 8 && nonce.chars().all(|digit| digit.is_ascii_hexdigit()), "{holder}");
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(2), "from the first to the second");
    let acquired = micros(spec.acquire_time.as_ref());
    assert!((deleted..=successor.event.at_micros).contains(&acquired), "{lease}");
    assert!((acquired..=now_micros()).contains(&micros(spec.renew_time.as_ref())), "{lease}");
    assert_eq!(lease["metadata"]["annotations"]["leasehold.dev/task"], "leasehold");

    let renewed =
        ours.wait_for_lease("it is renewed", |now| micros(now.renew_time.as_ref()) > micros(spec.renew_time.as_ref()));
    assert_eq!(
        (renewed.acquire_time, renewed.lease_transitions, renewed.holder_identity),
        (spec.acquire_time, spec.lease_transitions, spec.holder_identity),
        "a renewal changes nothing else"
    );

    for round in 1..=DELETED_ROUNDS {
        let leader = ours.settled();
        joined_as_standby += usize::from(before.contains(&leader.pod.name_any()));
        for standby in names().iter().filter(|name| **name != leader.pod.name_any()) {
            assert_eq!(ours.last_leader_seen_by(standby), leader.identity);
        }
        if round == DELETED_ROUNDS {
            break;
        }
        before = names();
        let deleted = delete(story, &leader);
        measure(story, &ours, Who::Leasehold, &leader, deleted);
        let lease = ours.wait_for_lease("it is held again", |lease| {
            lease.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty() && holder != leader.identity)
        });
        assert_eq!(lease.lease_transitions, Some(2 + i32::try_from(round).expect("few")));
    }
    // On a slow machine a kubelet may take so long to tell the leader that its replacement is there before.
    assert!(joined_as_standby > 0, "no Pod made in place of a deleted one has joined as a standby");
    for _ in 0..DELETED_ROUNDS {
        let leader = theirs.settled();
        let deleted = delete(story, &leader);
        measure(story, &theirs, Who::ClientGo, &leader, deleted);
    }
}

pub(crate) fn delete(story: &Story<'_>, leader: &Leader) -> i64 {
    let asked = now_micros();
    story.namespace.delete::<Pod>(&leader.pod.name_any());
    asked
}

/// Returns when somebody else's guest has printed.
pub(crate) fn measure(story: &Story<'_>, replicas: &Replicas<'_>, who: Who, leader: &Leader, deleted: i64) -> i64 {
    let line = first_line(replicas, leader, deleted);
    story.times.add(What::DeletedPod, who, line - deleted);
    let told = replicas.wait_for_same(&leader.run, "shutdown", deleted).at_micros;
    story.times.add(What::Terminated, who, line - told);
    line
}

/// When somebody else's guest has printed.
pub(crate) fn first_line(replicas: &Replicas<'_>, before: &Leader, since: i64) -> i64 {
    replicas.wait_for_other(&before.run, "guest-output", since).event.at_micros
}

/// What is measured begins anywhere in the time between two renewals.
pub(crate) fn between_two_renewals() {
    thread::sleep(Duration::from_millis(fastrand::u64(0..RENEWED_EVERY_MS)));
}

fn as_kubectl_shows_it(story: &Story<'_>) -> Value {
    let args = ["--namespace", story.namespace.name(), "get", "lease", "leasehold", "--output=yaml"];
    let yaml = wait_for("kubectl shows the Lease", || story.cluster.kubectl(&args, "").map(Some));
    serde_saphyr::from_str(&yaml).expect("kubectl prints YAML")
}

pub(crate) fn killed_container(story: &Story<'_>) {
    let (ours, theirs) = deploy_both(story);
    for _ in 0..KILLED_ROUNDS {
        let (our_leader, their_leader) = (ours.settled(), theirs.settled());
        between_two_renewals();
        let killed = now_micros();
        story.kill(&our_leader.pod);
        // Theirs at the same time: both wait out their leases.
        let theirs_killed = now_micros();
        story.kill(&their_leader.pod);
        let left = ours.lease().expect("the Lease");
        assert_eq!(left.holder_identity.as_ref(), Some(&our_leader.identity), "nobody can have taken it yet");

        let taken = ours.wait_for_other(&our_leader.run, "guest-started", killed).event;
        let renewed = micros(left.renew_time.as_ref());
        assert!(taken.at_micros >= renewed + LEASE_DURATION_MICROS, "taken before it had run out: {taken}, {left:?}");
        story.times.add(What::KilledContainer, Who::Leasehold, first_line(&ours, &our_leader, killed) - killed);
        let their_line = first_line(&theirs, &their_leader, theirs_killed);
        story.times.add(What::KilledContainer, Who::ClientGo, their_line - theirs_killed);
    }
    // Killed ones were started again, where they were.
    ours.settled();
    let restarts: i32 = ours.pods().expect("pods").iter().map(leasehold_tests::cluster::namespace::restarts).sum();
    assert_eq!(restarts, i32::try_from(KILLED_ROUNDS).expect("few"));
}

/// With the right to follow Pods, a crash is no reason to wait: the kubelet says that the container has ended.
pub(crate) fn proven_crash(story: &Story<'_>) {
    let name = "leasehold";
    story.namespace.apply(&[role_for_all("all", name), free_lease(name), module(name, "heartbeat")]);
    story.judge(name);
    let replicas = Replicas::deploy(story, Elector::leasehold(name), "all");
    let mut proven = 0;
    for _ in 0..PROVEN_ROUNDS {
        let leader = replicas.settled();
        between_two_renewals();
        let killed = now_micros();
        story.kill(&leader.pod);
        let taken = replicas.wait_for_other(&leader.run, "leading", killed);
        story.times.add(What::ProvenCrash, Who::Leasehold, first_line(&replicas, &leader, killed) - killed);
        let told = story.look(|events| {
            let about = |line: &Value| line["leader"] == leader.identity.as_str();
            events
                .iter()
                .any(|event| event.run == taken.run && event.event.name() == "holder-ended" && about(&event.event.line))
        });
        proven += usize::from(told);
    }
    // A kubelet that takes longer than the lease has proven nothing that anybody still waited for.
    assert!(proven > 0, "nobody has heard of the end of a leader that was killed");
}

/// With that right, a deleted Pod's host does not wait for its kubelet either.
pub(crate) fn followed_deletion(story: &Story<'_>) {
    let name = "leasehold";
    story.namespace.apply(&[role_for_all("all", name), free_lease(name), module(name, "heartbeat")]);
    story.judge(name);
    let replicas = Replicas::deploy(story, Elector::leasehold(name), "all");
    for _ in 0..DELETED_ROUNDS {
        let leader = replicas.settled();
        let deleted = delete(story, &leader);
        story.times.add(What::FollowedDeletion, Who::Leasehold, first_line(&replicas, &leader, deleted) - deleted);
        replicas.wait_for_same(&leader.run, "pod-deleted", deleted);
        replicas.wait_for_same(&leader.run, "shutdown", deleted);
    }
}
