//! Keeps one task's module ready, from the first one it has: the task competes as soon as it could run one at once
//! (on every replica, so that whoever takes over has nothing left to do), and every change of it is made ready beside
//! the running one. A bad module is told of, and changes nothing else (invariant 10); where there is no other, the task
//! waits for a good one, and is not ready, with the reason for people to see.

use std::sync::Arc;

use leasehold_core::task::Digest;
use tokio::sync::watch;

use super::modules::{Found, Modules, Rejected, Version};
use crate::{
    guest::module::ReadyModule,
    report::{Report, health::Readiness},
};

/// One task's module.
pub struct KeepReady {
    /// Makes it ready.
    pub modules: Arc<Modules>,
    /// Tells of it.
    pub report: Arc<Report>,
    /// Shows what the task waits for.
    pub readiness: Arc<Readiness>,
    /// Only a module with this digest is taken.
    pub pinned: Option<Digest>,
    /// What its source has.
    pub versions: watch::Receiver<Version>,
    /// What was told last of what is wrong: a source tells of many changes, and a watch that is broken of it each
    /// second, and the same is told once.
    pub last_told: Option<String>,
}

impl KeepReady {
    /// The first module that can be run, however long it takes until there is one; `None` where no change can be
    /// noticed any more.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn first(&mut self) -> Option<Arc<ReadyModule>> {
        self.versions.mark_changed();
        self.next(None).await
    }

    /// Makes each version ready that comes after `current`'s, and hands it over, until none comes any more.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn keep(mut self, current: watch::Sender<Arc<ReadyModule>>) {
        loop {
            let runs = current.borrow().digest.clone();
            let Some(module) = self.next(Some(&runs)).await else { return };
            current.send_replace(module);
        }
    }

    /// Of a module other than `runs`.
    async fn next(&mut self, runs: Option<&Digest>) -> Option<Arc<ReadyModule>> {
        while self.versions.changed().await.is_ok() {
            let version = self.versions.borrow_and_update().clone();
            if let Some(asked) = &version {
                let of_the_source = asked.as_ref().is_err_and(|error| error.is_of_the_source());
                self.report.module_source_asked(!of_the_source);
            }
            match version {
                None => self.waits(runs, "its module is being read"),
                Some(Err(error)) if error.is_of_the_source() => {
                    let why = error.to_string();
                    self.waits(runs, &format!("its module cannot be had: {why}"));
                    if self.is_new(&why) {
                        self.report.module_source_unavailable(runs, &why);
                    }
                }
                Some(Err(error)) => {
                    let rejected = Rejected::Read(error);
                    self.rejected(runs, None, &rejected.to_string(), &rejected);
                }
                Some(Ok(found)) if Some(&found.digest) == runs => {
                    self.ready();
                    self.last_told = None;
                }
                Some(Ok(found)) => match self.prepare(runs, &found).await {
                    Ok(module) => {
                        self.last_told = None;
                        self.report.module_loaded(&module);
                        self.ready();
                        return Some(module);
                    }
                    Err(rejected) => self.rejected(runs, Some(&found.digest), &found.digest, &rejected),
                },
            }
        }
        None
    }

    async fn prepare(&self, runs: Option<&Digest>, found: &Found) -> Result<Arc<ReadyModule>, Rejected> {
        self.waits(runs, &format!("its module {} is being compiled", found.digest));
        self.modules.prepare(found, self.pinned.as_ref()).await
    }

    fn rejected(&mut self, runs: Option<&Digest>, digest: Option<&Digest>, what: &str, why: &Rejected) {
        let which = digest.map_or(String::new(), |digest| format!(" {digest}"));
        self.waits(runs, &format!("its module{which} is not taken: {why}"));
        if self.is_new(what) {
            self.report.module_rejected(runs, digest, why);
        }
    }

    fn is_new(&mut self, what: &str) -> bool {
        let new = self.last_told.as_deref() != Some(what);
        self.last_told = Some(what.to_owned());
        new
    }

    /// With a module that runs, the task is ready all the same.
    fn waits(&self, runs: Option<&Digest>, what: &str) {
        let task = &self.report.subject.task;
        match runs {
            None => self.readiness.waits(task, what),
            Some(runs) => self.readiness.ready_but(task, &format!("with {runs}; {what}")),
        }
    }

    /// Where there is a module; whether it competes yet is not this one's to say.
    fn ready(&self) {
        self.readiness.ready(&self.report.subject.task);
    }
}
