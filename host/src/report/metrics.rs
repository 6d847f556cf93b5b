//! Metrics, in the text form that Prometheus and OpenMetrics share. Where client-go has a name for
//! something, it is the same name.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use leasehold_core::task::Digest;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::guest::{cache::CacheCounts, cpu::CpuSeconds, imports::http::grant::HttpCounts, runtime::GuestCounts};

/// Of all tasks of this host.
pub struct Metrics {
    registry: Registry,
    families: Families,
}

#[derive(Clone, Default)]
struct Families {
    leads: Family<LeaseLabels, Gauge>,
    token: Family<TaskLabels, Gauge>,
    module: Family<ModuleLabels, Gauge>,
    swaps: Family<TaskLabels, Counter>,
    module_states: Family<StateLabels, Gauge>,
    swap_results: Family<ResultLabels, Counter>,
    rejections: Family<TaskLabels, Counter>,
    ends: Family<EndLabels, Counter>,
    cpu: Family<TaskLabels, CpuSeconds>,
    dropped_lines: Family<TaskLabels, Counter>,
    http: Family<ResultLabels, Counter>,
    saves: Family<ResultLabels, Counter>,
    progress: Family<TaskLabels, Gauge<f64, AtomicU64>>,
    callback_failures: Family<CallbackLabels, Counter>,
    cache: Family<CacheLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabels {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModuleLabels {
    task: String,
    digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    task: String,
    digest: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    task: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    task: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallbackLabels {
    task: String,
    export: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let families = Families::default();
        let mut registry = Registry::default();
        let Families {
            leads,
            token,
            module,
            swaps,
            module_states,
            swap_results,
            rejections,
            ends,
            cpu,
            dropped_lines,
            http,
            saves,
            progress,
            callback_failures,
            cache,
        } = families.clone();
        registry.register("leader_election_master_status", "1 while this replica holds the lease, else 0", leads);
        registry.register(
            "leasehold_token",
            "The fencing token of this replica's term; 0 while it does not lead",
            token,
        );
        registry.register("leasehold_module_info", "1 for the module that is ready to run", module);
        registry.register("leasehold_module_swaps", "Modules that took over from another one", swaps);
        registry.register("leasehold_module_state", "1 for the module that runs, waits, was refused", module_states);
        registry.register(
            "leasehold_module_swap_results",
            "New modules, by what became of them: worked, rolled-back, refused, waited",
            swap_results,
        );
        registry.register("leasehold_module_rejections", "New modules that were not taken", rejections);
        registry.register("leasehold_guest_ends", "Runs of the component that have ended, by how", ends);
        registry.register("leasehold_guest_cpu_seconds", "CPU time that the component has used", cpu);
        registry.register(
            "leasehold_guest_output_lines_dropped",
            "Lines that the component printed faster than it may, and that were not shown",
            dropped_lines,
        );
        registry.register("leasehold_http_requests", "HTTP requests of the component, by what became of them", http);
        registry.register("leasehold_checkpoint_saves", "The component's saves of its checkpoint, by result", saves);
        registry.register(
            "leasehold_callback_failures",
            "Calls of on-stop-leading and on-new-leader that failed or took too long",
            callback_failures,
        );
        registry.register(
            "leasehold_module_cache",
            "Modules in the cache of compiled ones, by what became of them",
            cache,
        );
        // A time and not an age, as Prometheus asks for (https://prometheus.io/docs/practices/instrumentation/).
        registry.register(
            "leasehold_progress_timestamp_seconds",
            "When the running component last reported progress, or started, in Unix time; none while it does not run",
            progress,
        );
        Self { registry, families }
    }
}

impl Metrics {
    /// Those of one task, with its counters at 0.
    pub fn of_task(&self, task: &str, lease: &str) -> TaskMetrics {
        let families = self.families.clone();
        let labels = TaskLabels { task: task.to_owned() };
        let lease = LeaseLabels { name: lease.to_owned() };
        families.leads.get_or_create(&lease).set(0);
        families.token.get_or_create(&labels).set(0);
        families.swaps.get_or_create(&labels).inc_by(0);
        families.rejections.get_or_create(&labels).inc_by(0);
        TaskMetrics { families, labels, lease, module: Mutex::default(), states: Mutex::default() }
    }

    /// Those of the cache of compiled modules, at 0.
    pub fn cache_counts(&self) -> CacheCounts {
        let of = |result| self.families.cache.get_or_create_owned(&CacheLabels { result });
        CacheCounts {
            hits: of("hit"),
            misses: of("miss"),
            refused: of("refused"),
            stored: of("stored"),
            failed: of("failed"),
            evicted: of("evicted"),
        }
    }

    /// All of them as text, and its media type.
    ///
    /// # Errors
    /// They cannot be written down.
    pub fn text(&self) -> Result<(&'static str, String), std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
    }
}

/// The metrics of one task.
pub struct TaskMetrics {
    families: Families,
    labels: TaskLabels,
    lease: LeaseLabels,
    module: Mutex<Option<ModuleLabels>>,
    /// Those that are shown.
    states: Mutex<Vec<StateLabels>>,
}

impl TaskMetrics {
    /// Where the runs of its guests are counted.
    pub fn guest_counts(&self) -> GuestCounts {
        GuestCounts {
            cpu: self.families.cpu.get_or_create(&self.labels).clone(),
            dropped_lines: self.families.dropped_lines.get_or_create(&self.labels).clone(),
        }
    }

    /// Those that the component's requests are counted in.
    pub fn http_counts(&self) -> HttpCounts {
        let of =
            |result| self.families.http.get_or_create_owned(&ResultLabels { task: self.labels.task.clone(), result });
        HttpCounts { answered: of("answered"), refused: of("refused"), failed: of("failed") }
    }

    pub(super) fn leading(&self, token: u64) {
        self.families.leads.get_or_create(&self.lease).set(1);
        self.families.token.get_or_create(&self.labels).set(i64::try_from(token).unwrap_or(i64::MAX));
    }

    pub(super) fn not_leading(&self) {
        self.families.leads.get_or_create(&self.lease).set(0);
        self.families.token.get_or_create(&self.labels).set(0);
    }

    pub(super) fn module(&self, digest: &Digest) {
        let labels = ModuleLabels { task: self.labels.task.clone(), digest: digest.to_string() };
        let mut shown = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = shown.replace(labels.clone()) {
            self.families.module.remove(&before);
        }
        self.families.module.get_or_create(&labels).set(1);
    }

    /// These, and no others, are shown.
    pub(super) fn module_states<const N: usize>(&self, states: [(&'static str, Option<&Digest>); N]) {
        let of = |(state, digest): (&'static str, Option<&Digest>)| {
            Some(StateLabels { task: self.labels.task.clone(), digest: digest?.to_string(), state })
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

    pub(super) fn swap_result(&self, result: &'static str) {
        self.families.swap_results.get_or_create(&ResultLabels { task: self.labels.task.clone(), result }).inc();
    }

    pub(super) fn module_swapped(&self) {
        self.families.swaps.get_or_create(&self.labels).inc();
    }

    pub(super) fn module_rejected(&self) {
        self.families.rejections.get_or_create(&self.labels).inc();
    }

    /// It was this long ago.
    pub(super) fn progress(&self, ago: Duration) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.families.progress.get_or_create(&self.labels).set(now.saturating_sub(ago).as_secs_f64());
    }

    pub(super) fn callback_failed(&self, export: &'static str) {
        let labels = CallbackLabels { task: self.labels.task.clone(), export };
        self.families.callback_failures.get_or_create(&labels).inc();
    }

    pub(super) fn guest_ended(&self, outcome: &'static str) {
        self.families.progress.remove(&self.labels);
        self.families.ends.get_or_create(&EndLabels { task: self.labels.task.clone(), outcome }).inc();
    }

    pub(super) fn checkpoint_save(&self, result: &'static str) {
        self.families.saves.get_or_create(&ResultLabels { task: self.labels.task.clone(), result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_from_its_start_and_only_its_newest_module() {
        let metrics = Metrics::default();
        let task = metrics.of_task("nightly", "night");
        let text = || metrics.text().expect("it can be written").1;
        assert!(text().contains("leader_election_master_status{name=\"night\"} 0\n"), "{}", text());
        assert!(text().contains("leasehold_module_rejections_total{task=\"nightly\"} 0\n"), "{}", text());
        task.leading(7);
        task.module(&"sha256:a".into());
        task.module(&"sha256:b".into());
        let (a, b): (Digest, Digest) = ("sha256:a".into(), "sha256:b".into());
        task.module_states([("runs", Some(&a)), ("waits", Some(&b)), ("refused", None)]);
        assert!(text().contains("digest=\"sha256:b\",state=\"waits\"} 1\n"), "{}", text());
        task.module_states([("runs", Some(&b)), ("waits", None), ("refused", None)]);
        task.swap_result("worked");
        assert!(text().contains("swap_results_total{task=\"nightly\",result=\"worked\"} 1\n"), "{}", text());
        task.progress(Duration::from_secs(3600));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let text_then = text();
        let (_, shown) = text_then
            .split_once("leasehold_progress_timestamp_seconds{task=\"nightly\"} ")
            .unwrap_or_else(|| panic!("no time of progress in {text_then}"));
        let shown: f64 = shown.lines().next().expect("a line").parse().expect("a number");
        assert!((now - 3600.0 - shown).abs() < 60.0, "{shown} is not an hour before {now}");
        task.guest_ended("trap");
        task.checkpoint_save("saved");
        assert!(!text().contains("timestamp_seconds{"), "nothing runs: {}", text());
        assert!(text().contains("leader_election_master_status{name=\"night\"} 1\n"), "{}", text());
        assert!(text().contains("leasehold_token{task=\"nightly\"} 7\n"), "{}", text());
        assert!(!text().contains("sha256:a") && text().contains("digest=\"sha256:b\"} 1\n"), "{}", text());
        assert!(text().contains("leasehold_guest_ends_total{task=\"nightly\",outcome=\"trap\"} 1\n"), "{}", text());
        assert!(
            text().contains("leasehold_checkpoint_saves_total{task=\"nightly\",result=\"saved\"} 1\n"),
            "{}",
            text()
        );
    }
}
