//! What a history is made of: everything that is decided before it begins, from its seed.
//!
//! A plan can be written down (as JSON), made smaller, and run again: `shrink.rs` does that.

use std::time::Duration;

use leasehold_core::{
    task::{OnReturn, SwapPolicy, TaskConfig},
    timing::{FOREIGN_DURATION_MAX, Timing},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{MILLISECOND, SECOND, TrueTime},
    controller::CoordinatedPlan,
    defect::Defect,
    faults::{Fault, PlannedFault},
    foreign::ForeignPlan,
    lull::Lull,
};

/// The network between the replicas and the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Net {
    /// Of each way, as a rule.
    pub(crate) latency_max_ms: u64,
    pub(crate) lost: f64,
    pub(crate) slow: f64,
    /// The longest that a message is under way: longer than any request is waited for.
    pub(crate) slow_max_ms: u64,
    pub(crate) duplicated: f64,
    pub(crate) coalesced: f64,
    pub(crate) stale: f64,
}

impl Net {
    pub(crate) fn calm() -> Self {
        Self { latency_max_ms: 20, lost: 0.0, slow: 0.0, slow_max_ms: 0, duplicated: 0.0, coalesced: 0.0, stale: 0.0 }
    }

    fn random(rng: &mut fastrand::Rng) -> Self {
        let mut sometimes = |max: f64| if rng.bool() { rng.f64() * max } else { 0.0 };
        let (lost, slow, duplicated, coalesced, stale) =
            (sometimes(0.1), sometimes(0.2), sometimes(0.1), sometimes(0.8), sometimes(0.5));
        Self {
            latency_max_ms: rng.u64(1..100),
            lost,
            slow,
            slow_max_ms: rng.u64(1_000..30_000),
            duplicated,
            coalesced,
            stale,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnReturn")]
enum OnReturnText {
    Hold,
    Release,
    Restart,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SwapPolicy")]
enum SwapText {
    Now,
    Drain,
    NextTerm,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) replicas: usize,
    pub(crate) lease_s: u64,
    pub(crate) renew_deadline_ms: u64,
    pub(crate) retry_period_ms: u64,
    pub(crate) stop_grace_ms: u64,
    /// By when guests have to report progress, if they have to.
    pub(crate) progress_deadline_ms: Option<u64>,
    /// The modules have callbacks, which take so long at most.
    pub(crate) callbacks_ms: Option<u64>,
    /// The machine whose guests never report any, but for a lull.
    pub(crate) sick: Option<usize>,
    #[serde(with = "OnReturnText")]
    pub(crate) on_return: OnReturn,
    pub(crate) stay_out_s: u64,
    #[serde(with = "SwapText")]
    pub(crate) swap: SwapPolicy,
    pub(crate) probation_ms: u64,
    pub(crate) rate_ppm_max: i64,
    /// The others get proof when a process has ended.
    pub(crate) kubelet_tells: bool,
    /// Somebody's script competes as well.
    pub(crate) script: bool,
    pub(crate) net: Net,
    /// Other electors on the same Lease.
    pub(crate) foreigners: Vec<ForeignPlan>,
    /// The API server picks the holder from those who are candidates.
    pub(crate) coordinated: Option<CoordinatedPlan>,
    /// The leader's Pod carries a label.
    pub(crate) labels: bool,
    /// Somewhere in the rough part: a while without faults but one.
    pub(crate) lull: Option<Lull>,
    /// How long there are faults.
    pub(crate) rough_ms: u64,
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) defect: Option<Defect>,
}

impl Plan {
    /// Not every history has every fault: where some are missing, others get further.
    pub(crate) fn random(rng: &mut fastrand::Rng, defect: Option<Defect>) -> Self {
        let timings = [(15, 10_000, 2_000), (6, 4_000, 1_000), (3, 2_000, 300)];
        let (lease_s, renew_deadline_ms, retry_period_ms) = timings[rng.usize(..timings.len())];
        let density = rng.f64();
        let kinds: Vec<Fault> = Fault::ALL.iter().copied().filter(|_| rng.f64() < density).collect();
        let rough_ms = rng.u64(60_000..900_000);
        let foreigners = [0, 0, 1, 2][rng.usize(..4)];
        let swap = [SwapPolicy::Now, SwapPolicy::Now, SwapPolicy::Drain, SwapPolicy::NextTerm][rng.usize(..4)];
        // In the calm a task runs, which would be done for its term.
        let on_return = match swap {
            SwapPolicy::NextTerm => [OnReturn::Release, OnReturn::Restart][rng.usize(..2)],
            _ => [OnReturn::Hold, OnReturn::Release, OnReturn::Restart][rng.usize(..3)],
        };
        let plan = Self {
            replicas: rng.usize(2..=4),
            lease_s,
            renew_deadline_ms,
            retry_period_ms,
            stop_grace_ms: rng.u64(0..6_000),
            progress_deadline_ms: [None, Some(1_500), Some(10_000), Some(30_000)][rng.usize(..4)],
            callbacks_ms: [None, Some(500), Some(5_000)][rng.usize(..3)],
            sick: rng.bool().then(|| rng.usize(..2)),
            on_return,
            stay_out_s: rng.u64(1..30),
            rate_ppm_max: if defect == Some(Defect::ClocksFarApart) { 50_000 } else { 4_000 },
            kubelet_tells: rng.bool(),
            script: rng.u8(..3) == 0,
            net: match defect {
                // It takes a save that is under way for long.
                Some(Defect::LoadsDoNotWait) => Net { slow: 0.5, ..Net::random(rng) },
                _ => Net::random(rng),
            },
            foreigners: (0..foreigners).map(|_| ForeignPlan::random(rng)).collect(),
            lull: (rng.u32(0..3) == 0).then(|| Lull::random(rng, rough_ms, lease_s)),
            rough_ms,
            faults: PlannedFault::schedule(rng, &kinds, rough_ms),
            defect,
            coordinated: None,
            labels: defect.map_or_else(|| rng.bool(), Defect::is_about_labels),
            swap,
            probation_ms: [2_000, 10_000, 30_000][rng.usize(..3)],
        };
        match rng.u8(..4) {
            0 => plan.made_coordinated(rng),
            _ => plan,
        }
    }

    /// Whom the API server pushes aside, foreign electors and scripts do not wait for: their mistake is known. And a
    /// watch that skips states cannot tell of those who were.
    fn made_coordinated(self, rng: &mut fastrand::Rng) -> Self {
        Self {
            coordinated: Some(CoordinatedPlan { open: [0, 0, 1][rng.usize(..3)] }),
            script: false,
            foreigners: Vec::new(),
            lull: None,
            net: Net { coalesced: 0.0, ..self.net },
            ..self
        }
    }

    pub(crate) fn timing(&self) -> Timing {
        let ms = Duration::from_millis;
        Timing::new(Duration::from_secs(self.lease_s), ms(self.renew_deadline_ms), ms(self.retry_period_ms))
            .expect("a plan's timings are valid")
    }

    pub(crate) fn task(&self) -> TaskConfig {
        TaskConfig {
            stop_grace: Duration::from_millis(self.stop_grace_ms),
            on_return: self.on_return,
            stay_out: Duration::from_secs(self.stay_out_s),
            progress_deadline: self.progress_deadline_ms.map(Duration::from_millis),
            swap: self.swap,
            leader_label: self.labels,
            probation: match self.defect {
                Some(Defect::BadModulesStay) => Duration::ZERO,
                _ => Duration::from_millis(self.probation_ms),
            },
            failures_max: match self.defect {
                Some(Defect::MissesForgotten) => u32::MAX,
                _ => TaskConfig::default().failures_max,
            },
            ..TaskConfig::default()
        }
    }

    /// How long a guest may take to stop, and its module to be told; where it fails in that, the Lease is kept for as long
    /// as it is certain.
    pub(crate) fn grace(&self) -> TrueTime {
        let told = self.callbacks_ms.map_or(0, |callbacks| callbacks * MILLISECOND + self.lease_s * SECOND);
        self.stop_grace_ms * MILLISECOND + told
    }

    /// How long after the last fault somebody has to lead and to run its guest: the longest that a
    /// record is believed, that who stepped down stays out, that a guest is let stop; and a minute.
    pub(crate) fn settles_within(&self) -> TrueTime {
        let by_hand = self.faults.iter().any(|planned| planned.fault == Fault::EditOverwrite);
        let longest = self.foreigners.iter().map(|foreign| foreign.lease_s).max().unwrap_or(0).max(self.lease_s);
        let believed_s = if by_hand { u64::MAX } else { longest }.min(FOREIGN_DURATION_MAX.as_secs());
        let picked_s = if self.coordinated.is_some() { 60 } else { 0 };
        (believed_s + 2 * self.stay_out_s + 60 + picked_s) * SECOND + self.grace() + self.progress_deadline()
    }

    /// Zero where there is none.
    pub(crate) fn progress_deadline(&self) -> TrueTime {
        self.progress_deadline_ms.unwrap_or(0) * MILLISECOND
    }

    /// How long it may take until a machine whose guests are silent has given the Lease up, and another has it: as
    /// many misses as there may be, with the delays between them.
    pub(crate) fn cured_within(&self) -> TrueTime {
        let config = TaskConfig::default();
        // One more for a module that is rolled back.
        let misses = TrueTime::from(config.failures_max) + 1;
        let delays: TrueTime = (0..misses - 1).map(|miss| SECOND << miss).sum();
        match (self.sick, self.progress_deadline_ms) {
            (Some(_), Some(_)) => {
                misses * (self.progress_deadline() + self.grace() + SECOND)
                    + delays
                    + (2 * self.stay_out_s + 10) * SECOND
            }
            _ => 0,
        }
    }
}
