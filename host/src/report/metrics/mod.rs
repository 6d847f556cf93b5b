//! Metrics, in the text form that Prometheus and OpenMetrics share. Where client-go has a name for
//! something, it is the same name. What each of them means, and what to do about it, is in `deploy/on-call.md`; a test
//! holds that list against this one.
//!
//! All that is counted is shown from the start, at 0, with each of the few words that a label may have: of a series that
//! begins with 1, nobody can tell that it has grown.

mod classic;
mod labels;
mod leads;
mod process;
mod remaining;
mod task;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

pub use self::{
    labels::{Began, Released, RequestKind, RequestResult},
    task::TaskMetrics,
};
use self::{
    labels::{
        BuildLabels, CallLabels, CallbackLabels, EndLabels, HostLabels, LeaseLabels, ModuleLabels, ReasonLabels,
        ResultLabels, StateLabels, TaskLabels,
    },
    leads::Leads,
    process::Process,
    remaining::Remaining,
};
use super::traces::export::SpanCounts;
use crate::guest::{cache::CacheCounts, cpu::CpuSeconds};

/// Of all tasks of this host.
pub struct Metrics {
    registry: Registry,
    families: Families,
}

type Histograms = Family<TaskLabels, Histogram>;

#[derive(Clone)]
struct Families {
    leads: Family<LeaseLabels, Leads>,
    slow_path: Family<LeaseLabels, Counter>,
    token: Family<TaskLabels, Gauge>,
    remaining: Family<TaskLabels, Remaining>,
    term_start: Family<TaskLabels, Gauge<f64, AtomicU64>>,
    terms_begun: Family<ReasonLabels, Counter>,
    terms_ended: Family<ReasonLabels, Counter>,
    requests: Family<CallLabels, Counter>,
    renewal_time: Histograms,
    watch_broken: Family<TaskLabels, Gauge>,
    source_unavailable: Family<TaskLabels, Gauge>,
    module: Family<ModuleLabels, Gauge>,
    swaps: Family<TaskLabels, Counter>,
    module_states: Family<StateLabels, Gauge>,
    swap_results: Family<ResultLabels, Counter>,
    rejections: Family<TaskLabels, Counter>,
    running: Family<TaskLabels, Gauge>,
    ends: Family<EndLabels, Counter>,
    stop_time: Histograms,
    cpu: Family<TaskLabels, CpuSeconds>,
    dropped_lines: Family<TaskLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    progress: Family<TaskLabels, Gauge<f64, AtomicU64>>,
    callback_failures: Family<CallbackLabels, Counter>,
    dropped_events: Family<TaskLabels, Counter>,
    leader_label: Family<TaskLabels, Gauge>,
    leader_label_failures: Family<TaskLabels, Counter>,
    cache: Family<HostLabels, Counter>,
    spans: Family<HostLabels, Counter>,
}

/// What metrics are put into: the registry; in a test, a list of their names.
trait List {
    fn put(&mut self, name: &'static str, help: &'static str, metric: impl Metric);
}

impl List for Registry {
    fn put(&mut self, name: &'static str, help: &'static str, metric: impl Metric) {
        self.register(name, help, metric);
    }
}

/// A renewal is given up after a part of the retry period to seconds.
const RENEWAL_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// A component has its grace time to stop by itself, five seconds by default.
const STOP_SECONDS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

impl Default for Families {
    fn default() -> Self {
        Self {
            leads: Family::default(),
            slow_path: Family::default(),
            token: Family::default(),
            remaining: Family::default(),
            term_start: Family::default(),
            terms_begun: Family::default(),
            terms_ended: Family::default(),
            requests: Family::default(),
            renewal_time: Family::new_with_constructor(|| Histogram::new(RENEWAL_SECONDS)),
            watch_broken: Family::default(),
            source_unavailable: Family::default(),
            module: Family::default(),
            swaps: Family::default(),
            module_states: Family::default(),
            swap_results: Family::default(),
            rejections: Family::default(),
            running: Family::default(),
            ends: Family::default(),
            stop_time: Family::new_with_constructor(|| Histogram::new(STOP_SECONDS)),
            cpu: Family::default(),
            dropped_lines: Family::default(),
            calls: Family::default(),
            progress: Family::default(),
            callback_failures: Family::default(),
            dropped_events: Family::default(),
            leader_label: Family::default(),
            leader_label_failures: Family::default(),
            cache: Family::default(),
            spans: Family::default(),
        }
    }
}

impl Families {
    /// Each of them, with its name and a few words; a counter's name without the `_total` that its samples have.
    fn put_into(&self, list: &mut impl List) {
        macro_rules! register {
            ($($field:ident $name:literal $help:literal)+) => {
                let Self { $($field),+ } = self.clone();
                $(list.put($name, $help, $field);)+
            };
        }
        register! {
            leads "leader_election_master_status"
                "1 while this replica holds a lease of this name, else 0"
            slow_path "leader_election_slowpath"
                "Renewals of leases of this name before which they had to be read"
            token "leasehold_token"
                "The fencing token of this replica's term; 0 while it does not lead"
            remaining "leasehold_term_remaining_seconds"
                "For how long this replica's term is certain without a further renewal; 0 while it does not lead"
            // A time and not an age, as Prometheus asks for (https://prometheus.io/docs/practices/instrumentation/).
            term_start "leasehold_term_start_timestamp_seconds"
                "When this replica's term began, in Unix time; none while it does not lead"
            terms_begun "leasehold_terms_begun"
                "Terms of this replica, by how it came to hold the lease"
            terms_ended "leasehold_terms_ended"
                "Terms of this replica that are over, by how"
            requests "leasehold_lease_requests"
                "Requests about the lease that have ended, by what for and how"
            renewal_time "leasehold_renewal_duration_seconds"
                "How long renewals took, until the answer or until they were given up"
            watch_broken "leasehold_watch_broken"
                "1 while changes of the lease are not told and it has to be polled, else 0"
            source_unavailable "leasehold_module_source_unavailable"
                "1 while the module's source cannot be reached, and changes of the module are not seen, else 0"
            module "leasehold_module_info"
                "1 for the module that would run in a new term"
            swaps "leasehold_module_swaps"
                "Modules that took over from another one"
            module_states "leasehold_module_state"
                "1 for the module that runs, waits, was refused"
            swap_results "leasehold_module_swap_results"
                "New modules, by what became of them: worked, rolled-back, refused, waited"
            rejections "leasehold_module_rejections"
                "New modules that were not taken"
            running "leasehold_guest_running"
                "1 while the component runs here, else 0"
            ends "leasehold_guest_ends"
                "Runs of the component that have ended, by how"
            stop_time "leasehold_guest_stop_duration_seconds"
                "How long the component took to stop, from when it was asked to"
            cpu "leasehold_guest_cpu_seconds"
                "CPU time that the component has used"
            dropped_lines "leasehold_guest_output_lines_dropped"
                "Lines that the component printed faster than it may, and that were not shown"
            calls "leasehold_host_calls"
                "What the component asked for beyond this process, by kind and by what became of it"
            progress "leasehold_progress_timestamp_seconds"
                "When the running component last reported progress, or started, in Unix time; none while it does not run"
            callback_failures "leasehold_callback_failures"
                "Calls of on-stop-leading and on-new-leader that failed or took too long"
            dropped_events "leasehold_events_dropped"
                "Kubernetes Events that were not written because too many waited"
            leader_label "leasehold_leader_label"
                "1 while this Pod carries the leader's label, else 0; none where that is not asked for"
            leader_label_failures "leasehold_leader_label_failures"
                "Requests about the leader's label that failed"
            cache "leasehold_module_cache"
                "Modules in the cache of compiled ones, by what became of them"
            spans "leasehold_trace_spans"
                "Spans of traces, by what became of them: sent, dropped"
        }
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        list.put("leasehold_build_info", "1 for the version of this host", build);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let families = Families::default();
        let mut registry = Registry::default();
        families.put_into(&mut registry);
        for result in ["sent", "dropped"] {
            families.spans.get_or_create(&HostLabels { result }).inc_by(0);
        }
        registry.register_collector(Box::new(Process::default()));
        Self { registry, families }
    }
}

/// The text forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// The one before that.
    Classic,
}

impl Form {
    /// For a request with this `accept` header.
    pub fn asked_for(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Classic }
    }
}

impl Metrics {
    /// Those of the cache of compiled modules, at 0.
    pub fn cache_counts(&self) -> CacheCounts {
        let of = |result| self.families.cache.get_or_create_owned(&HostLabels { result });
        CacheCounts {
            hits: of("hit"),
            misses: of("miss"),
            refused: of("refused"),
            stored: of("stored"),
            failed: of("failed"),
            evicted: of("evicted"),
        }
    }

    /// Those of traces.
    pub fn span_counts(&self) -> SpanCounts {
        let of = |result| self.families.spans.get_or_create_owned(&HostLabels { result });
        SpanCounts { sent: of("sent"), dropped: of("dropped") }
    }

    /// All of them as text, and its media type.
    ///
    /// # Errors
    /// They cannot be written down.
    pub fn text(&self, form: Form) -> Result<(&'static str, String), std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(match form {
            Form::OpenMetrics => ("application/openmetrics-text; version=1.0.0; charset=utf-8", text),
            Form::Classic => ("text/plain; version=0.0.4; charset=utf-8", classic::classic(&text)),
        })
    }
}
