//! The control plane is away for a while.

use std::{thread, time::Duration};

use kube::ResourceExt;
use leasehold_tests::cluster::{namespace::restarts, now_micros, wait_for};

use crate::{
    manifests::{ENOUGH, Elector, free_lease, module, role},
    replicas::{LEASE_DURATION_MICROS, Replicas, micros},
    story::Story,
};

const NAME: &str = "leasehold";
/// Leasehold's default: so long after a renewal its guest is asked to stop.
const RENEW_DEADLINE_MICROS: i64 = 10_000_000;
const ETCD_AWAY: Duration = Duration::from_secs(30);
/// How often the API server may take too long to come back, on a machine with other things to do.
const ATTEMPTS: usize = 3;

fn deploy<'s>(story: &'s Story<'s>) -> Replicas<'s> {
    story.namespace.apply(&[role("elector", &ENOUGH), free_lease(NAME), module(NAME, "heartbeat")]);
    story.judge(NAME);
    Replicas::deploy(story, Elector::leasehold(NAME), "elector")
}

/// The Pods, and how often each was restarted.
fn pods(replicas: &Replicas<'_>) -> Vec<(Option<String>, i32)> {
    wait_for("the Pods", || {
        let mut pods: Vec<_> = replicas.pods()?.iter().map(|pod| (pod.uid(), restarts(pod))).collect();
        pods.sort();
        Ok(Some(pods))
    })
}

pub(crate) fn api_server_restarted(story: &Story<'_>) {
    let replicas = deploy(story);
    for _ in 0..ATTEMPTS {
        let leader = replicas.settled();
        let (before, pods_before) = (replicas.lease().expect("the Lease"), pods(&replicas));
        // Just after a renewal, so that there is time for it to come back.
        let renewed = replicas
            .wait_for_lease("it is renewed", |lease| {
                micros(lease.renew_time.as_ref()) > micros(before.renew_time.as_ref())
            })
            .renew_time;
        let stopped_at = now_micros();
        story.cluster.stop("kube-apiserver").expect("stopped").start().expect("started again");
        let next = replicas
            .wait_for_lease("it is renewed again", |lease| micros(lease.renew_time.as_ref()) > stopped_at)
            .renew_time;
        if micros(next.as_ref()) - micros(renewed.as_ref()) >= RENEW_DEADLINE_MICROS {
            eprintln!("the API server was away for too long; once more");
            continue;
        }
        let settled = replicas.settled();
        assert_eq!(settled.identity, leader.identity);
        let lease = replicas.lease().expect("the Lease");
        assert_eq!((lease.acquire_time, lease.lease_transitions), (before.acquire_time, before.lease_transitions));
        let since = replicas.events_since(stopped_at);
        let changes = ["leading", "lost", "released", "stop-requested", "guest-stopped"];
        let changed: Vec<_> = since.iter().filter(|event| changes.contains(&event.event.name())).collect();
        assert!(changed.is_empty(), "{changed:?}");
        assert_eq!(pods(&replicas), pods_before, "the same Pods, without a restart");
        return;
    }
    panic!("the API server was never back within {} s of a renewal", RENEW_DEADLINE_MICROS / 1_000_000);
}

pub(crate) fn etcd_stopped(story: &Story<'_>) {
    let replicas = deploy(story);
    let leader = replicas.settled();
    let pods_before = pods(&replicas);
    let stopping_at = now_micros();
    let etcd = story.cluster.stop("etcd").expect("stopped");
    let stopped_at = now_micros();
    // The last renewal was before that, so the bound is before this.
    let bound = stopped_at + LEASE_DURATION_MICROS;
    let stopped = replicas.wait_for_same(&leader.run, "guest-stopped", stopping_at);
    assert!(stopped.at_micros <= bound, "the guest stopped {} us too late", stopped.at_micros - bound);
    assert_eq!(stopped.line["reason"], "leadership-lost");

    let away = Duration::from_micros(u64::try_from(now_micros() - stopped_at).expect("time goes on"));
    thread::sleep(ETCD_AWAY.saturating_sub(away));
    let started_at = now_micros();
    let meanwhile = replicas.events_since(stopped.at_micros + 1);
    let works = meanwhile.iter().filter(|event| event.event.name() == "guest-output").count();
    assert_eq!(works, 0, "without etcd nobody leads");
    etcd.start().expect("started again");
    let next = replicas.wait_for_event("a guest afterwards", |event| {
        event.event.name() == "guest-started" && event.event.at_micros >= started_at
    });
    assert!(next.event.token() > stopped.token());
    replicas.settled();
    assert_eq!(pods(&replicas), pods_before, "the same Pods, without a restart");
}
