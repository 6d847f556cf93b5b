//! From what happens to a task to the spans of its terms.
//!
//! ```text
//! term ---------------------------------------------------
//!   acquire --   the write that began it
//!   start --     until the component starts, the pause before a restart included
//!   run ------------------   as long as the component runs
//!     stop ---               from when it was asked to
//!   swap ------              from when one module was asked to stop until another runs
//!   run ---...
//!   release --   the write that gave the Lease back
//! ```

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use leasehold_core::{
    election::Term,
    task::{Digest, Outcome, StopReason},
};

use super::{
    export::Tracer,
    span::{Attribute, Span, SpanId, TraceId},
};
use crate::{
    log::Subject,
    report::metrics::{Began, RequestKind, RequestResult},
};

/// The spans of one task's terms; of none, where there is nowhere to send them.
#[derive(Debug, Default)]
pub struct TermTraces(Option<Traced>);

#[derive(Debug)]
struct Traced {
    tracer: Tracer,
    subject: Subject,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last write that takes the Lease was sent.
    acquiring_since: Option<SystemTime>,
    term: Option<OpenTerm>,
    /// May outlive its term by the moment that its end takes.
    run: Option<OpenRun>,
}

#[derive(Debug)]
struct OpenTerm {
    ids: TermIds,
    began: Began,
    since: SystemTime,
    /// Since when nothing runs.
    idle_since: SystemTime,
    /// When the write that gives the Lease back was sent.
    releasing_since: Option<SystemTime>,
    /// Nothing runs because this module is replaced, which it was asked to be at that time.
    swapping: Option<(Digest, SystemTime)>,
}

/// What a span needs to know of its term.
#[derive(Clone, Copy, Debug)]
struct TermIds {
    trace: TraceId,
    root: SpanId,
    token: u64,
}

#[derive(Debug)]
struct OpenRun {
    ids: TermIds,
    span: SpanId,
    digest: Digest,
    since: SystemTime,
}

impl Traced {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, ids: &TermIds, mut span: Span) {
        let Subject { task, lease, identity } = &self.subject;
        span.attributes.extend([
            Attribute::text("leasehold.task", &**task),
            Attribute::text("leasehold.lease", &**lease),
            Attribute::text("leasehold.identity", &**identity),
            Attribute::number("leasehold.token", ids.token),
        ]);
        self.tracer.send(span);
    }
}

impl TermIds {
    fn child(&self, name: &'static str, during: (SystemTime, SystemTime)) -> Span {
        Span::new((self.trace, SpanId::new()), Some(self.root), name, during)
    }
}

/// Of what a component or the runtime says.
const DETAIL_CHARS_MAX: usize = 500;

const REASON: &str = "leasehold.reason";
const DIGEST: &str = "leasehold.digest";
const BEFORE: &str = "leasehold.digest_before";
const OUTCOME: &str = "leasehold.outcome";
const BEGAN: &str = "leasehold.began";

impl TermTraces {
    /// Of the task that `subject` names.
    pub fn new(tracer: Tracer, subject: Subject) -> Self {
        Self(Some(Traced { tracer, subject, state: Mutex::default() }))
    }

    pub(in crate::report) fn request_sent(&self, kind: RequestKind) {
        let Self(Some(this)) = self else { return };
        let now = Some(SystemTime::now());
        let mut state = this.state();
        match (kind, &mut state.term) {
            (RequestKind::Acquire, _) => state.acquiring_since = now,
            (RequestKind::Release, Some(term)) => term.releasing_since = now,
            (RequestKind::Release | RequestKind::Read | RequestKind::Renew, _) => {}
        }
    }

    /// Of one that has succeeded the end of the term tells, which the watch may have told before the answer.
    pub(in crate::report) fn request_ended(&self, kind: RequestKind, result: RequestResult) {
        let Self(Some(this)) = self else { return };
        let mut state = this.state();
        if let (RequestKind::Release, RequestResult::Conflict | RequestResult::Failed, Some(term)) =
            (kind, result, &mut state.term)
            && let Some(since) = term.releasing_since.take()
        {
            let span = term.ids.child("release", (since, SystemTime::now()));
            this.send(&term.ids, span.failed(result.name()));
        }
    }

    pub(in crate::report) fn leading(&self, term: Term, began: Began) {
        let Self(Some(this)) = self else { return };
        let now = SystemTime::now();
        let mut state = this.state();
        let since = state.acquiring_since.take().unwrap_or(now);
        let ids = TermIds { trace: TraceId::new(), root: SpanId::new(), token: term.token };
        this.send(&ids, ids.child("acquire", (since, now)).with(BEGAN, began.name()));
        state.term = Some(OpenTerm { ids, began, since, idle_since: now, releasing_since: None, swapping: None });
    }

    /// Released, where it was not `lost`, in these words.
    pub(in crate::report) fn term_ended(&self, how: &'static str, lost: Option<&str>) {
        let Self(Some(this)) = self else { return };
        let Some(OpenTerm { ids, began, since, releasing_since, .. }) = this.state().term.take() else { return };
        let now = SystemTime::now();
        if let (Some(since), None) = (releasing_since, lost) {
            this.send(&ids, ids.child("release", (since, now)));
        }
        let span = Span::new((ids.trace, ids.root), None, "term", (since, now));
        let span = span.with(BEGAN, began.name()).with(REASON, how);
        this.send(
            &ids,
            match lost {
                Some(words) => span.failed(words),
                None => span,
            },
        );
    }

    pub(in crate::report) fn guest_started(&self, digest: &Digest) {
        let Self(Some(this)) = self else { return };
        let now = SystemTime::now();
        let mut state = this.state();
        let Some(term) = &mut state.term else { return };
        let ids = term.ids;
        let span = match term.swapping.take() {
            Some((before, from)) if before != *digest => ids
                .child("swap", (from, now))
                .with(BEFORE, &*before)
                .with(REASON, StopReason::ModuleReplaced.to_string()),
            _ => ids.child("start", (term.idle_since, now)),
        };
        this.send(&ids, span.with(DIGEST, &**digest));
        state.run = Some(OpenRun { ids, span: SpanId::new(), digest: digest.clone(), since: now });
    }

    /// `took` since it was to stop, if it was, for this reason.
    pub(in crate::report) fn guest_stopped(
        &self,
        outcome: &Outcome,
        reason: Option<StopReason>,
        took: Option<Duration>,
    ) {
        let Self(Some(this)) = self else { return };
        let now = SystemTime::now();
        let mut state = this.state();
        let Some(OpenRun { ids, span, digest, since }) = state.run.take() else { return };
        let asked_at = took.map(|took| now - took);
        let words = reason.map(|reason| reason.to_string());
        if let (Some(asked_at), Some(reason)) = (asked_at, &words) {
            let stop = Span::new((ids.trace, SpanId::new()), Some(span), "stop", (asked_at, now));
            this.send(&ids, stop.with(DIGEST, &*digest).with(REASON, reason.as_str()));
        }
        let mut run = Span::new((ids.trace, span), Some(ids.root), "run", (since, now));
        run = run.with(DIGEST, &*digest).with(OUTCOME, outcome.name());
        if let Some(reason) = words {
            run = run.with(REASON, reason);
        }
        if let Some(detail) = outcome.detail() {
            // The rest, a backtrace mostly, is in the log.
            let first = detail.lines().next().unwrap_or_default();
            run = run.failed(first.chars().take(DETAIL_CHARS_MAX).collect::<String>());
        }
        this.send(&ids, run);
        if let Some(term) = &mut state.term {
            term.idle_since = now;
            term.swapping =
                asked_at.filter(|_| reason == Some(StopReason::ModuleReplaced)).map(|asked_at| (digest, asked_at));
        }
    }
}
