//! What becomes of modules: which runs, which waits, which was refused, and why.

use leasehold_core::task::{Digest, ModulesView, Waits};

use super::{HappeningKind, Report, tasks::WaitingModule};
use crate::log::say;

const ELSEWHERE: &str = "it has failed in its probation on another replica";

fn words(why: Waits) -> &'static str {
    match why {
        Waits::ForStop => "the one that runs is asked to stop",
        Waits::ForReturn => "the one that runs has yet to come to its end",
        Waits::ForTerm => "it starts with the next term",
    }
}

impl Report {
    /// This is what there is now.
    pub(crate) fn modules(&self, view: &ModulesView) {
        let ModulesView { runs, next, waits, good: _, refused } = view;
        let waiting = |(digest, why): &(Digest, Waits)| WaitingModule { digest: digest.to_string(), why: words(*why) };
        self.state.modules(view, waits.as_ref().map(waiting), ELSEWHERE);
        let waits = waits.as_ref().map(|(digest, _)| digest);
        self.metrics.module_states([("runs", runs.as_ref()), ("waits", waits), ("refused", refused.as_ref())]);
        if let Some(next) = next {
            self.metrics.module(next);
        }
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
        self.state.module_refused(refused, why);
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
        let note = format!("{} has {digest} ready: {}", self.subject.identity, words(why));
        self.happened(HappeningKind::ModuleWaits, note);
    }
}
