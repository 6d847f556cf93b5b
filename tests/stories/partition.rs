//! The leader's node is cut off: what runs there goes on, and hears of nothing.

use kube::ResourceExt;
use leasehold_tests::cluster::{namespace::node_of, now_micros, wait_for};

use crate::{
    handover::{between_two_renewals, deploy_both},
    manifests::{Elector, free_lease, module, role_for_all},
    replicas::{LEASE_DURATION_MICROS, Leader, Replicas, micros},
    story::Story,
    times::{What, Who},
};

const ROUNDS: usize = 3;

/// After the first round both electors' leaders are on the node that was not cut off: from then on a round is one of
/// both.
pub(crate) fn cut_off_node(story: &Story<'_>) {
    let (ours, theirs) = deploy_both(story);
    let (mut our_rounds, mut their_rounds) = (0, 0);
    while our_rounds < ROUNDS || their_rounds < ROUNDS {
        let (our_leader, their_leader) = (ours.settled(), theirs.settled());
        let node = node_of(&our_leader.pod).expect("a node").to_owned();
        let theirs_too = node_of(&their_leader.pod).expect("a node") == node;
        between_two_renewals();
        let cut_at = now_micros();
        let cut = story.cluster.cut_off(&node).expect("cut off");

        let taken_over = stopped_before_the_next_started(&ours, &our_leader, cut_at);
        story.times.add(What::Partition, Who::Leasehold, taken_over - cut_at);
        our_rounds += 1;
        if theirs_too {
            let taken_over = theirs.wait_for_other(&their_leader.run, "guest-output", cut_at).event.at_micros;
            story.times.add(What::Partition, Who::ClientGo, taken_over - cut_at);
            their_rounds += 1;
        }

        let held = ours.lease().expect("the Lease");
        let joined_at = now_micros();
        cut.join().expect("joined");
        ours.wait_for_same(&our_leader.run, "new-leader", joined_at);
        let next = ours.settled();
        assert_eq!(held.holder_identity.as_ref(), Some(&next.identity), "it moves when somebody comes back");
        assert_eq!(ours.lease().expect("the Lease").lease_transitions, held.lease_transitions);
    }
}

/// A Pod object that is deleted by force says nothing of its container, which runs on where nobody can reach it: not
/// even with the right to follow Pods is its lease taken before it has run out.
pub(crate) fn deleted_by_force(story: &Story<'_>) {
    let name = "leasehold";
    story.namespace.apply(&[role_for_all("all", name), free_lease(name), module(name, "heartbeat")]);
    story.judge(name);
    let replicas = Replicas::deploy(story, Elector::leasehold(name), "all");
    let leader = replicas.settled();
    let cut_at = now_micros();
    let cut = story.cluster.cut_off(node_of(&leader.pod).expect("a node")).expect("cut off");
    let pod = leader.pod.name_any();
    let by_force = ["--namespace", story.namespace.name(), "delete", "pod", &pod, "--force", "--grace-period=0"];
    story.cluster.kubectl(&by_force, "").unwrap_or_else(|error| panic!("{error:#}"));
    stopped_before_the_next_started(&replicas, &leader, cut_at);
    let told = story.look(|events| events.iter().any(|event| event.event.name() == "holder-ended"));
    assert!(!told, "nothing was proven");
    cut.join().expect("joined");
    replicas.settled();
}

/// Judged on one clock, though nobody who runs could: the nodes share this machine's. Returns when the next one's
/// guest has printed its first line.
fn stopped_before_the_next_started(replicas: &Replicas<'_>, leader: &Leader, cut_at: i64) -> i64 {
    // The leader's last renewal, also where it was on its way when the node was cut off.
    let mut last = None;
    wait_for("somebody else holds the lease", || {
        let lease = replicas.lease()?;
        let taken = lease.holder_identity.as_ref() != Some(&leader.identity);
        if !taken {
            last = Some(lease);
        }
        Ok(taken.then_some(()))
    });
    let renewed = micros(last.expect("seen before it was taken").renew_time.as_ref());
    let started = replicas.wait_for_other(&leader.run, "guest-started", cut_at).event;
    let asked = replicas.wait_for_same(&leader.run, "stop-requested", cut_at);
    let stopped = replicas.wait_for_same(&leader.run, "guest-stopped", cut_at);
    assert_eq!(stopped.line["reason"], "leadership-lost");
    assert!(asked.at_micros <= stopped.at_micros, "it was asked to stop first");
    let bound = renewed + LEASE_DURATION_MICROS;
    assert!(stopped.at_micros <= bound, "the guest stopped {} us after its lease", stopped.at_micros - bound);
    assert!(stopped.at_micros < started.at_micros, "two at once: {stopped} and {started}");
    assert!(started.at_micros >= bound, "taken {} us before it had run out", bound - started.at_micros);
    replicas.wait_for_other(&leader.run, "guest-output", cut_at).event.at_micros
}
