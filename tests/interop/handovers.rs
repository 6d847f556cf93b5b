//! From each kind to each other: one leads and ends, the only one that stands by leads next.

use std::collections::BTreeSet;

use crate::{
    peers::{Durations, Kind, Naive},
    scene::{Cluster, Player, Scene},
};

/// Long enough that a busy machine does not make a leader lose it.
const DURATIONS: Durations = Durations { lease_s: 5, renew_deadline_s: 4, retry_period_s: 1 };

/// How often an elector of somebody else's is asked to give the Lease up.
const ASKED_AT_MOST: usize = 10;

/// An order in which the lead goes from one to the next.
struct Chain {
    order: Vec<Kind>,
    naive_is_bare: bool,
}

#[test]
fn each_hands_over_to_each() {
    let cluster = Cluster::start();
    let chains = chains();
    let done: BTreeSet<_> = std::thread::scope(|threads| {
        let running: Vec<_> = chains
            .iter()
            .enumerate()
            .map(|(number, chain)| {
                let mut scene = cluster.scene(&format!("handovers-{number}"), DURATIONS);
                threads.spawn(move || run(&mut scene, chain, number))
            })
            .collect();
        running.into_iter().flat_map(|chain| chain.join().expect("a chain of handovers")).collect()
    });
    for from in Kind::ALL {
        for to in Kind::ALL.into_iter().filter(|to| *to != from) {
            // One gives nothing up, the other takes nothing else.
            let never = (from, to) == (Kind::Python, Kind::Naive);
            assert_eq!(done.contains(&(from, to)), !never, "from {from} to {to}");
        }
    }
}

/// Every pair once: in the circle of five, from each to the next, to the second next, and so on.
fn chains() -> Vec<Chain> {
    let circle = |step: usize, first: usize| (0..6).map(move |i| Kind::ALL[(first + i * step) % 5]);
    let mut chains: Vec<_> =
        (2..5).map(|step| Chain { order: circle(step, 0).collect(), naive_is_bare: step == 2 }).collect();
    // The last step of this circle would be from the Python client's to the naive one.
    chains.push(Chain { order: circle(1, 4).take(5).collect(), naive_is_bare: true });
    // The other kind of record that a naive one leaves behind.
    chains.push(Chain { order: vec![Kind::Naive, Kind::Leasehold], naive_is_bare: false });
    chains
}

fn run(scene: &mut Scene, chain: &Chain, number: usize) -> BTreeSet<(Kind, Kind)> {
    let naive = |clears| Naive { bare: chain.naive_is_bare, clears };
    let is_graceful = |position: usize| {
        // It takes nothing but what was given up.
        chain.order.get(position + 1) == Some(&Kind::Naive) || (position + number) % 2 == 1
    };
    let mut leader = scene.begin(chain.order[0], naive(is_graceful(0)));
    leader.wait_until_it_leads();
    for (position, kind) in chain.order.iter().enumerate().skip(1) {
        let standby = scene.begin(*kind, naive(is_graceful(position)));
        standby.wait_until_it_competes();
        if is_graceful(position - 1) {
            hand_over(scene, leader, *kind, naive(true));
        } else {
            scene.end(leader, false);
        }
        standby.wait_until_it_leads();
        leader = standby;
    }
    scene.end(leader, true);
    let verdict = scene.verdict();
    println!("{:?}\n{verdict}", chain.order);
    assert!(verdict.violations.is_empty(), "{verdict}\n{:#?}", scene.versions());
    verdict.handovers.into_keys().collect()
}

/// Asks the leader to end. Leasehold has given the Lease up when it has. Others try to, and the next one waits until
/// their record has run out; but for a script, which takes nothing but what was given up: for that one somebody of
/// their kind leads again, and is asked again.
fn hand_over(scene: &mut Scene, mut leader: Player, next: Kind, naive: Naive) {
    for _ in 0..ASKED_AT_MOST {
        let (kind, name) = (leader.kind, leader.name.clone());
        scene.end(leader, true);
        let gave_up = !scene.is_still_held_by(&name);
        assert!(gave_up || kind != Kind::Leasehold, "{name} has ended, and has not released: {:#?}", scene.versions());
        if gave_up || next != Kind::Naive {
            return;
        }
        println!("{name} has ended, and has not given the Lease up");
        leader = scene.begin(kind, naive);
        leader.wait_until_it_leads();
    }
    panic!("none of {ASKED_AT_MOST} has given the Lease up: {:#?}", scene.versions());
}
