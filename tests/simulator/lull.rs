//! A lull in a rough history: all that was broken works again, but for an API server that answers only the larger
//! part of the time. Then somebody leads.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{MILLISECOND, SECOND, TrueTime},
    faults::Fault,
    invariants::Rule,
    modules::Change,
    tally::Seen,
    world::{Event, World},
};

/// How long it is watched who leads, once all is settled.
const WATCHED: TrueTime = 60 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lull {
    pub(crate) at_ms: u64,
    /// Again and again, the API server does not answer for this long,
    pub(crate) out_ms: u64,
    /// and then answers for this long, which is longer.
    pub(crate) answers_ms: u64,
    /// While it does not answer, it is silent; otherwise it fails everything at once.
    pub(crate) silent: bool,
}

/// Where in the lull the history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InLull {
    Settling,
    Watched,
}

impl Lull {
    pub(crate) fn random(rng: &mut fastrand::Rng, rough_ms: u64, lease_s: u64) -> Self {
        let lease_ms = lease_s * 1_000;
        // Outages that a leader lives through, or such that cost it its term.
        let (out_ms, least_ms) = match rng.bool() {
            true => (rng.u64(0..lease_ms / 4), lease_ms / 4),
            false => (rng.u64(lease_ms / 4..40_000), lease_ms + 10_000),
        };
        let answers_ms = (out_ms + out_ms / 20 + 1).max(least_ms) + rng.u64(0..10_000);
        Self { at_ms: rng.u64(0..rough_ms), out_ms, answers_ms, silent: rng.bool() }
    }

    /// A leader renews through every outage.
    fn is_lived_through(self, lease_s: u64) -> bool {
        self.out_ms < lease_s * 1_000 / 4
    }
}

impl World {
    /// No fault happens, and guests behave.
    pub(crate) fn is_quiet(&self) -> bool {
        self.calm || self.lull.is_some()
    }

    /// How long the rough part is put off by its lull.
    pub(crate) fn lull_lasts(&self) -> TrueTime {
        self.plan.lull.map_or(0, |_| self.plan.settles_within() + WATCHED)
    }

    pub(crate) fn lull_begins(&mut self) {
        let Some(lull) = self.plan.lull else { return };
        self.tally.count(Seen::Lull);
        self.trace.line(self.now, || format!("a lull begins: {lull:?}"));
        self.lull = Some(InLull::Settling);
        self.all_heals();
        self.source_changes(Change::Good, SECOND);
        self.after(self.plan.settles_within(), Event::LullIsSettled);
        self.after(self.lull_lasts(), Event::LullEnds);
        self.after(lull.answers_ms * MILLISECOND, Event::Outage(true));
    }

    pub(crate) fn lull_is_settled(&mut self) {
        self.lull = Some(InLull::Watched);
        let lived_through = self.plan.lull.is_some_and(|lull| lull.is_lived_through(self.plan.lease_s));
        self.tally.count(if lived_through { Seen::LullOfShortOutages } else { Seen::LullOfLongOutages });
    }

    /// The API server stops answering, or answers again.
    pub(crate) fn outage(&mut self, begins: bool) {
        let (Some(lull), Some(in_lull)) = (self.plan.lull, self.lull) else { return };
        // Before each outage it has answered for long enough.
        if begins && in_lull == InLull::Watched && !self.somebody_leads() {
            self.invariants.violated(Rule::NobodyLeads, || {
                format!("nobody leads, though the API server answers the larger part of the time: {lull:?}")
            });
        }
        self.trace.line(self.now, || format!("the API server {}", if begins { "is out" } else { "answers" }));
        if begins && lull.out_ms > 0 {
            self.inflict(if lull.silent { Fault::StoreSilent } else { Fault::StoreDown }, 0, self.now);
        } else {
            self.store_heals();
        }
        let lasts_ms = if begins { lull.out_ms } else { lull.answers_ms };
        self.after(lasts_ms * MILLISECOND, Event::Outage(!begins));
    }

    /// At every moment of a lull whose outages a leader lives through.
    pub(crate) fn check_lull(&mut self) {
        if self.lull == Some(InLull::Watched)
            && let Some(lull) = self.plan.lull
            && lull.is_lived_through(self.plan.lease_s)
            && !self.somebody_leads()
        {
            self.invariants.violated(Rule::NobodyLeads, || {
                format!("nobody leads, though all outages are so short that a leader renews: {lull:?}")
            });
        }
    }

    pub(crate) fn lull_ends(&mut self) {
        self.trace.line(self.now, || "the lull ends".to_owned());
        self.lull = None;
        self.store_heals();
        self.net = self.plan.net.clone();
        for foreign in 0..self.foreigners.len() {
            self.within(10 * SECOND, Event::ForeignBegins(foreign));
        }
    }
}
