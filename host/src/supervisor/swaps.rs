//! The modules that a replica may yet start, and what people hear of them.

use std::sync::Arc;

use leasehold_core::{
    ports::LeaseStore,
    replica::Input,
    task::{Digest, Module, ModulesView, SwapNotice},
};

use super::Supervisor;
use crate::guest::module::ReadyModule;

/// Compiled, and ready to be instantiated: what the source has, and what may have to run again. No more than the core
/// asks for are kept, which is three at most, and one or two as a rule.
#[derive(Default)]
pub(super) struct AtHand {
    modules: Vec<Arc<ReadyModule>>,
    shown: ModulesView,
}

impl AtHand {
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<ReadyModule>> {
        self.modules.iter().find(|module| module.digest == *digest).cloned()
    }
}

impl<S: LeaseStore> Supervisor<S> {
    /// The source has another.
    pub(super) fn offered(&mut self, module: Arc<ReadyModule>) -> Input {
        let offered = Module { digest: module.digest.clone(), observes: module.observes() };
        self.at_hand.modules.retain(|known| known.digest != module.digest);
        self.at_hand.modules.push(module);
        Input::Module(offered)
    }

    /// What the core does not need any more goes, and people are shown what there is.
    pub(super) fn keep_what_is_needed(&mut self) {
        let shown = self.replica.modules();
        if self.at_hand.shown != shown {
            self.at_hand.modules.retain(|module| self.replica.needs(&module.digest));
            self.report.modules(&shown);
            self.at_hand.shown = shown;
        }
    }

    pub(super) fn tell_modules(&mut self, notice: &SwapNotice) {
        match notice {
            SwapNotice::Worked(digest) => self.report.module_worked(digest),
            SwapNotice::RolledBack { refused, to } => {
                let why = self.last_end.as_deref().unwrap_or("it was not started");
                self.report.module_rolled_back(refused, to, why);
            }
            SwapNotice::Refused { refused, instead } => self.report.module_refused(refused, instead.as_ref()),
            SwapNotice::Waits { digest, why } => self.report.module_waits(digest, *why),
        }
    }
}
