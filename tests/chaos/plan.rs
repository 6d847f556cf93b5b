//! What will be done, drawn from one seed and nothing else: the same seed does the same again, as
//! far as processes on a busy machine can do the same.

use std::{fmt, time::Duration};

/// How many hosts there are.
pub(crate) const HOSTS: usize = 5;

/// To whom it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Who leads then, if anybody.
    Leader,
    Host(usize),
}

/// What is done. The durations say for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// SIGSTOP, and SIGCONT.
    Stop(Target, Duration),
    /// SIGKILL, and a new process.
    Kill(Target, Duration),
    /// SIGTERM, and a new process.
    Terminate(Target, Duration),
    /// Nothing gets through between the host and the API server.
    Silence(Target, Duration),
    /// Answers of the API server reach the host late.
    Delay { host: Target, late: Duration, time: Duration },
    /// SIGKILL, and a new API server.
    RestartApiServer(Duration),
    /// SIGSTOP, and SIGCONT.
    FreezeApiServer(Duration),
    /// The module's file is replaced by another good one.
    SwapFile,
    /// The same in the ConfigMap.
    SwapConfigMap,
    /// The module's file is broken, and for so long only.
    BreakFile(Duration),
    /// `leasehold step-down`.
    StepDown,
}

impl fmt::Display for Fault {
    /// Its kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop(..) => "SIGSTOP",
            Self::Kill(..) => "SIGKILL",
            Self::Terminate(..) => "SIGTERM",
            Self::Silence(..) => "silent network",
            Self::Delay { .. } => "slow network",
            Self::RestartApiServer(_) => "API server restarted",
            Self::FreezeApiServer(_) => "API server frozen",
            Self::SwapFile => "file swapped",
            Self::SwapConfigMap => "ConfigMap swapped",
            Self::BreakFile(_) => "file broken",
            Self::StepDown => "step-down",
        })
    }
}

/// One after the other, without an end.
pub(crate) struct Plan {
    rng: fastrand::Rng,
    /// Shuffled, so that each kind comes up, and in its share.
    deck: Vec<u8>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), deck: Vec::new() }
    }

    /// What is done next, and after which pause.
    pub(crate) fn draw(&mut self) -> (Duration, Fault) {
        (self.pause(), self.fault())
    }

    /// What is done right before a calm.
    pub(crate) fn last(&mut self) -> Fault {
        let time = Duration::from_millis(self.rng.u64(..500));
        if self.rng.bool() { Fault::Kill(Target::Leader, time) } else { Fault::Terminate(Target::Leader, time) }
    }

    fn pause(&mut self) -> Duration {
        // Now and then long enough for a lease to run out with nothing else in the way.
        let most = if self.rng.u8(..12) == 0 { 5_000 } else { 1_000 };
        Duration::from_millis(self.rng.u64(50..most))
    }

    fn fault(&mut self) -> Fault {
        let Some(card) = self.deck.pop() else {
            self.deck = (0..24).collect();
            self.rng.shuffle(&mut self.deck);
            return self.fault();
        };
        match card {
            0..5 => Fault::Stop(self.target(), self.up_to(7_000)),
            5..8 => Fault::Kill(self.target(), self.up_to(3_000)),
            8..11 => Fault::Terminate(self.target(), self.up_to(3_000)),
            11..15 => Fault::Silence(self.target(), self.up_to(7_000)),
            15..17 => Fault::Delay { host: self.target(), late: self.up_to(2_000), time: self.up_to(7_000) },
            17 => Fault::RestartApiServer(self.up_to(3_000)),
            18 => Fault::FreezeApiServer(self.up_to(6_000)),
            19 => Fault::SwapFile,
            20 => Fault::SwapConfigMap,
            21 => Fault::BreakFile(Duration::from_millis(300)),
            _ => Fault::StepDown,
        }
    }

    fn target(&mut self) -> Target {
        if self.rng.bool() { Target::Leader } else { Target::Host(self.rng.usize(..HOSTS)) }
    }

    /// Short ones more often than long ones.
    fn up_to(&mut self, most_ms: u64) -> Duration {
        let share = self.rng.f64();
        Duration::from_millis(30) + Duration::from_millis(most_ms).mul_f64(share * share)
    }
}

#[test]
fn the_same_seed_draws_the_same_and_every_kind_comes_up() {
    let draw = |seed| {
        let mut plan = Plan::new(seed);
        std::array::from_fn::<_, 48, _>(|_| plan.draw())
    };
    let faults = draw(7);
    assert_eq!(faults, draw(7));
    assert_ne!(faults, draw(8));
    let kinds: std::collections::BTreeSet<_> = faults.iter().map(|(_, fault)| fault.to_string()).collect();
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}
