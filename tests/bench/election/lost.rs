//! A leader that has lost the Lease, or cannot know whether it has: how long its work goes on.
//!
//! client-go's work is told by a context that is cancelled. What it does then is its own affair: here, it ends.

use std::{thread, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use leasehold_tests::{
    host_process::HostProcess,
    network::{Network, Weather},
    table::{Samples, table},
};
use serde_json::json;

use super::{Elector, LEASE_DURATION, World, anywhere_between_two_renewals, now_micros, rounds};

/// So that it arrives within client-go's RenewDeadline, of 10 s.
const LATE: Duration = Duration::from_secs(9);

const LEADERS: [(&str, Elector); 4] = [
    ("Leasehold, guest that ends when asked", Elector::Leasehold("heartbeat")),
    ("Leasehold, guest that computes for ever", Elector::Leasehold("busy-loop")),
    ("client-go", Elector::ClientGo { releases: false }),
    ("client-go, ReleaseOnCancel", Elector::ClientGo { releases: true }),
];

/// What happens to a leader.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Another stands on the Lease.
    Taken,
    /// Nothing gets through any more.
    CutOff,
    /// The same, after a renewal that arrived at once and was answered [`LATE`].
    AnsweredLate,
}

pub(super) fn lost(world: &World) {
    let mut table =
        table(&["", "another written in", "last renewal sent, then cut off", "the same, but answered 9 s late"]);
    let mut cells = LEADERS.map(|(name, _)| vec![name.to_owned()]);
    // The last one is known of others, and takes long.
    for (loss, rounds) in
        [(Loss::Taken, rounds()), (Loss::CutOff, rounds()), (Loss::AnsweredLate, rounds().div_ceil(4))]
    {
        let mut samples = LEADERS.map(|_| Samples::new());
        for round in 0..rounds {
            let leaders = LEADERS.map(|(_, elector)| Leader::new(world, elector, loss, round));
            anywhere_between_two_renewals();
            thread::scope(|threads| {
                for (leader, samples) in leaders.iter().zip(&mut samples) {
                    threads.spawn(|| samples.add_micros(leader.works_on_after(loss)));
                }
            });
        }
        for (cells, samples) in cells.iter_mut().zip(&samples) {
            cells.push(samples.cell());
        }
    }
    table.add_rows(cells);
    let seconds = LEASE_DURATION.as_secs();
    println!("A leader has lost its lease of {seconds} s: how long its work goes on since, p50 (max, n)\n\n{table}\n");
}

/// A replica that leads, on a lease and a network of its own.
struct Leader<'w> {
    world: &'w World,
    process: HostProcess,
    lease: String,
    network: Network,
}

impl<'w> Leader<'w> {
    fn new(world: &'w World, elector: Elector, loss: Loss, round: usize) -> Self {
        let kind = match elector {
            Elector::Leasehold(module) => module,
            Elector::ClientGo { releases: true } => "client-go-releasing",
            Elector::ClientGo { releases: false } => "client-go",
        };
        let lease = format!("lost-{loss:?}-{round}-{kind}").to_lowercase();
        let network = world.runtime.block_on(Network::to(world.plane.server())).expect("a network");
        let kubeconfig = world.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
        let process = elector.spawn("leader", &lease, &kubeconfig);
        process.wait_for_event("guest-output", 1);
        Self { world, process, lease, network }
    }

    /// In microseconds.
    fn works_on_after(&self, loss: Loss) -> i64 {
        let since = match loss {
            Loss::Taken => {
                let since = now_micros();
                self.give_to_another();
                since
            }
            Loss::CutOff => {
                self.network.set(Weather { silent: true, ..Weather::default() });
                self.renewed_micros()
            }
            Loss::AnsweredLate => {
                self.network.set(Weather { answers_late: LATE, ..Weather::default() });
                let before = self.renewed_micros();
                while self.renewed_micros() == before {
                    thread::sleep(Duration::from_millis(20));
                }
                // The answer to that renewal arrives, and nothing after it.
                thread::sleep(LATE + Duration::from_millis(500));
                self.network.set(Weather { silent: true, ..Weather::default() });
                self.renewed_micros()
            }
        };
        self.process.wait_for_event("guest-stopped", 1).at_micros - since
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.world.plane.client(), "default")
    }

    /// When the renewal that stands on the Lease was sent.
    fn renewed_micros(&self) -> i64 {
        let lease = self.world.runtime.block_on(async { self.leases().get(&self.lease).await }).expect("the lease");
        lease.spec.and_then(|spec| spec.renew_time).expect("it was renewed").0.as_microsecond()
    }

    fn give_to_another(&self) {
        let patch = Patch::Merge(json!({"spec": {"holderIdentity": "another"}}));
        let written = self
            .world
            .runtime
            .block_on(async { self.leases().patch(&self.lease, &PatchParams::default(), &patch).await });
        written.expect("patched");
    }
}
