//! Leasehold with and without the right to follow Pods, and client-go's elector, deployed alike: their leaders are
//! deleted and killed in the same rounds. For the table at the end, and only where it is asked for:
//! `LEASEHOLD_STORIES_ROUNDS=20`.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use leasehold_tests::{cluster::now_micros, from_env};

use crate::{
    handover::{WITHOUT_CREATE, between_two_renewals, delete, first_line, measure},
    manifests::{Elector, free_lease, module, role, role_for_all},
    replicas::Replicas,
    story::Story,
    times::{What, Who},
};

/// How often each is deleted, and killed.
pub(crate) fn rounds() -> Option<u64> {
    from_env("LEASEHOLD_STORIES_ROUNDS")
}

pub(crate) fn side_by_side(story: &Story<'_>) {
    let rounds = rounds().expect("told only where it is asked for");
    let (follows, waits, theirs) = ("follows", "waits", "client-go");
    story.namespace.apply(&[role_for_all("all", follows), role("leases", &WITHOUT_CREATE)]);
    story.namespace.apply(&[follows, waits, theirs].map(free_lease));
    story.namespace.apply(&[follows, waits].map(|name| module(name, "heartbeat")));
    story.judge(follows);
    story.judge(waits);
    let all = [
        Replicas::deploy(story, Elector::leasehold(follows), "all"),
        Replicas::deploy(story, Elector::leasehold(waits), "leases"),
        Replicas::deploy(story, Elector::client_go(theirs), "leases"),
    ];
    let [follows, waits, theirs] = &all;

    for _ in 0..rounds {
        let leader = follows.settled();
        between_two_renewals();
        let deleted = delete(story, &leader);
        story.times.add(What::FollowedDeletion, Who::Leasehold, first_line(follows, &leader, deleted) - deleted);
        for (replicas, who) in [(waits, Who::Leasehold), (theirs, Who::ClientGo)] {
            let leader = replicas.settled();
            between_two_renewals();
            let deleted = delete(story, &leader);
            let line = measure(story, replicas, who, &leader, deleted);
            if who == Who::ClientGo {
                story.times.add(What::FollowedDeletion, who, line - deleted);
            }
        }
    }
    for _ in 0..rounds {
        let leaders = all.each_ref().map(Replicas::settled);
        between_two_renewals();
        let killed = leaders.each_ref().map(|leader| {
            let killed = now_micros();
            story.kill(&leader.pod);
            killed
        });
        let took = [0, 1, 2].map(|one| first_line(&all[one], &leaders[one], killed[one]) - killed[one]);
        story.times.add(What::ProvenCrash, Who::Leasehold, took[0]);
        story.times.add(What::KilledContainer, Who::Leasehold, took[1]);
        for what in [What::ProvenCrash, What::KilledContainer] {
            story.times.add(what, Who::ClientGo, took[2]);
        }
        for leader in &leaders {
            // The kubelet starts one that was killed again and again later and later.
            story.namespace.delete::<Pod>(&leader.pod.name_any());
        }
    }
}
