//! What happened in the histories, counted: a simulator that injects nothing finds nothing.

/// Declares the kinds of things that are counted, and the list of all of them.
macro_rules! seen {
    ($($name:ident),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Seen { $($name),+ }

        impl Seen {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

seen! {
    // What the replicas did.
    TermBegan, Handover, Expired, Taken, Cleared, Deleted, Released, Withdrawn, NewLeader,
    StepDownHeard, StepDownTakenAlong, EndBelieved,
    TookFromForeign,
    // What the guests did.
    GuestStarted, GuestReturned, GuestFailed, GuestSteppedDown, AskedToStop, EndedHard, GateClosed, Restarted, Swapped,
    ModuleWorked, RolledBack, RefusalHeard, NothingElse, RefusedTried, ModuleWaited,
    LabelOn, LabelOff, LabelTakenFrom, LabelLeftOn, LabelMarkedOff, LabelFailed, LabelConflict, LabelWrittenLate,
    Reported, FellSilent, StoppedSilent, SilentInARow,
    StopTold, StopToldAfterLoss, CallbackTimedOut, LeaseKept, LeaderTold,
    EffectAccepted, EffectRefused,
    Saved, SaveWritten, SaveRefused, SaveOutOfTerm, Loaded, LoadedNothing, LoadWaited,
    // What the store said.
    WriteApplied, Conflict, Missing, Denied, Rejected, AppliedAfterTimeout,
    // What the network did.
    RequestLost, AnswerLost, RequestDelayed, AnswerDelayed, RequestDuplicated,
    WatchBroken, WatchStale, WatchCoalesced, WatchStalled, WatchEnded, WatchResumed, WatchTooOld, Compacted,
    // What else went wrong.
    PausedWhole, PausedLoop, Suspended, Killed, ShutDown, NewProcess, Partitioned, StoreDown, StoreSilent,
    Forbidden, WallJumped, WallStood, EditDeleted, EditCleared, EditOverwritten, EditAnnotated, EditedCheckpoint,
    SourceDown, SourceUnheard, PodsSilent,
    // What other electors did, and what was done to them.
    ForeignLed, ForeignTookOver, ForeignLost, ForeignReleased, ForeignPaused, ForeignPartitioned, ForeignKilled,
    ForeignCancelled,
    // Its work went on beside a guest of ours: after it had released, though it had read of another holder, or
    // because it had heard nothing and counts its term from the answer.
    ForeignWorkedOn, ForeignLedThoughTold, ForeignLedUnaware,
    // How long nothing went wrong, but that the API server answered the larger part of the time only.
    Lull, LullOfShortOutages, LullOfLongOutages,
    // What the kubelet told.
    EndProven,
    // What the operator did.
    StepDownAsked, StepDownRaced,
    // What the script did.
    ScriptLed, ScriptCleared, ScriptLeft,
    // What the API server's controller did, and what was heard of it.
    Pinged, Picked, PickedOver, Preferred, PreferenceHeeded, NamedAndWaits,
    // Two leaders that only an edit by hand explains.
    ExcusedByEdit,
}

/// The first of the kinds that are faults, for the sum at the end.
const FIRST_FAULT: Seen = Seen::Rejected;

/// Whose elector somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Foreign,
}

#[derive(Clone, Debug)]
pub(crate) struct Tally {
    counts: [u64; Seen::ALL.len()],
    pub(crate) histories: u64,
    pub(crate) simulated_s: u64,
    pub(crate) events: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; Seen::ALL.len()], histories: 0, simulated_s: 0, events: 0 }
    }
}

impl Tally {
    pub(crate) fn count(&mut self, seen: Seen) {
        self.counts[seen as usize] += 1;
    }

    /// This one has written itself as the holder.
    pub(crate) fn count_takeover(&mut self, last: &mut Option<(String, Kind)>, holder: &str, kind: Kind) {
        match (&last, kind) {
            (Some((_, Kind::Foreign)), Kind::Ours) => self.count(Seen::TookFromForeign),
            (Some((_, Kind::Ours)), Kind::Foreign) => self.count(Seen::ForeignTookOver),
            _ => {}
        }
        if last.as_ref().is_none_or(|(before, _)| before != holder) {
            *last = Some((holder.to_owned(), kind));
        }
    }

    pub(crate) fn of(&self, seen: Seen) -> u64 {
        self.counts[seen as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.histories += other.histories;
        self.simulated_s += other.simulated_s;
        self.events += other.events;
    }

    pub(crate) fn never_seen(&self) -> Vec<Seen> {
        Seen::ALL.iter().copied().filter(|seen| self.of(*seen) == 0).collect()
    }

    /// One line for the end of a run, and the counts behind it.
    pub(crate) fn summary(&self) -> String {
        let faults: u64 = self.counts[FIRST_FAULT as usize..].iter().sum();
        let each: Vec<_> = Seen::ALL.iter().map(|seen| format!("{seen:?} {}", self.of(*seen))).collect();
        format!(
            "{} histories, {} simulated hours, {} events, {} terms, {} handovers, {faults} faults\n  {}",
            self.histories,
            self.simulated_s / 3_600,
            self.events,
            self.of(Seen::TermBegan),
            self.of(Seen::Handover),
            each.join(", ")
        )
    }
}
