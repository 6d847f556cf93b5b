//! Mistakes planted into the world around the core, to see that the simulator finds them. Those that are known
//! from others say from whom.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Defect {
    /// The term is counted from when the answer to a write arrives (client-go).
    TermCountedFromAnswer,
    /// The term ends without a margin.
    NoMargin,
    /// Clocks differ by more than the margin covers.
    ClocksFarApart,
    /// The clock that decides does not count suspend (Go's).
    ClockStopsInSuspend,
    /// The guest's gate does not look at the bound while nobody runs the control loop.
    GateTrustsControlLoop,
    /// Who leads is told so for as long as the store does not say otherwise, for up to 41 s (kube-lease-manager).
    BeliefOutlastsTerm,
    /// The store takes every write: two candidates have both acquired (kube-leader-election).
    NoCompareAndSwap,
    /// Every process has the same identity.
    SharedIdentity,
    /// Versions begin anew when the Lease is made again.
    VersionsRestart,
    /// The token is `leaseTransitions`.
    TransitionsAsToken,
    /// The runtime says that a guest is gone while it still runs: so the Lease is released before the work has
    /// stopped (client-go, controller-runtime).
    GuestDeclaredGone,
    /// A host that is asked to step down gives the Lease up before its guest has stopped.
    ReleasesOnRequest,
    /// The operator empties the holder, instead of asking it.
    OperatorClears,
    /// Requests to step down do not last: a Lease is stored without them.
    RequestsForgotten,
    /// A leader that is cut off is taken for one that has ended.
    SilenceTakenForProof,
    /// A leader that has seen another holder leads on (client-go, until its renew deadline).
    LeadsOnBesideAnother,
    /// Who has lost the Lease ends (controller-runtime).
    ExitsOnLoss,
    /// Who has lost the Lease does not compete again (kuberhealthy).
    NeverCompetesAgain,
    /// A huge duration is believed.
    HugeDurationBelieved,
    /// What sends requests has died, and nobody notices (kubert).
    SendingDies,
    /// No request goes out before the last one was answered (kube-rs has no read timeout).
    WaitsForEveryAnswer,
    /// A Lease that nobody holds is an error (kube-leader-election).
    NullHolderIsAnError,
    /// A record has run out when its `renewTime` and duration say so, by the own wall clock.
    ExpiryByWallClock,
    /// A record without a duration has run out already (as client-go reads it).
    MissingDurationHasExpired,
    /// The foreign electors judge by the wall clock (kubert, kube-leader-election).
    ForeignExpiryByWallClock,
    /// Nobody notices that a guest has fallen silent.
    SilenceUnnoticed,
    /// The control loop looks at the deadline before it looks whether the guest has reported.
    ReportsHeardLate,
    /// Misses of the progress deadline never release the Lease.
    MissesForgotten,
    /// The runtime says that `on-stop-leading` has ended while it still runs.
    CallbackDeclaredGone,
    /// The runtime says that a callback has returned which was ended because its time was over.
    FailedCallbackUnheard,
    /// A callback that does not end by itself is not ended.
    CallbackNotEnded,
    /// What receives effects does not look at their tokens.
    ReceiverIgnoresTokens,
    /// Renewals write the checkpoint that stood there when the term began.
    RenewalsWriteOldCheckpoint,
    /// A guest is told that its state is saved before it is written.
    SavesAnsweredUnwritten,
    /// A release leaves the checkpoint out.
    ReleaseDropsCheckpoint,
    /// States are saved as `kubectl patch` would: onto whatever the Lease says by then.
    SavesArePatches,
    /// A load is answered with what stood there when the term began.
    LoadsWhatItAcquired,
    /// A load is answered although a write is under way that changes what stands there.
    LoadsDoNotWait,
    /// Who is picked leads before it has written.
    LeadsWhenPicked,
    /// Who is picked does not wait for whom the API server has pushed aside (client-go).
    TrustsThePick,
    /// Nobody is told of what was refused.
    RefusalsUntold,
    /// Nobody hears of it.
    RefusalsUnheard,
    /// What the source has is started, whatever is refused.
    StartsWhatIsOffered,
    /// A swap gives the Lease up.
    SwapsStepDown,
    /// Modules that fail are not rolled back.
    BadModulesStay,
    /// A label counts as taken off when that is asked for.
    LabelDeclaredOff,
    /// Pods are patched whatever version they have.
    LabelPatchesBlind,
    /// A Pod that is seen without the label is believed not to get it any more.
    LabelLooksTrusted,
    /// What a leader before has left is not taken off.
    LabelLeftOnOthers,
    /// One fault never ends: nobody can reach the store any more.
    NeverHeals,
}

impl Defect {
    /// It is found by what becomes of modules.
    pub(crate) fn is_about_modules(self) -> bool {
        matches!(
            self,
            Self::RefusalsUntold
                | Self::RefusalsUnheard
                | Self::StartsWhatIsOffered
                | Self::SwapsStepDown
                | Self::BadModulesStay
        )
    }

    /// It is found by what becomes of the leader's label.
    pub(crate) fn is_about_labels(self) -> bool {
        matches!(
            self,
            Self::LabelDeclaredOff | Self::LabelPatchesBlind | Self::LabelLooksTrusted | Self::LabelLeftOnOthers
        )
    }

    /// It is found by what becomes of guests' checkpoints.
    pub(crate) fn is_about_checkpoints(self) -> bool {
        matches!(
            self,
            Self::RenewalsWriteOldCheckpoint
                | Self::SavesAnsweredUnwritten
                | Self::ReleaseDropsCheckpoint
                | Self::SavesArePatches
                | Self::LoadsWhatItAcquired
                | Self::LoadsDoNotWait
        )
    }
}
