//! What the Lease says about the task's modules: written by the leader with each renewal.
//!
//! It is state and not an event: each write says all of it, so that none is lost with a write that conflicts or whose
//! answer is, and a save of a checkpoint carries it along. Only for a refusal a renewal is sent at once, lest the next
//! leader try the same module; what runs, and what has worked, waits for the next one.

use crate::{checkpoint::SAVE_EVERY, lease::LeaseModules, task::Digest, time::BootTime};

use super::Election;

/// Of one term: what the Lease is known to say is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    on_lease: Option<Digest>,
    /// No write is sent for another before this.
    from: BootTime,
}

impl Refusal {
    pub(super) fn of(written: LeaseModules) -> Self {
        Self { on_lease: written.refused, from: BootTime::ZERO }
    }

    /// This stands there, by a write of that time.
    pub(super) fn written(&mut self, written: LeaseModules, at: BootTime) {
        if self.on_lease != written.refused {
            *self = Self { on_lease: written.refused, from: at + SAVE_EVERY };
        }
    }

    /// When a write is due that tells of one that was refused.
    pub(super) fn due(&self, modules: &LeaseModules) -> Option<BootTime> {
        (modules.refused.is_some() && modules.refused != self.on_lease).then_some(self.from)
    }
}

impl Election {
    /// What the Lease was last seen to say, if it was seen.
    pub(crate) fn seen_modules(&self) -> Option<&LeaseModules> {
        self.known.as_ref()?.observation.record().map(|record| &*record.modules)
    }

    /// What it is to say; returns whether that is news.
    pub(crate) fn set_modules(&mut self, modules: LeaseModules) -> bool {
        let news = self.modules != modules;
        self.modules = modules;
        news
    }

    /// Who takes the Lease has yet to go by what stands there, and so leaves it, but for what is about to run.
    pub(super) fn modules_to_begin_with(&self, on_lease: LeaseModules) -> LeaseModules {
        let own = self.modules.clone();
        match on_lease == LeaseModules::default() {
            true => own,
            false => LeaseModules { module: own.module.or(on_lease.module), waiting: own.waiting, ..on_lease },
        }
    }
}
