//! What a person can see of a task: log lines, metrics, Kubernetes Events and its present state, each thing that
//! happens told in one place to all of them.
//!
//! Nothing in here decides or waits. The words of `event` in the log, the names of the metrics and
//! the reasons of the Events stay the same from version to version.

pub mod farewell;
pub mod health;
pub mod history;
mod leader_label;
pub mod liveness;
pub mod metrics;
mod modules;
pub mod output;
pub mod tasks;
pub mod traces;

use std::{error::Error, fmt, time::Duration};

use leasehold_core::{
    checkpoint::{Checkpoint, STATE_BYTES_MAX},
    election::{LossReason, Term},
    lease::LeaseRecord,
    task::{Callback, Digest, Outcome, StopReason},
    time::BootTime,
};
use tokio::sync::mpsc;

use crate::{
    guest::module::ReadyModule,
    log::{Subject, say},
};
use metrics::{Began, Released, RequestKind, RequestResult, TaskMetrics};
use tasks::{Role, RunEnd, TaskTeller};
use traces::TermTraces;

/// Something that is worth a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Which of the few.
    pub kind: HappeningKind,
    /// For a person.
    pub note: String,
}

/// The kinds of [`Happening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HappeningKind {
    /// A term began.
    StartedLeading,
    /// A term ended by a release.
    Released,
    /// A term ended otherwise.
    Lost,
    /// Another module runs.
    ModuleSwapped,
    /// A new module is ready, while another one runs.
    ModuleWaits,
    /// A new module is not taken.
    ModuleRejected,
    /// A new module has failed, and the one before runs again.
    ModuleRolledBack,
}

/// So many may wait while the API server is slow; more are left out, and that is told.
const HAPPENINGS_MAX: usize = 16;

/// A queue for a [`Report`]'s happenings, and its reading end.
pub fn happenings() -> (mpsc::Sender<Happening>, mpsc::Receiver<Happening>) {
    mpsc::channel(HAPPENINGS_MAX)
}

/// Tells of one task.
pub struct Report {
    /// Whom it is about.
    pub subject: Subject,
    metrics: TaskMetrics,
    traces: TermTraces,
    state: TaskTeller,
    happenings: Option<mpsc::Sender<Happening>>,
}

impl Report {
    /// Without `happenings`, no Events are made.
    pub fn new(
        subject: Subject,
        metrics: TaskMetrics,
        traces: TermTraces,
        state: TaskTeller,
        happenings: Option<mpsc::Sender<Happening>>,
    ) -> Self {
        Self { subject, metrics, traces, state, happenings }
    }

    fn happened(&self, kind: HappeningKind, note: String) {
        let Some(happenings) = &self.happenings else { return };
        if happenings.try_send(Happening { kind, note }).is_err() {
            self.metrics.event_dropped();
            say!(warn, self.subject, "event-dropped"; "too many Kubernetes Events wait to be written: {kind:?} is left out");
        }
    }

    /// It competes.
    pub fn candidate(&self) {
        say!(info, self.subject, "candidate"; "competing for the lease");
        self.state.role(Role::Standby);
    }

    /// A term began.
    pub fn leading(&self, term: Term, began: Began) {
        say!(info, self.subject, "leading", { token = term.token }; "this replica leads");
        self.metrics.leading(term.token, began);
        self.traces.leading(term, began);
        self.state.leading(term);
        let note = format!("{} leads, with token {}", self.subject.identity, term.token);
        self.happened(HappeningKind::StartedLeading, note);
    }

    /// A term ended with a release. `last_end` is how its last run ended.
    pub fn released(&self, term: Term, why: Released, last_end: Option<&str>) {
        say!(info, self.subject, "released", { token = term.token }; "the lease is released");
        self.metrics.term_ended(why.name());
        self.traces.term_ended(why.name(), None);
        let why = last_end.unwrap_or("no component has run");
        self.state.term_ended(term, true, why);
        let note = format!("{} has released the lease, token {}: {why}", self.subject.identity, term.token);
        self.happened(HappeningKind::Released, note);
    }

    /// A term ended otherwise.
    pub fn lost(&self, term: Term, reason: LossReason) {
        let (how, reason) = match reason {
            LossReason::Expired => ("expired", "it was not renewed in time".to_owned()),
            LossReason::TakenBy(holder) => ("taken", format!("{holder} holds it")),
            LossReason::Cleared => ("cleared", "its holder was emptied".to_owned()),
            LossReason::Deleted => ("deleted", "it was deleted".to_owned()),
        };
        say!(warn, self.subject, "lost", { token = term.token }; "the lease is lost: {reason}");
        self.state.term_ended(term, false, &reason);
        self.metrics.term_ended(how);
        self.traces.term_ended(how, Some(&reason));
        let note = format!("{} has lost the lease, token {}: {reason}", self.subject.identity, term.token);
        self.happened(HappeningKind::Lost, note);
    }

    /// A person asks, through the Lease, that this replica give it up.
    pub fn step_down_requested(&self, term: Term) {
        say!(info, self.subject, "step-down-requested", { token = term.token };
            "somebody asks this replica to give the lease up");
        self.state.step_down_requested();
    }

    /// The API server would rather have another lead.
    pub fn another_preferred(&self, term: Term, preferred: &str) {
        say!(info, self.subject, "another-preferred", { token = term.token, preferred = preferred };
            "the API server prefers {preferred}: this replica gives the lease up");
        self.state.step_down_requested();
    }

    /// The API server has picked this replica, which takes the lease after `wait`.
    pub fn named(&self, wait: Duration) {
        let wait_ms = wait.as_secs_f64() * 1e3;
        match wait.is_zero() {
            true => say!(info, self.subject, "named", { wait_ms = wait_ms }; "the API server has picked this replica"),
            false => say!(info, self.subject, "named", { wait_ms = wait_ms };
                "the API server has picked this replica, before the leader it follows has surely stopped: waiting {wait:?}"),
        }
    }

    /// The holder has ended, as its container's status proves.
    pub fn holder_ended(&self, holder: &str) {
        say!(info, self.subject, "holder-ended", { leader = holder };
            "the container of {holder} has ended: its lease is not waited out");
    }

    /// Somebody else leads.
    pub fn new_leader(&self, leader: &str) {
        say!(info, self.subject, "new-leader", { leader = leader }; "standing by");
    }

    /// The Lease is marked as another task's.
    pub fn other_task(&self, other: &str) {
        say!(error, self.subject, "other-task", { other = other };
            "not competing: the lease is marked as another task's; give this task its own lease, or --adopt");
        self.state.role(Role::OtherTask);
    }

    /// A request to the store failed; it will be tried again.
    pub fn request_failed(&self, what: &str, why: &dyn fmt::Display) {
        say!(warn, self.subject, "request-failed"; "could not {what}: {why}");
    }

    /// The store is asked.
    pub fn request_sent(&self, kind: RequestKind) {
        self.traces.request_sent(kind);
    }

    /// A request to the store was answered, or given up, after this long.
    pub fn request_ended(&self, kind: RequestKind, took: Duration, result: RequestResult) {
        self.metrics.request_ended(kind, took, result);
        self.traces.request_ended(kind, result);
    }

    /// A renewal is sent, and the Lease had to be read first.
    pub fn slow_path(&self) {
        self.metrics.slow_path();
    }

    /// The watch of this replica's own candidacy broke; it is taken up again.
    pub fn candidacy_watch_broken(&self, why: &str) {
        say!(warn, self.subject, "watch-broken"; "{why}");
    }

    /// The store's watch broke; it is taken up again.
    pub fn watch_broken(&self, why: &str) {
        say!(warn, self.subject, "watch-broken"; "{why}");
        self.metrics.watch_broken(true);
        self.state.holder_unsure(Some(why));
    }

    /// The store's watch tells again what there is.
    pub fn watch_mended(&self) {
        self.metrics.watch_broken(false);
        self.state.holder_unsure(None);
    }

    /// Who holds the Lease, while this replica does not lead, and until when it may lead without having been seen to
    /// renew; `None`: nobody, or it is not known.
    pub fn standing_by(&self, holder: Option<&str>, until: BootTime) {
        self.state.standing_by(holder, until);
    }

    /// The term lasts until then, unless a renewal moves that; and why it is about to end, if it is.
    pub fn certain_until(&self, valid_until: BootTime, ending: Option<StopReason>) {
        self.metrics.certain_until(valid_until);
        self.state.certain_until(valid_until, ending);
    }

    /// The Lease was seen like this; `None`: there is none.
    pub fn lease_seen(&self, record: Option<&LeaseRecord>) {
        self.state.lease_seen(record);
        self.state.checkpoint_bytes(match record.and_then(|record| record.checkpoint.as_ref()) {
            Some(Checkpoint::Saved(state)) => Some(state.bytes().len()),
            Some(Checkpoint::Unreadable(_)) | None => None,
        });
        let marked = record.and_then(|record| record.task.as_deref());
        if marked.is_none_or(|task| *task == *self.subject.task) {
            self.state.may_compete_again();
        }
    }

    /// A module is compiled, linked and checked.
    pub fn module_loaded(&self, module: &ReadyModule) {
        let compile_ms = u64::try_from(module.compile_time.as_millis()).unwrap_or(u64::MAX);
        say!(info, self.subject, "module-loaded", {
            digest = &*module.digest, size_bytes = module.size.as_u64(), compile_ms = compile_ms, cached = module.from_cache
        }; "the module is ready");
        self.state.module_ready(&module.digest);
    }

    /// A module is not taken; `runs` is the one there is, if any.
    pub fn module_rejected(&self, runs: Option<&Digest>, digest: Option<&Digest>, why: &dyn fmt::Display) {
        let digest = digest.map(|digest| &**digest);
        let then = match runs {
            Some(_) => "the one before stays",
            None => "and the task waits for one that is",
        };
        say!(error, self.subject, "module-rejected", { digest = digest }; "the new module is not taken, {then}: {why}");
        self.metrics.module_rejected();
        self.state.module_rejected(digest, &why.to_string());
        let which = digest.unwrap_or("the new module");
        let note = format!("{} does not take {which}, {then}: {why}", self.subject.identity);
        self.happened(HappeningKind::ModuleRejected, note);
    }

    /// The module's source cannot be reached for now; `runs` is the one there is, if any.
    pub fn module_source_unavailable(&self, runs: Option<&Digest>, why: &dyn fmt::Display) {
        match runs {
            Some(_) => say!(warn, self.subject, "module-source-unavailable";
                "changes of the module are not seen for now, the one there is stays: {why}"),
            None => say!(warn, self.subject, "module-source-unavailable";
                "the module cannot be had for now, and the task waits for it: {why}"),
        }
    }

    /// Whether the module's source could be reached when it was asked last.
    pub fn module_source_asked(&self, reached: bool) {
        self.metrics.source_unavailable(!reached);
    }

    /// The module's source tells nothing any more.
    pub fn module_unwatched(&self) {
        say!(warn, self.subject, "module-unwatched"; "changes of the module are not noticed any more");
    }

    /// A run begins; `before` is what ran last, in this term or another.
    pub fn guest_started(&self, term: Term, digest: &Digest, before: Option<&Digest>) {
        if let Some(before) = before.filter(|before| *before != digest) {
            say!(info, self.subject, "module-swapped", { token = term.token, digest = &**digest };
                "the new module takes over");
            self.metrics.module_swapped();
            let note = format!("{} runs {digest} instead of {before}", self.subject.identity);
            self.happened(HappeningKind::ModuleSwapped, note);
        }
        say!(info, self.subject, "guest-started", { token = term.token, digest = &**digest }; "the component starts");
        self.metrics.guest_started();
        self.traces.guest_started(digest);
        self.state.run_started(term, digest);
    }

    /// A run has reported progress, this long ago.
    pub fn guest_progress(&self, term: Term, ago: Duration, message: &str) {
        say!(info, self.subject, "guest-progress", { token = term.token }; "{message}");
        self.metrics.progress(ago);
        self.state.progress(ago, message);
    }

    /// A run is asked to end.
    pub fn stop_requested(&self, term: Term, reason: StopReason) {
        if reason == StopReason::Unresponsive {
            say!(warn, self.subject, "stop-requested", { token = term.token, reason = %reason };
                "the component has reported no progress in time, and is asked to stop");
        } else {
            say!(info, self.subject, "stop-requested", { token = term.token, reason = %reason };
                "the component is asked to stop");
        }
        self.state.stop_requested(&reason.to_string());
    }

    /// A run has ended. `reason` is why it was to end, if it was; `took` since it was to.
    pub fn guest_stopped(&self, term: Term, outcome: &Outcome, reason: Option<StopReason>, took: Option<Duration>) {
        // Whatever it then did: it came to an end for that.
        let outcome = match reason {
            Some(reason @ StopReason::Unresponsive) => &Outcome::Ended(reason),
            _ => outcome,
        };
        let why_stopped = reason;
        let reason = reason.map(|reason| reason.to_string());
        let took_ms = took.map(|took| took.as_secs_f64() * 1e3);
        let (token, name) = (term.token, outcome.name());
        match (outcome, outcome.detail()) {
            (Outcome::Ended(StopReason::Unresponsive), _) => {
                say!(warn, self.subject, "guest-stopped", { token = token, outcome = name, reason = reason.as_deref(), took_ms = took_ms }; "the component was stopped: it had reported no progress in time")
            }
            (_, None) => {
                say!(info, self.subject, "guest-stopped", { token = token, outcome = name, reason = reason.as_deref(), took_ms = took_ms }; "the component has stopped")
            }
            (_, Some(detail)) => {
                say!(warn, self.subject, "guest-stopped", { token = token, outcome = name, reason = reason.as_deref(), took_ms = took_ms }; "the component has failed: {detail}")
            }
        }
        self.metrics.guest_ended(name, took);
        self.traces.guest_stopped(outcome, why_stopped, took);
        self.state.run_ended(term, RunEnd { outcome: name, reason: reason.as_deref(), detail: outcome.detail(), took });
    }

    /// A guest's `save` was answered: `ok`, `refused` (its run does not lead), or `failed` (the store would not).
    pub fn checkpoint_save(&self, result: &'static str) {
        self.metrics.checkpoint_save(result);
    }

    /// Somebody has edited what the guest now wants to load.
    pub fn checkpoint_unreadable(&self, text: &str) {
        say!(error, self.subject, "checkpoint-unreadable", { chars = text.len() };
            "the checkpoint on the lease is not what a task has saved, so the component gets none: it has to be base64, \
             padded, in one line, of at most {STATE_BYTES_MAX} bytes; it stays until the component saves");
    }

    /// A callback has ended, which it has to within `limit`.
    pub fn callback_ended(&self, callback: &Callback, outcome: &Outcome, took: Duration, limit: Duration) {
        let (export, name, took_ms) = (callback.export(), outcome.name(), took.as_secs_f64() * 1e3);
        match (outcome, outcome.detail()) {
            (Outcome::Returned, _) => {
                say!(info, self.subject, "callback-ended", { export = export, took_ms = took_ms }; "{export} has returned");
                return;
            }
            (Outcome::TimedOut, _) => {
                say!(warn, self.subject, "callback-failed", { export = export, outcome = name, took_ms = took_ms };
                    "{export} was ended: it took longer than the {limit:?} it may take")
            }
            (_, detail) => {
                let detail = detail.unwrap_or("the host is ending");
                say!(warn, self.subject, "callback-failed", { export = export, outcome = name, took_ms = took_ms };
                    "{export} has failed: {detail}")
            }
        }
        self.metrics.callback_failed(export);
    }

    /// Too many changes of the leader wait to be told to the component.
    pub fn new_leader_skipped(&self, leader: &str) {
        say!(warn, self.subject, "new-leader-skipped", { leader = leader };
            "on-new-leader is not called for {leader}: too many newer leaders wait for a call that is under way");
    }

    /// `on-stop-leading` has failed, and the Lease is not given up before this is over.
    pub fn lease_kept(&self, left: Duration) {
        let seconds = left.as_secs_f64();
        say!(
            warn,
            self.subject,
            "lease-kept";
            "on-stop-leading has not come to its end, so the lease is kept for {seconds:.1} s more: until then may last what \
             the component has permitted others in its term"
        );
    }

    /// A failed run is followed by another, but not at once.
    pub fn restart_delayed(&self, delay: Duration) {
        say!(info, self.subject, "restart-delayed"; "the component is started again in {delay:?}");
    }
}

/// An error with all its causes in one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
