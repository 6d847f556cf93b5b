//! How long nobody works when the leader ends. Beside it, the two writes that a handover cannot do without.

use leasehold::lease::kubernetes::KubernetesStore;
use leasehold_core::{lease::LeaseRecord, ports::LeaseStore};
use leasehold_tests::{
    host_process::HostProcess,
    table::{Samples, SideBySide},
};
use rustix::process::Signal;

use super::{Elector, LEASE_DURATION, World, anywhere_between_two_renewals, now_micros, rounds};

pub(super) fn handover(world: &World) {
    let mut table = SideBySide::new("Leader's end to the successor's first line, two replicas, p50 (max, n)");
    let (mut asked, mut killed) = ([Samples::new(), Samples::new()], [Samples::new(), Samples::new()]);
    let mut pairs = [Pair::new(world, Elector::Leasehold("heartbeat")), Pair::new(world, CLIENT_GO)];
    for round in 0..rounds() {
        for turn in 0..2 {
            let one = (round + turn) % 2;
            anywhere_between_two_renewals();
            let ended = pairs[one].end_leader(End::Asked);
            asked[one].add_micros(pairs[one].next_leads() - ended);
        }
    }
    for _ in 0..rounds() {
        anywhere_between_two_renewals();
        // Both at once: their leases have to run out.
        let ended = [0, 1].map(|one| pairs[one].end_leader(End::Killed));
        for one in [0, 1] {
            killed[one].add_micros(pairs[one].next_leads() - ended[one]);
        }
    }
    let limit = world.runtime.block_on(two_writes(world));
    let whole = format!("killed (SIGKILL), nothing to prove it; the lease is {} s", LEASE_DURATION.as_secs());
    table.times("asked to end (SIGTERM); client-go with ReleaseOnCancel", Some(&asked[0]), Some(&asked[1]));
    table.times("the limit of that: two lease writes one after the other", Some(&limit), None);
    table.times(&whole, Some(&killed[0]), Some(&killed[1]));
    table.print();
}

const CLIENT_GO: Elector = Elector::ClientGo { releases: true };

#[derive(Clone, Copy)]
enum End {
    Asked,
    Killed,
}

/// Two replicas, of which the leader ends and is replaced by a new standby, in turn.
struct Pair<'w> {
    world: &'w World,
    elector: Elector,
    lease: &'static str,
    spawned: usize,
    leader: HostProcess,
    standby: HostProcess,
}

impl<'w> Pair<'w> {
    fn new(world: &'w World, elector: Elector) -> Self {
        let lease = match elector {
            Elector::Leasehold(_) => "pair-leasehold",
            Elector::ClientGo { .. } => "pair-client-go",
        };
        let leader = world.spawn(elector, "replica-0", lease);
        leader.wait_for_event("guest-output", 1);
        let standby = world.spawn(elector, "replica-1", lease);
        standby.wait_for_event("new-leader", 1);
        Self { world, elector, lease, spawned: 2, leader, standby }
    }

    /// Returns when.
    fn end_leader(&mut self, end: End) -> i64 {
        let ended = now_micros();
        match end {
            End::Asked => self.leader.signal(Signal::TERM),
            End::Killed => self.leader.kill(),
        }
        ended
    }

    /// Returns when it printed its first line.
    fn next_leads(&mut self) -> i64 {
        let first = self.standby.wait_for_event("guest-output", 1).at_micros;
        let next = self.world.spawn(self.elector, &format!("replica-{}", self.spawned), self.lease);
        self.spawned += 1;
        next.wait_for_event("new-leader", 1);
        // The one that has ended is waited for, and dropped.
        self.leader = std::mem::replace(&mut self.standby, next);
        first
    }
}

/// What the store takes for a release and the acquire that follows it.
async fn two_writes(world: &World) -> Samples {
    let store = KubernetesStore::new(world.plane.client(), "default", "writes");
    let mut samples = Samples::new();
    let mut record = LeaseRecord { holder: Some("a".into()), ..LeaseRecord::default() };
    let mut version = store.write(None, &record).await.expect("created");
    for round in 0..100_u32 {
        let begun = std::time::Instant::now();
        for holder in [None, Some(format!("{round}"))] {
            record.holder = holder;
            version = store.write(Some(version), &record).await.expect("written");
        }
        samples.add_micros(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    samples
}
