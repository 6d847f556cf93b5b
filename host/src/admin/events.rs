//! `/tasks/events` and `/tasks/NAME/events`: tasks as they change, as server-sent events.
//!
//! Nothing is queued for a reader. Each event is made when the connection has room for it, of what has changed since the
//! one before, so that a slow reader gets the newest state and misses what was in between. The control thread, which
//! serves this, never does more for one event than [`TASKS_IN_EVENT_MAX`] short tasks, and has [`PAUSE`] between two.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Path, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{HOST, RETRY_AFTER},
        uri::Authority,
    },
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{Shown, summary::Summary, tasks::Task};
use crate::{
    guest::imports::output::tail::{Line, Tail},
    report::{
        health::Note,
        tasks::{Seen, TaskState},
    },
};

/// So many streams are served at a time. A page that is looked at has two.
pub(super) const STREAMS_MAX: usize = 32;
/// What changes within this time is one event.
const PAUSE: Duration = Duration::from_millis(250);
/// After this time at the latest there is an event, so that a reader knows that the host still tells.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long a reader should wait before it connects again.
const RETRY: Duration = Duration::from_secs(1);
const TASKS_IN_EVENT_MAX: usize = 100;
/// For reverse proxies that would otherwise wait for a buffer to be full (nginx).
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// What is shown, and how many streams may still begin.
#[derive(Clone)]
pub(super) struct Live {
    shown: Shown,
    free: Arc<Semaphore>,
}

impl Live {
    pub(super) fn new(shown: Shown) -> Self {
        Self { shown, free: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// The right to one stream, while there is one.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }
}

fn refused() -> Response {
    let words = format!(
        "this host serves {STREAMS_MAX} event streams at a time, and all of them are taken: close a page, or ask /tasks now \
         and then\n"
    );
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], words).into_response()
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // There is nothing in it that JSON has no form for; if there were, the reader should know.
    let json = serde_json::to_string(data).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
    Event::default().event(name).retry(RETRY).data(json)
}

/// When the next event may be made, and when it has to be.
struct Pace {
    not_before: Instant,
    no_later: Instant,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self { not_before: now, no_later: now }
    }

    fn sent(&mut self, pause: Duration) {
        let now = Instant::now();
        (self.not_before, self.no_later) = (now + pause, now + SILENCE_MAX);
    }
}

/// `/tasks/events`
pub(super) async fn of_all(State(live): State<Live>) -> Response {
    let Some(permit) = live.permit() else { return refused() };
    let events = stream::unfold(AllTasks::new(live.shown, permit), |mut tasks| async {
        let event = tasks.next().await;
        Some((Ok::<_, Infallible>(event), tasks))
    });
    ([UNBUFFERED], Sse::new(events)).into_response()
}

/// The first event: which tasks there are.
#[derive(Serialize)]
struct HostEvent<'a> {
    time: Timestamp,
    version: &'static str,
    tasks: Vec<&'a str>,
}

/// Each event after it.
#[derive(Serialize)]
struct TasksEvent<'a> {
    time: Timestamp,
    /// Those that have changed.
    tasks: Vec<Summary<'a>>,
}

struct AllTasks {
    _permit: OwnedSemaphorePermit,
    shown: Shown,
    tasks: Vec<FollowedTask>,
    has_greeted: bool,
    /// Where the next event begins to look, so that none is passed over for ever.
    next: usize,
    /// How many have not been told of at all.
    untold: usize,
    pace: Pace,
}

struct FollowedTask {
    name: String,
    state: watch::Receiver<Arc<TaskState>>,
    /// As told.
    note: Option<Note>,
}

impl AllTasks {
    fn new(shown: Shown, permit: OwnedSemaphorePermit) -> Self {
        let follow = |seen: Seen| {
            let name = seen.state.name.clone();
            let mut state = shown.tasks.follow(&name)?;
            state.mark_changed();
            Some(FollowedTask { name, state, note: None })
        };
        let tasks: Vec<_> = shown.tasks.all().into_iter().filter_map(follow).collect();
        let untold = tasks.len();
        Self { _permit: permit, shown, tasks, has_greeted: false, next: 0, untold, pace: Pace::new() }
    }

    async fn next(&mut self) -> Event {
        if !self.has_greeted {
            self.has_greeted = true;
            let tasks = self.tasks.iter().map(|task| task.name.as_str()).collect();
            return event("host", &HostEvent { time: Timestamp::now(), version: env!("CARGO_PKG_VERSION"), tasks });
        }
        if self.untold > 0 {
            // All of them at once would keep the thread from its other work.
            tokio::task::yield_now().await;
        }
        sleep_until(self.pace.not_before).await;
        // Heard of from before it is looked, so that no change is missed.
        let mut changes = self.shown.tasks.changes();
        let mut changed = self.changed();
        if changed.is_empty() {
            // How many changes there are does not matter here, nor whether some were missed.
            let _ = timeout_at(self.pace.no_later, changes.recv()).await;
            changed = self.changed();
        }
        self.tell(&changed)
    }

    fn changed(&mut self) -> Vec<(usize, Option<Note>)> {
        let notes = self.shown.readiness.notes();
        let (before, after) = (0..self.next, self.next..self.tasks.len());
        let has_changed = |index: usize| {
            let task = &self.tasks[index];
            let note = notes.get(&task.name);
            // It does not end before the host does.
            let changed = task.state.has_changed().unwrap_or(true) || task.note.as_ref() != note;
            changed.then(|| (index, note.cloned()))
        };
        after.chain(before).filter_map(has_changed).take(TASKS_IN_EVENT_MAX).collect()
    }

    fn tell(&mut self, changed: &[(usize, Option<Note>)]) -> Event {
        let states: Vec<_> =
            changed.iter().map(|(index, _)| self.tasks[*index].state.borrow_and_update().clone()).collect();
        let notes = changed.iter().map(|(_, note)| note.as_ref());
        let tasks = states.iter().zip(notes).map(|(state, note)| Summary::of(state, note)).collect();
        let event = event("tasks", &TasksEvent { time: Timestamp::now(), tasks });
        for (index, note) in changed {
            self.tasks[*index].note.clone_from(note);
            self.next = index + 1;
        }
        self.untold = self.untold.saturating_sub(changed.len());
        self.pace.sent(if self.untold > 0 { Duration::ZERO } else { PAUSE });
        event
    }
}

/// Who reads a log has been given that right; who reaches this address has not. What a component prints is therefore told
/// on this machine alone, which is where `kubectl port-forward` comes from, and which a browser on it can be made to ask by
/// the page of somebody else.
fn may_read_output(peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback() && is_asked_directly(uri, headers)
}

/// Whether it is asked for by its address or as `localhost`. Whoever owns another name can have it resolve to this machine
/// when his page is open in a browser, which then takes what is here for his (DNS rebinding); but it says by which name it
/// asks.
fn is_asked_directly(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host: &HeaderValue| host.to_str().ok()?.parse::<Authority>().ok());
    let is_direct = |authority: &Authority| {
        let host = authority.host();
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<Ipv4Addr>().is_ok()
            || ipv6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
    };
    hosts.next().is_none() && host.is_some_and(|host| is_direct(&host)) && uri.authority().is_none_or(is_direct)
}

/// `/tasks/NAME/events`
pub(super) async fn of_one(
    State(live): State<Live>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Some(followed) = Followed::new(&live.shown, &name) else {
        return (StatusCode::NOT_FOUND, format!("this host has no task {name:?}: /tasks has them all\n"))
            .into_response();
    };
    let Some(permit) = live.permit() else { return refused() };
    let reads_output = may_read_output(peer.ip(), &uri, &headers);
    let events = stream::unfold(OneTask::new(live.shown, followed, permit, reads_output), |mut task| async {
        let event = task.next().await;
        Some((Ok::<_, Infallible>(event), task))
    });
    ([UNBUFFERED], Sse::new(events)).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskEvent<'a> {
    time: Timestamp,
    /// As in `/tasks`.
    task: Task<'a>,
    /// What it has printed since the event before; null for those who may not read that.
    output: Option<Vec<Line>>,
}

/// A task, and all that is known of it.
struct Followed {
    seen: Seen,
    state: watch::Receiver<Arc<TaskState>>,
    output: Tail,
}

impl Followed {
    fn new(shown: &Shown, name: &str) -> Option<Self> {
        let seen = shown.tasks.one(name)?;
        let (state, output) = (shown.tasks.follow(name)?, shown.outputs.of_task(name)?);
        Some(Self { seen, state, output })
    }
}

struct OneTask {
    _permit: OwnedSemaphorePermit,
    shown: Shown,
    task: Followed,
    lines: watch::Receiver<u64>,
    /// The number of the first line that is not told.
    next_line: u64,
    reads_output: bool,
    pace: Pace,
}

impl OneTask {
    fn new(shown: Shown, task: Followed, permit: OwnedSemaphorePermit, reads_output: bool) -> Self {
        let lines = task.output.count();
        Self { _permit: permit, shown, task, lines, next_line: 0, reads_output, pace: Pace::new() }
    }

    async fn next(&mut self) -> Event {
        sleep_until(self.pace.not_before).await;
        let news = async {
            tokio::select! {
                // Neither ends before the host does.
                _ = self.task.state.changed() => {}
                _ = self.lines.changed(), if self.reads_output => {}
            }
        };
        // The time passed: then how long the term is certain is news.
        let _ = timeout_at(self.pace.no_later, news).await;
        self.lines.mark_unchanged();
        self.task.seen.state = self.task.state.borrow_and_update().clone();
        let output = self.reads_output.then(|| self.task.output.from(self.next_line));
        let last = output.as_ref().and_then(|lines| lines.last());
        self.next_line = last.map_or(self.next_line, |line| line.number + 1);
        self.pace.sent(PAUSE);
        let notes = self.shown.readiness.notes();
        let seen = &self.task.seen;
        let task = Task::of(seen, notes.get(&seen.state.name));
        event("task", &TaskEvent { time: Timestamp::now(), task, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_told_on_this_machine_alone() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        let may = |peer: &str| may_read_output(peer.parse().expect("an address"), &Uri::default(), &headers);
        assert!(["127.0.0.1", "::1", "::ffff:127.0.0.1"].into_iter().all(may));
        assert!(!["10.0.0.7", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.7"].into_iter().any(may));
    }

    #[test]
    fn output_is_told_to_no_page_that_is_here_by_a_name_of_somebody_elses() {
        let may = |uri: &'static str, hosts: &[&'static str]| {
            let headers = hosts.iter().map(|host| (HOST, HeaderValue::from_static(host))).collect();
            may_read_output(Ipv4Addr::LOCALHOST.into(), &Uri::from_static(uri), &headers)
        };
        for direct in
            ["localhost", "LocalHost:8080", "127.0.0.1:8080", "10.0.0.7", "[::1]", "[::1]:8080", "[fe80::1]:80"]
        {
            assert!(may("/", &[direct]), "{direct}");
        }
        for name in
            ["rebinds.example", "rebinds.example:8080", "localhost.example", "127.0.0.1.example", "1.2.3", "::1", ""]
        {
            assert!(!may("/", &[name]), "{name}");
        }
        assert!(!may("/", &[]));
        assert!(!may("/", &["localhost", "rebinds.example"]));
        assert!(may("http://127.0.0.1:8080/", &["127.0.0.1:8080"]));
        assert!(!may("http://rebinds.example/", &["localhost"]));
    }
}
