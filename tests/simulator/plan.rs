//! What a history is made of: everything that is decided before it begins, from its seed.

use std::time::Duration;

use leasehold_core::{
    task::{OnReturn, TaskConfig},
    timing::Timing,
};

use crate::{
    clock::{SECOND, TrueTime},
    faults::Fault,
};

/// A mistake planted into the world around the core, to see that the simulator finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The term is counted from when the answer to a write arrives.
    TermCountedFromAnswer,
    /// The term ends without a margin.
    NoMargin,
    /// Clocks differ by more than the margin covers.
    ClocksFarApart,
    /// The guest's gate does not look at the bound while nobody runs the control loop.
    GateTrustsControlLoop,
    /// The store takes every write.
    NoCompareAndSwap,
    /// Every process has the same identity.
    SharedIdentity,
    /// Versions begin anew when the Lease is made again, as `leaseTransitions` does.
    VersionsRestart,
    /// The runtime says that a guest is gone while it still runs.
    GuestDeclaredGone,
    /// A host that is asked to step down gives the Lease up before its guest has stopped.
    ReleasesOnRequest,
    /// The operator empties the holder, instead of asking it.
    OperatorClears,
    /// Requests to step down do not last: a Lease is stored without them.
    RequestsForgotten,
    /// A leader that is cut off is taken for one that has ended.
    SilenceTakenForProof,
    /// One fault never ends: nobody can reach the store any more.
    NeverHeals,
}

/// The network between the replicas and the store.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// Of each way, as a rule.
    pub(crate) latency_max: TrueTime,
    pub(crate) lost: f64,
    pub(crate) slow: f64,
    /// The longest that a message is under way: longer than any request is waited for.
    pub(crate) slow_max: TrueTime,
    pub(crate) duplicated: f64,
    pub(crate) coalesced: f64,
    pub(crate) stale: f64,
}

impl Net {
    pub(crate) fn calm() -> Self {
        Self {
            latency_max: SECOND / 50,
            lost: 0.0,
            slow: 0.0,
            slow_max: 0,
            duplicated: 0.0,
            coalesced: 0.0,
            stale: 0.0,
        }
    }

    fn random(rng: &mut fastrand::Rng) -> Self {
        let mut sometimes = |max: f64| if rng.bool() { rng.f64() * max } else { 0.0 };
        let (lost, slow, duplicated, coalesced, stale) =
            (sometimes(0.1), sometimes(0.2), sometimes(0.1), sometimes(0.8), sometimes(0.5));
        Self {
            latency_max: rng.u64(SECOND / 1_000..SECOND / 10),
            lost,
            slow,
            slow_max: rng.u64(SECOND..30 * SECOND),
            duplicated,
            coalesced,
            stale,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) replicas: usize,
    pub(crate) timing: Timing,
    pub(crate) task: TaskConfig,
    pub(crate) rate_ppm_max: i64,
    /// The others get proof when a process has ended.
    pub(crate) kubelet_tells: bool,
    /// Somebody's script competes as well.
    pub(crate) script: bool,
    pub(crate) net: Net,
    /// Of these, one comes after the other.
    pub(crate) faults: Vec<Fault>,
    pub(crate) fault_every_max: TrueTime,
    /// How long there are faults.
    pub(crate) rough: TrueTime,
    pub(crate) defect: Option<Defect>,
}

impl Plan {
    /// Not every history has every fault: where some are missing, others get further.
    pub(crate) fn random(rng: &mut fastrand::Rng, defect: Option<Defect>) -> Self {
        let s = Duration::from_secs;
        let timings = [(15, s(10), s(2)), (6, s(4), s(1)), (3, s(2), Duration::from_millis(300))];
        let (lease_s, renew_deadline, retry) = timings[rng.usize(..timings.len())];
        let density = rng.f64();
        let faults = Fault::ALL.iter().copied().filter(|_| rng.f64() < density).collect();
        let task = TaskConfig {
            stop_grace: Duration::from_millis(rng.u64(0..6_000)),
            on_return: [OnReturn::Hold, OnReturn::Release, OnReturn::Restart][rng.usize(..3)],
            stay_out: s(rng.u64(1..30)),
            ..TaskConfig::default()
        };
        Self {
            replicas: rng.usize(2..=4),
            timing: Timing::new(s(lease_s), renew_deadline, retry).expect("the simulator's own timings are valid"),
            task,
            rate_ppm_max: if defect == Some(Defect::ClocksFarApart) { 50_000 } else { 4_000 },
            kubelet_tells: rng.bool(),
            script: rng.u8(..3) == 0,
            net: Net::random(rng),
            faults,
            fault_every_max: rng.u64(2 * SECOND..60 * SECOND),
            rough: rng.u64(60 * SECOND..900 * SECOND),
            defect,
        }
    }
}
