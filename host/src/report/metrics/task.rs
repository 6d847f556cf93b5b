//! The metrics of one task.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use leasehold_core::{task::Digest, time::BootTime};

use super::{
    Families, Metrics, Remaining,
    labels::{
        Began, CALLBACKS, CALLS, CallLabels, CallbackLabels, ENDS_OF_RUNS, EndLabels, LOSSES, LeaseLabels,
        ModuleLabels, ReasonLabels, Released, RequestKind, RequestResult, ResultLabels, SWAP_RESULTS, StateLabels,
        TaskLabels,
    },
    leads::Leads,
};
use crate::guest::{
    imports::{counts::CallCounts, http::grant::HttpCounts},
    runtime::GuestCounts,
};

/// See the module's documentation.
pub struct TaskMetrics {
    families: Families,
    labels: TaskLabels,
    lease: LeaseLabels,
    leads: Leads,
    remaining: Remaining,
    module: Mutex<Option<ModuleLabels>>,
    /// Those that are shown.
    states: Mutex<Vec<StateLabels>>,
}

impl Metrics {
    /// Those of one task, at 0.
    pub fn of_task(&self, task: &str, lease: &str) -> TaskMetrics {
        let families = self.families.clone();
        let labels = TaskLabels { task: task.to_owned() };
        let lease = LeaseLabels { name: lease.to_owned() };
        let leads = families.leads.get_or_create_owned(&lease).of_one_more();
        families.slow_path.get_or_create(&lease).inc_by(0);
        for gauge in [&families.token, &families.watch_broken, &families.source_unavailable, &families.running] {
            gauge.get_or_create(&labels).set(0);
        }
        for counter in [
            &families.swaps,
            &families.rejections,
            &families.dropped_lines,
            &families.dropped_events,
            &families.leader_label_failures,
        ] {
            counter.get_or_create(&labels).inc_by(0);
        }
        for histogram in [&families.renewal_time, &families.stop_time] {
            drop(histogram.get_or_create(&labels));
        }
        drop(families.cpu.get_or_create(&labels));
        let remaining = families.remaining.get_or_create_owned(&labels);
        let this = TaskMetrics {
            families,
            labels,
            lease,
            leads,
            remaining,
            module: Mutex::default(),
            states: Mutex::default(),
        };
        for reason in Began::ALL.map(Began::name) {
            this.families.terms_begun.get_or_create(&this.reason(reason)).inc_by(0);
        }
        for reason in Released::ALL.map(Released::name).into_iter().chain(LOSSES) {
            this.families.terms_ended.get_or_create(&this.reason(reason)).inc_by(0);
        }
        for kind in RequestKind::ALL {
            for result in RequestResult::ALL {
                this.families.requests.get_or_create(&this.request(kind, result)).inc_by(0);
            }
        }
        for outcome in ENDS_OF_RUNS {
            this.families.ends.get_or_create(&this.outcome(outcome)).inc_by(0);
        }
        for result in SWAP_RESULTS {
            this.families.swap_results.get_or_create(&this.result(result)).inc_by(0);
        }
        for export in CALLBACKS {
            this.families.callback_failures.get_or_create(&this.export(export)).inc_by(0);
        }
        for kind in CALLS {
            for result in ["ok", "refused", "failed"] {
                this.families.calls.get_or_create(&this.call(kind, result)).inc_by(0);
            }
        }
        this
    }
}

impl TaskMetrics {
    fn task(&self) -> String {
        self.labels.task.clone()
    }

    fn reason(&self, reason: &'static str) -> ReasonLabels {
        ReasonLabels { task: self.task(), reason }
    }

    fn result(&self, result: &'static str) -> ResultLabels {
        ResultLabels { task: self.task(), result }
    }

    fn outcome(&self, outcome: &'static str) -> EndLabels {
        EndLabels { task: self.task(), outcome }
    }

    fn export(&self, export: &'static str) -> CallbackLabels {
        CallbackLabels { task: self.task(), export }
    }

    fn call(&self, kind: &'static str, result: &'static str) -> CallLabels {
        CallLabels { task: self.task(), kind, result }
    }

    fn request(&self, kind: RequestKind, result: RequestResult) -> CallLabels {
        self.call(kind.name(), result.name())
    }

    /// Where the runs of its guests are counted.
    pub fn guest_counts(&self) -> GuestCounts {
        GuestCounts {
            cpu: self.families.cpu.get_or_create(&self.labels).clone(),
            dropped_lines: self.families.dropped_lines.get_or_create(&self.labels).clone(),
            tcp: self.call_counts("tcp"),
        }
    }

    /// Those that the component's requests are counted in.
    pub fn http_counts(&self) -> HttpCounts {
        HttpCounts { http: self.call_counts("http"), kubernetes: self.call_counts("kubernetes") }
    }

    fn call_counts(&self, kind: &'static str) -> CallCounts {
        let of = |result| self.families.calls.get_or_create_owned(&self.call(kind, result));
        CallCounts { ok: of("ok"), refused: of("refused"), failed: of("failed") }
    }

    pub(in crate::report) fn leading(&self, token: u64, began: Began) {
        self.leads.set(true);
        self.families.token.get_or_create(&self.labels).set(i64::try_from(token).unwrap_or(i64::MAX));
        self.families.term_start.get_or_create(&self.labels).set(unix_seconds(Duration::ZERO));
        self.families.terms_begun.get_or_create(&self.reason(began.name())).inc();
    }

    /// `how` is a [`Released`]'s name, or one of [`LOSSES`].
    pub(in crate::report) fn term_ended(&self, how: &'static str) {
        self.leads.set(false);
        self.families.token.get_or_create(&self.labels).set(0);
        self.families.term_start.remove(&self.labels);
        self.remaining.until(BootTime::ZERO);
        self.families.terms_ended.get_or_create(&self.reason(how)).inc();
    }

    pub(in crate::report) fn certain_until(&self, valid_until: BootTime) {
        self.remaining.until(valid_until);
    }

    pub(in crate::report) fn request_ended(&self, kind: RequestKind, took: Duration, result: RequestResult) {
        self.families.requests.get_or_create(&self.request(kind, result)).inc();
        if kind == RequestKind::Renew {
            self.families.renewal_time.get_or_create(&self.labels).observe(took.as_secs_f64());
        }
    }

    pub(in crate::report) fn slow_path(&self) {
        self.families.slow_path.get_or_create(&self.lease).inc();
    }

    pub(in crate::report) fn watch_broken(&self, broken: bool) {
        self.families.watch_broken.get_or_create(&self.labels).set(i64::from(broken));
    }

    pub(in crate::report) fn source_unavailable(&self, unavailable: bool) {
        self.families.source_unavailable.get_or_create(&self.labels).set(i64::from(unavailable));
    }

    pub(in crate::report) fn module(&self, digest: &Digest) {
        let labels = ModuleLabels { task: self.task(), digest: digest.to_string() };
        let mut shown = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = shown.replace(labels.clone()) {
            self.families.module.remove(&before);
        }
        self.families.module.get_or_create(&labels).set(1);
    }

    /// These, and no others, are shown.
    pub(in crate::report) fn module_states<const N: usize>(&self, states: [(&'static str, Option<&Digest>); N]) {
        let of = |(state, digest): (&'static str, Option<&Digest>)| {
            Some(StateLabels { task: self.task(), digest: digest?.to_string(), state })
        };
        let mut shown = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        for before in shown.drain(..) {
            self.families.module_states.remove(&before);
        }
        shown.extend(states.into_iter().filter_map(of));
        for now in shown.iter() {
            self.families.module_states.get_or_create(now).set(1);
        }
    }

    /// `result` is one of [`SWAP_RESULTS`].
    pub(in crate::report) fn swap_result(&self, result: &'static str) {
        self.families.swap_results.get_or_create(&self.result(result)).inc();
    }

    pub(in crate::report) fn module_swapped(&self) {
        self.families.swaps.get_or_create(&self.labels).inc();
    }

    pub(in crate::report) fn module_rejected(&self) {
        self.families.rejections.get_or_create(&self.labels).inc();
    }

    pub(in crate::report) fn guest_started(&self) {
        self.families.running.get_or_create(&self.labels).set(1);
        self.progress(Duration::ZERO);
    }

    /// It was this long ago.
    pub(in crate::report) fn progress(&self, ago: Duration) {
        self.families.progress.get_or_create(&self.labels).set(unix_seconds(ago));
    }

    pub(in crate::report) fn callback_failed(&self, export: &'static str) {
        self.families.callback_failures.get_or_create(&self.export(export)).inc();
    }

    /// `outcome` is one of [`ENDS_OF_RUNS`]; `took` since it was to stop, if it was.
    pub(in crate::report) fn guest_ended(&self, outcome: &'static str, took: Option<Duration>) {
        self.families.running.get_or_create(&self.labels).set(0);
        self.families.progress.remove(&self.labels);
        self.families.ends.get_or_create(&self.outcome(outcome)).inc();
        if let Some(took) = took {
            self.families.stop_time.get_or_create(&self.labels).observe(took.as_secs_f64());
        }
    }

    /// `result` is `ok`, `refused` or `failed`, as of all calls.
    pub(in crate::report) fn checkpoint_save(&self, result: &'static str) {
        self.families.calls.get_or_create(&self.call("checkpoint", result)).inc();
    }

    pub(in crate::report) fn leader_label(&self, on: bool) {
        self.families.leader_label.get_or_create(&self.labels).set(i64::from(on));
    }

    pub(in crate::report) fn leader_label_failed(&self) {
        self.families.leader_label_failures.get_or_create(&self.labels).inc();
    }

    pub(in crate::report) fn event_dropped(&self) {
        self.families.dropped_events.get_or_create(&self.labels).inc();
    }
}

fn unix_seconds(ago: Duration) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(ago).as_secs_f64()
}
