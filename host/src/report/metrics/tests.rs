//! What tasks do is shown, and all that is shown is in the list for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use super::*;
use crate::clock;

fn text(metrics: &Metrics) -> String {
    metrics.text(Form::OpenMetrics).expect("it can be written").1
}

#[track_caller]
fn assert_shows(metrics: &Metrics, line: &str) {
    let text = text(metrics);
    assert!(text.lines().any(|shown| shown == line), "no {line:?} in:\n{text}");
}

/// The number that is shown for this series.
#[track_caller]
fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = text(metrics);
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().expect("a number")
}

#[test]
fn a_task_is_shown_from_its_start_and_only_its_newest_module() {
    let metrics = Metrics::default();
    let task = metrics.of_task("nightly", "night");
    assert_shows(&metrics, "leader_election_master_status{name=\"night\"} 0");
    assert_shows(&metrics, "leasehold_module_rejections_total{task=\"nightly\"} 0");
    task.module(&"sha256:a".into());
    task.module(&"sha256:b".into());
    assert!(!text(&metrics).contains("sha256:a"));
    assert_shows(&metrics, "leasehold_module_info{task=\"nightly\",digest=\"sha256:b\"} 1");
    let (a, b) = ("sha256:a".into(), "sha256:b".into());
    task.module_states([("runs", Some(&a)), ("waits", Some(&b)), ("refused", None)]);
    assert_shows(&metrics, "leasehold_module_state{task=\"nightly\",digest=\"sha256:b\",state=\"waits\"} 1");
    task.module_states([("runs", Some(&b)), ("waits", None), ("refused", None)]);
    assert!(!text(&metrics).contains("state=\"waits\""));
    task.source_unavailable(true);
    assert_shows(&metrics, "leasehold_module_source_unavailable{task=\"nightly\"} 1");
    task.source_unavailable(false);
    assert_shows(&metrics, "leasehold_module_source_unavailable{task=\"nightly\"} 0");
    task.swap_result("worked");
    assert_shows(&metrics, "leasehold_module_swap_results_total{task=\"nightly\",result=\"worked\"} 1");
}

#[test]
fn two_leases_of_one_name_are_shown_as_held_while_either_is() {
    let metrics = Metrics::default();
    let (a, b) = (metrics.of_task("a", "nightly"), metrics.of_task("b", "nightly"));
    let held = |held: u8| assert_shows(&metrics, &format!("leader_election_master_status{{name=\"nightly\"}} {held}"));
    held(0);
    a.leading(7, Began::Free);
    b.leading(8, Began::Free);
    held(1);
    a.term_ended("expired");
    held(1);
    // A task that starts later holds nothing yet.
    let c = metrics.of_task("c", "nightly");
    held(1);
    b.term_ended("taken");
    held(0);
    c.leading(9, Began::Free);
    held(1);
    for task in [&a, &c] {
        task.slow_path();
    }
    assert_shows(&metrics, "leader_election_slowpath_total{name=\"nightly\"} 2");
}

/// The series of counters and histograms.
fn counted(metrics: &Metrics) -> BTreeSet<String> {
    let text = text(metrics);
    let of_type =
        |line: &str| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?).map(|(n, t)| (n.to_owned(), t.to_owned()));
    let types: BTreeMap<_, _> = text.lines().filter_map(of_type).collect();
    let is_counted = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        let family = ["_total", "_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        family.and_then(|family| types.get(family)).is_some_and(|of| of == "counter" || of == "histogram")
    };
    let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    series.map(|(series, _)| series.to_owned()).filter(|series| is_counted(series)).collect()
}

#[test]
fn whatever_is_counted_begins_at_0() {
    let metrics = Metrics::default();
    let task = metrics.of_task("nightly", "night");
    drop(metrics.cache_counts());
    let before = counted(&metrics);
    let (http, guests) = (task.http_counts(), task.guest_counts());
    for counts in [http.http, http.kubernetes, guests.tcp] {
        counts.ok.inc();
        counts.refused.inc();
        counts.failed.inc();
    }
    guests.dropped_lines.inc();
    for result in ["ok", "refused", "failed"] {
        task.checkpoint_save(result);
    }
    let ends = Released::ALL.map(Released::name).into_iter().chain(["expired", "taken", "cleared", "deleted"]);
    for (began, how) in Began::ALL.into_iter().cycle().zip(ends) {
        task.leading(7, began);
        task.term_ended(how);
    }
    for kind in [RequestKind::Read, RequestKind::Acquire, RequestKind::Renew, RequestKind::Release] {
        for result in [RequestResult::Ok, RequestResult::Conflict, RequestResult::Failed] {
            task.request_ended(kind, Duration::ZERO, result);
        }
    }
    let outcomes = ["returned", "error", "trap", "out-of-memory", "stopped", "unresponsive", "not-started"];
    for outcome in outcomes {
        task.guest_started();
        task.guest_ended(outcome, Some(Duration::ZERO));
    }
    for result in ["worked", "rolled-back", "refused", "waited"] {
        task.swap_result(result);
    }
    for export in ["on-stop-leading", "on-new-leader"] {
        task.callback_failed(export);
    }
    task.slow_path();
    task.module_swapped();
    task.module_rejected();
    task.leader_label_failed();
    task.event_dropped();
    metrics.span_counts().dropped.inc();
    metrics.cache_counts().hits.inc();
    assert_eq!(before, counted(&metrics), "left: what is shown from the start; right: when all has happened");
    assert!(before.len() > 60, "{before:#?}");
}

#[test]
fn a_term_is_shown_while_it_lasts_and_counted_by_how_it_began_and_ended() {
    let metrics = Metrics::default();
    let task = metrics.of_task("nightly", "night");
    task.leading(7, Began::Expired);
    task.certain_until(clock::boot() + Duration::from_secs(3600));
    assert_shows(&metrics, "leader_election_master_status{name=\"night\"} 1");
    assert_shows(&metrics, "leasehold_token{task=\"nightly\"} 7");
    assert_shows(&metrics, "leasehold_terms_begun_total{task=\"nightly\",reason=\"expired\"} 1");
    let left = value(&metrics, "leasehold_term_remaining_seconds{task=\"nightly\"}");
    assert!((3000.0..=3600.0).contains(&left), "{left}");
    task.request_ended(RequestKind::Renew, Duration::from_millis(30), RequestResult::Ok);
    task.request_ended(RequestKind::Read, Duration::from_millis(30), RequestResult::Failed);
    assert_shows(&metrics, "leasehold_lease_requests_total{task=\"nightly\",kind=\"renew\",result=\"ok\"} 1");
    assert_shows(&metrics, "leasehold_renewal_duration_seconds_bucket{le=\"0.025\",task=\"nightly\"} 0");
    assert_shows(&metrics, "leasehold_renewal_duration_seconds_bucket{le=\"0.05\",task=\"nightly\"} 1");
    task.slow_path();
    assert_shows(&metrics, "leader_election_slowpath_total{name=\"night\"} 1");
    task.term_ended("taken");
    assert_shows(&metrics, "leader_election_master_status{name=\"night\"} 0");
    assert_shows(&metrics, "leasehold_terms_ended_total{task=\"nightly\",reason=\"taken\"} 1");
    assert_shows(&metrics, "leasehold_term_remaining_seconds{task=\"nightly\"} 0.0");
    assert!(!text(&metrics).contains("leasehold_term_start_timestamp_seconds{"));
}

#[test]
fn a_run_is_shown_with_its_progress_and_counted_with_how_long_it_took_to_stop() {
    let metrics = Metrics::default();
    let task = metrics.of_task("nightly", "night");
    task.guest_started();
    task.progress(Duration::from_secs(3600));
    assert_shows(&metrics, "leasehold_guest_running{task=\"nightly\"} 1");
    let shown = value(&metrics, "leasehold_progress_timestamp_seconds{task=\"nightly\"}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((now - 3600.0 - shown).abs() < 60.0, "{shown} is not an hour before {now}");
    task.guest_ended("trap", None);
    assert_shows(&metrics, "leasehold_guest_running{task=\"nightly\"} 0");
    assert_shows(&metrics, "leasehold_guest_ends_total{task=\"nightly\",outcome=\"trap\"} 1");
    assert_shows(&metrics, "leasehold_guest_stop_duration_seconds_count{task=\"nightly\"} 0");
    assert!(!text(&metrics).contains("timestamp_seconds{"), "nothing runs");
    task.guest_ended("stopped", Some(Duration::from_secs(6)));
    assert_shows(&metrics, "leasehold_guest_stop_duration_seconds_sum{task=\"nightly\"} 6.0");
    task.checkpoint_save("ok");
    task.http_counts().kubernetes.refused.inc();
    task.guest_counts().tcp.failed.inc();
    for (kind, result) in [("checkpoint", "ok"), ("kubernetes", "refused"), ("tcp", "failed")] {
        let series = format!("leasehold_host_calls_total{{task=\"nightly\",kind=\"{kind}\",result=\"{result}\"}} 1");
        assert_shows(&metrics, &series);
    }
}

#[test]
fn this_process_is_shown_under_the_usual_names() {
    let metrics = Metrics::default();
    assert!(value(&metrics, "process_start_time_seconds") > 1.7e9);
    assert!(value(&metrics, "process_cpu_seconds_total") > 0.0);
    if cfg!(target_os = "linux") {
        assert!(value(&metrics, "process_resident_memory_bytes") > 1e6);
        assert!(value(&metrics, "process_open_fds") > 2.0);
    }
}

/// What the collector of this process tells: it has no list of its own.
const OF_PROCESS: [(&str, &str); 6] = [
    ("leasehold_log_lines_dropped", "counter"),
    ("process_cpu_seconds", "counter"),
    ("process_start_time_seconds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
];

/// Names, as samples have them, and types.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn add(&mut self, family: &str, metric_type: &str) {
        let suffix = if metric_type == "counter" { "_total" } else { "" };
        let before = self.0.insert(format!("{family}{suffix}"), metric_type.to_owned());
        assert_eq!(before, None, "{family} is there twice");
    }
}

impl List for Names {
    fn put(&mut self, name: &'static str, _: &'static str, metric: impl Metric) {
        self.add(name, metric.metric_type().as_str());
    }
}

/// Rows of the form: | `name` `{labels}` | type | what it is | what to do |
fn documented() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/on-call.md");
    let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (_, section) = page.split_once("\n## Metrics\n").expect("the page has a section about metrics");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.split(['`', '{']).next()?.to_owned();
        Some((name, cells.next()?.trim().to_owned()))
    };
    let rows: Vec<_> = section.lines().filter_map(row).collect();
    let names: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(names.len(), rows.len(), "a metric is documented twice");
    names
}

#[test]
fn the_list_for_people_has_every_metric_and_no_other() {
    let mut names = Names::default();
    Families::default().put_into(&mut names);
    for (family, metric_type) in OF_PROCESS {
        names.add(family, metric_type);
    }
    assert_eq!(documented(), names.0, "left: the section Metrics of deploy/on-call.md; right: the host");
}

#[test]
fn what_is_shown_is_in_the_list_under_the_type_that_it_has_there() {
    let metrics = Metrics::default();
    let task = metrics.of_task("nightly", "night");
    task.leading(7, Began::Free);
    task.guest_started();
    task.module(&"sha256:a".into());
    task.module_states([("runs", Some(&"sha256:a".into()))]);
    task.callback_failed("on-stop-leading");
    task.leader_label(true);
    drop((task.guest_counts(), task.http_counts(), metrics.cache_counts()));
    let (_, classic) = metrics.text(Form::Classic).expect("it can be written");
    let shown = classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let shown: BTreeMap<_, _> = shown.map(|(name, metric_type)| (name.to_owned(), metric_type.to_owned())).collect();
    let mut documented = documented();
    if !cfg!(target_os = "linux") {
        documented.retain(|name, _| !["process_resident_memory_bytes", "process_open_fds"].contains(&&**name));
    }
    assert_eq!(shown, documented);
}
