//! Which module runs: what the source offers, or the last one that has worked.
//!
//! - A module that has not worked yet is on probation while it runs: it works when it has run for
//!   [`TaskConfig::probation`], or has returned ok. Where it fails before that, and one that has worked is at hand,
//!   it is refused and that one runs again, in the same term. A failure in probation so is not one of those that
//!   give the Lease up.
//! - What is refused is not started again where there is another, until the source has offered something else. If
//!   it then offers the same again, somebody wants that, and it is tried again.
//! - What runs, what has worked and what is refused stands on the Lease ([`LeaseModules`]). Whoever does not lead goes
//!   by what it says there, and so does a new leader; whoever leads goes by what it knows and writes that.
//! - A replica that has nothing but the refused module, or when all else has failed, runs it, so that somebody leads.
//!   When that fails, the Lease is another's at once, which may have a better one.

use std::time::Duration;

use crate::{election::Term, lease::LeaseModules, time::BootTime};

use super::{Digest, Module, ModulesView, SwapNotice, SwapPolicy, TaskConfig, Waits};

/// Each takes memory.
const KEPT_MAX: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct Modules {
    policy: SwapPolicy,
    probation: Duration,
    /// What the source has.
    offered: Option<Module>,
    /// Ready beside it, the newest last: one that has worked, and one that came after it and may yet turn out to have
    /// worked elsewhere. [`KEPT_MAX`] at most.
    kept: Vec<Module>,
    /// What was last started, and in which term.
    started: Option<(Term, Module)>,
    /// The newest that has worked, here or elsewhere.
    good: Option<Digest>,
    /// What the source offers, or else what the Lease says.
    refused: Option<Digest>,
    /// What the Lease says where that is something else: the source may yet come to offer it.
    also_refused: Option<Digest>,
    /// What the Lease says runs.
    runs_elsewhere: Option<Digest>,
    /// What people were told.
    told_waiting: Option<Digest>,
    told_refused: Option<Digest>,
}

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another module runs instead, now.
    Another(Option<SwapNotice>),
    /// There is nothing better to run here: the Lease is another's.
    GiveUp,
    /// It is started again, as after any failure.
    Again,
}

impl Modules {
    pub(super) fn new(config: &TaskConfig) -> Self {
        Self {
            policy: config.swap,
            probation: config.probation,
            offered: None,
            kept: Vec::new(),
            started: None,
            good: None,
            refused: None,
            also_refused: None,
            runs_elsewhere: None,
            told_waiting: None,
            told_refused: None,
        }
    }

    /// This is what the source has now.
    pub(super) fn offer(&mut self, module: Module) {
        if self.offered.as_ref() == Some(&module) {
            return;
        }
        let before = self.offered.replace(module);
        if let Some(before) = before
            && self.refused.take_if(|refused| *refused == before.digest).is_none()
        {
            self.keep(before);
        }
        let offers_it = self.also_refused.as_ref() == self.offered.as_ref().map(|offered| &offered.digest);
        if offers_it || self.refused.is_none() {
            std::mem::swap(&mut self.refused, &mut self.also_refused);
        }
        self.drop_kept();
    }

    /// What stands on the Lease, for whoever does not write it.
    pub(super) fn hear(&mut self, on_lease: &LeaseModules) {
        let LeaseModules { module, waiting: _, good, refused } = on_lease;
        if good.is_some() {
            self.good.clone_from(good);
        }
        // What is refused here may be of a later time, and not have been written; or the leader's source has something
        // else by now, and this one's has not. It still is refused, unless it has worked since.
        let still_refused = self.offers_refused() && *good != self.refused;
        self.also_refused = refused.clone().filter(|refused| still_refused && Some(refused) != self.refused.as_ref());
        if !still_refused {
            self.refused.clone_from(refused);
        }
        self.runs_elsewhere.clone_from(module);
        self.drop_kept();
    }

    /// What is to be run in this term.
    pub(super) fn next(&self, term: Option<Term>) -> Option<&Module> {
        match &self.started {
            Some((of, module)) if self.policy == SwapPolicy::NextTerm && Some(*of) == term => Some(module),
            _ => self.wanted(),
        }
    }

    /// What would be run in a new term.
    pub(super) fn wanted(&self) -> Option<&Module> {
        let kept = if self.offers_refused() { self.best_kept() } else { None };
        kept.or(self.offered.as_ref())
    }

    /// One that has worked, or else is what the leader runs, or else the newest.
    fn best_kept(&self) -> Option<&Module> {
        let kept = || self.kept.iter();
        let runs = |module: &&Module| self.runs_elsewhere.as_ref() == Some(&module.digest);
        kept().find(|module| self.is_good(module)).or_else(|| kept().find(runs)).or(self.kept.last())
    }

    /// The one that runs is asked to make room.
    pub(super) fn replaces(&self, running: &Module, term: Term) -> bool {
        self.policy == SwapPolicy::Now && self.next(Some(term)) != Some(running)
    }

    /// Returns whether it is another than the one that was started before.
    pub(super) fn start(&mut self, term: Term, module: &Module) -> bool {
        let before = self.started.replace((term, module.clone()));
        before.is_none_or(|(_, before)| before != *module)
    }

    /// When the probation of what was started at this time is over, if it is on probation.
    pub(super) fn probation_ends(&self, running: &Module, started: BootTime) -> Option<BootTime> {
        (!self.is_good(running)).then(|| started + self.probation)
    }

    /// It has come through its probation, or returned ok.
    pub(super) fn worked(&mut self, module: &Module) -> Option<SwapNotice> {
        if self.is_good(module) {
            return None;
        }
        self.good = Some(module.digest.clone());
        // What has worked is not refused; and where the source has gone on to what works, what it had before
        // is of the past.
        if self.refused.as_ref() == Some(&module.digest) || self.offered.as_ref() == Some(module) {
            (self.refused, self.also_refused) = (None, None);
        }
        self.also_refused.take_if(|refused| *refused == module.digest);
        self.keep(module.clone());
        Some(SwapNotice::Worked(module.digest.clone()))
    }

    /// It has failed by itself, and where that was after its probation, [`Modules::worked`] was called.
    pub(super) fn failed(&mut self, module: &Module) -> Verdict {
        let good = self.is_good(module);
        let may_go_on = good && self.policy == SwapPolicy::NextTerm;
        // There is no going back to it.
        self.kept.retain(|kept| good || kept != module);
        if self.wanted() != Some(module) && !may_go_on {
            self.started = None;
            return Verdict::Another(None);
        }
        if good {
            return Verdict::Again;
        }
        // Nothing that has worked is at hand: it was the refused one, or one of which nothing was known.
        if self.offers_refused() {
            return Verdict::GiveUp;
        }
        match self.kept.iter().find(|kept| self.is_good(kept)).cloned() {
            Some(kept) => {
                self.started = None;
                self.also_refused = self.refused.replace(module.digest.clone()).or(self.also_refused.take());
                self.told_refused.clone_from(&self.refused);
                let (refused, to) = (module.digest.clone(), kept.digest);
                Verdict::Another(Some(SwapNotice::RolledBack { refused, to }))
            }
            None => Verdict::Again,
        }
    }

    /// What people are to be told of what has come to wait, or to be refused, since they were told last. `running`
    /// is what runs in this term.
    pub(super) fn news(&mut self, running: Option<(&Module, Term)>) -> Vec<SwapNotice> {
        // That one is asked to stop for another is told anyway.
        let waits = running.and_then(|(running, _)| self.waits(running)).filter(|(_, why)| *why != Waits::ForStop);
        let mut news = Vec::new();
        if waits.as_ref().map(|(digest, _)| digest) != self.told_waiting.as_ref() {
            self.told_waiting = waits.as_ref().map(|(digest, _)| digest.clone());
            news.extend(waits.map(|(digest, why)| SwapNotice::Waits { digest, why }));
        }
        let refused = self.refused.clone().filter(|_| self.offers_refused());
        if refused != self.told_refused {
            let instead =
                self.wanted().map(|module| module.digest.clone()).filter(|wanted| Some(wanted) != refused.as_ref());
            self.told_refused.clone_from(&refused);
            news.extend(refused.map(|refused| SwapNotice::Refused { refused, instead }));
        }
        news
    }

    /// What the Lease is to say. `runs` is what runs, or is to, in this term.
    pub(super) fn on_lease(&self, runs: Option<&Module>) -> LeaseModules {
        let module = runs.map(|module| module.digest.clone());
        let waiting = runs.and_then(|runs| self.waits(runs)).map(|(digest, _)| digest);
        LeaseModules { module, waiting, good: self.good.clone(), refused: self.refused.clone() }
    }

    pub(super) fn view(&self, running: Option<(&Module, Term)>) -> ModulesView {
        ModulesView {
            runs: running.map(|(module, _)| module.digest.clone()),
            next: self.wanted().map(|module| module.digest.clone()),
            waits: running.and_then(|(running, _)| self.waits(running)),
            good: self.good.clone(),
            refused: self.refused.clone(),
        }
    }

    /// Whether this one may yet be started.
    pub(super) fn needs(&self, digest: &Digest) -> bool {
        let started = self.started.as_ref().map(|(_, module)| module);
        self.offered.iter().chain(&self.kept).chain(started).any(|module| module.digest == *digest)
    }

    /// What is ready beside what runs, and what it waits for.
    fn waits(&self, running: &Module) -> Option<(Digest, Waits)> {
        let waiting = self.wanted().filter(|wanted| *wanted != running)?;
        let why = match self.policy {
            SwapPolicy::Now => Waits::ForStop,
            SwapPolicy::Drain => Waits::ForReturn,
            SwapPolicy::NextTerm => Waits::ForTerm,
        };
        Some((waiting.digest.clone(), why))
    }

    fn is_good(&self, module: &Module) -> bool {
        self.good.as_ref() == Some(&module.digest) && self.refused.as_ref() != Some(&module.digest)
    }

    fn offers_refused(&self) -> bool {
        self.refused.is_some() && self.offered.as_ref().map(|offered| &offered.digest) == self.refused.as_ref()
    }

    fn keep(&mut self, module: Module) {
        self.kept.retain(|kept| kept.digest != module.digest);
        self.kept.push(module);
        self.drop_kept();
    }

    /// There is nothing to go back to from what has worked, nor to what is older than that.
    fn drop_kept(&mut self) {
        let Some(offered) = &self.offered else { return };
        if self.is_good(offered) {
            self.kept.clear();
        }
        self.kept.retain(|kept| kept.digest != offered.digest);
        if let Some(good) = self.kept.iter().position(|kept| self.is_good(kept)) {
            self.kept.drain(..good);
        }
        if self.kept.len() > KEPT_MAX {
            // Of those, the first may have worked, and the last is the newest.
            let started = self.started.as_ref().map(|(_, module)| module);
            let first_is_needed = self.is_good(&self.kept[0]) || started == self.kept.first();
            self.kept.remove(usize::from(first_is_needed));
        }
    }
}
