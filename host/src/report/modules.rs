//! Which module runs, which waits, which was refused, and why: for people, and for what is asked over HTTP.

use std::sync::PoisonError;

use leasehold_core::task::{Digest, ModulesView, Waits};
use serde::Serialize;

use super::{HappeningKind, Report};
use crate::log::say;

/// Of one task, on this replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleStatus {
    /// It runs here, because this replica leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// It would be run in a new term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// It is ready, and another one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitingModule>,
    /// The newest that has come through its probation, here or elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// It has failed in its probation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedModule>,
    /// What the source has now is not even taken: it cannot be had, or cannot be a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RefusedModule>,
}

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingModule {
    /// Which.
    pub digest: String,
    /// For what, in a few words.
    pub why: &'static str,
}

/// One that is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedModule {
    /// Which; `None` where there are no bytes to be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

const ELSEWHERE: &str = "it has failed in its probation on another replica";

fn words(why: Waits) -> &'static str {
    match why {
        Waits::ForStop => "the one that runs is asked to stop",
        Waits::ForReturn => "the one that runs has yet to come to its end",
        Waits::ForTerm => "it starts with the next term",
    }
}

impl Report {
    /// Which modules there are on this replica, and what they are to it.
    pub fn module_status(&self) -> ModuleStatus {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut ModuleStatus)) {
        change(&mut self.modules.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// This is what there is now.
    pub(crate) fn modules(&self, view: &ModulesView) {
        let ModulesView { runs, next, waits, good, refused } = view;
        self.update(|status| {
            let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string);
            (status.runs, status.next, status.good) = (text(runs), text(next), text(good));
            status.waits =
                waits.clone().map(|(digest, why)| WaitingModule { digest: digest.to_string(), why: words(why) });
            if status.refused.as_ref().and_then(|known| known.digest.as_deref()) != refused.as_deref() {
                let why = || ELSEWHERE.to_owned();
                status.refused = text(refused).map(|digest| RefusedModule { digest: Some(digest), why: why() });
            }
        });
        let waits = waits.as_ref().map(|(digest, _)| digest);
        self.metrics.module_states([("runs", runs.as_ref()), ("waits", waits), ("refused", refused.as_ref())]);
        if let Some(next) = next {
            self.metrics.module(next);
        }
    }

    /// What the source has now is taken, or is not.
    pub(super) fn rejected(&self, rejected: Option<RefusedModule>) {
        self.update(|status| status.rejected = rejected);
    }

    /// It has come through its probation.
    pub fn module_worked(&self, digest: &Digest) {
        say!(info, self.subject, "module-worked", { digest = &**digest }; "the module has come through its probation");
        self.metrics.swap_result("worked");
    }

    /// It has failed in its probation, in this way, and another runs again.
    pub fn module_rolled_back(&self, refused: &Digest, to: &Digest, why: &str) {
        say!(error, self.subject, "module-rolled-back", { digest = &**refused, to = &**to };
            "the new module has failed in its probation, and the last one that worked runs again: {why}");
        self.metrics.swap_result("rolled-back");
        let refusal = RefusedModule { digest: Some(refused.to_string()), why: why.to_owned() };
        self.update(|status| status.refused = Some(refusal));
        let note = format!("{} runs {to} again: {refused} has failed in its probation: {why}", self.subject.identity);
        self.happened(HappeningKind::ModuleRolledBack, note);
    }

    /// The source has what has failed on another replica, or earlier.
    pub fn module_refused(&self, refused: &Digest, instead: Option<&Digest>) {
        match instead {
            Some(instead) => say!(warn, self.subject, "module-refused", { digest = &**refused, instead = &**instead };
                "{ELSEWHERE}: this replica keeps the one before"),
            None => say!(warn, self.subject, "module-refused", { digest = &**refused };
                "{ELSEWHERE}, but this replica has no other: where it leads, it tries that one once a term"),
        }
        self.metrics.swap_result("refused");
    }

    /// It is ready, and another one runs.
    pub fn module_waits(&self, digest: &Digest, why: Waits) {
        say!(info, self.subject, "module-waiting", { digest = &**digest }; "the new module waits: {}", words(why));
        self.metrics.swap_result("waited");
    }
}
