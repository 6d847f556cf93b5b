//! The leader endpoint: tells the applications in the same Pod who leads, over HTTP.
//!
//! `/`, `/isLeader` and `/sse` are what the elector sidecars before this one had, field by field: Kubernetes' own
//! (`kubernetes-retired/contrib`, `election/example/main.go`) and NAIS's (`nais/elector`, `pkg/election/official`).
//! `/leader` and `/events` tell all there is. deploy/leader-endpoint.md is the reference.
//!
//! It reads what the control thread tells of its tasks ([`Tasks`]), and the clock itself: when a term's bound has passed, nobody need
//! say so (as with a guest's gate). It runs on a thread of its own, so that no client, however slow, and no number of them
//! delays a renewal; and connections, and those who wait for news, are bounded.

mod answer;
mod query;
mod watched;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::{RawQuery, State},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::stream;
use serde::Serialize;
use tokio::{net::TcpListener, runtime::Runtime, sync::Semaphore};

use self::{
    answer::Answer,
    query::{Query, Wait},
    watched::Watched,
};
use crate::{
    config::LeaderAddress,
    http_server::{Server, listen},
    report::tasks::Tasks,
};

/// So many connections at a time; a further one takes the place of one that is idle.
const CONNECTIONS_MAX: usize = 128;
/// So many event streams and long polls at a time; further ones are refused, and everybody else is still answered.
const WAITING_MAX: usize = 64;
/// How often a stream without news says that it is there. By it a client that is gone is noticed, too.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Serves until it is ended.
#[derive(Debug)]
pub struct LeaderEndpoint(Runtime);

impl LeaderEndpoint {
    /// Listens at `at`, and serves what is told of these tasks.
    ///
    /// # Errors
    /// It cannot be listened there, or the system has no thread left.
    pub fn start(at: LeaderAddress, tasks: &Arc<Tasks>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("leader-endpoint")
            .enable_all()
            .build()
            .context("cannot start the leader endpoint's thread")?;
        let listening = runtime.block_on(async {
            match at {
                LeaderAddress::Loopback(port) => listen::on_loopback(port).await,
                LeaderAddress::One(address) => TcpListener::bind(address).await.map(|listener| vec![listener]),
            }
        });
        let listeners = listening.with_context(|| {
            format!("cannot listen at the leader endpoint's address {at}: give another with --leader-address")
        })?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
        tracing::info!(
            event = "leader-endpoint", address = %addresses[0],
            "applications are told who leads at {}", urls.join(" and ")
        );
        let watched: BTreeMap<_, _> =
            tasks.names().filter_map(|name| Some((name.to_owned(), Arc::new(Watched::new(tasks, name)?)))).collect();
        for task in watched.values() {
            runtime.spawn(Watched::keep(task.clone()));
        }
        let shared = Shared { tasks: Arc::new(watched), waiting: Arc::new(Semaphore::new(WAITING_MAX)) };
        let routes = Router::new()
            .route("/", get(name))
            .route("/isLeader", get(is_leader))
            .route("/leader", get(leader))
            .route("/events", get(events))
            .route("/sse", get(names))
            .fallback(async || Refused(StatusCode::NOT_FOUND, format!("there is no such path: {PATHS}")))
            .method_not_allowed_fallback(async || {
                Refused(StatusCode::METHOD_NOT_ALLOWED, format!("only GET is answered: {PATHS}"))
            })
            .with_state(shared);
        let server = Server::new("leader-endpoint", routes, CONNECTIONS_MAX);
        for listener in listeners {
            runtime.spawn(server.clone().serve(listener));
        }
        Ok(Self(runtime))
    }

    /// Ends it; streams end where they are.
    pub fn end(self) {
        self.0.shutdown_background();
    }
}

const PATHS: &str = "ask for /, /isLeader, /leader, /events or /sse";

#[derive(Clone)]
struct Shared {
    tasks: Arc<BTreeMap<String, Arc<Watched>>>,
    waiting: Arc<Semaphore>,
}

/// What is wrong with a request.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl Shared {
    /// The task that is asked for, which need not be named where there is but one.
    fn task(&self, query: &Query) -> Result<Arc<Watched>, Refused> {
        let names = || self.tasks.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match (&query.task, &mut self.tasks.values()) {
            (Some(name), _) => self.tasks.get(name).cloned().ok_or_else(|| {
                Refused(StatusCode::NOT_FOUND, format!("there is no task {name:?} here; the tasks are: {}", names()))
            }),
            (None, tasks) => match (tasks.next(), tasks.next()) {
                (Some(only), None) => Ok(only.clone()),
                _ => Err(Refused(
                    StatusCode::BAD_REQUEST,
                    format!("this host has several tasks: add ?task=NAME, one of: {}", names()),
                )),
            },
        }
    }

    fn asked(&self, query: RawQuery, known: &[&str]) -> Result<(Arc<Watched>, Query), Refused> {
        let query = Query::parse(query.0.as_deref().unwrap_or_default(), known)
            .map_err(|why| Refused(StatusCode::BAD_REQUEST, why))?;
        Ok((self.task(&query)?, query))
    }

    /// One answer now, and another whenever it changes.
    fn stream(&self, task: Arc<Watched>, event: fn(&Answer) -> Event) -> Result<Response, Refused> {
        let place = self.place()?;
        // The place is given back with the stream. Nothing is kept for a client that is slow: it gets what there is then.
        let events = stream::unfold((task, None, place), move |(task, last, place)| async move {
            let answer = match last {
                None => task.answer(),
                Some(last) => task.after(last).await,
            };
            let last = Some(answer.version);
            Some((Ok::<_, Infallible>(event(&answer)), (task, last, place)))
        });
        let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        Ok(([(CACHE_CONTROL, "no-store")], stream).into_response())
    }

    /// A place among those who wait.
    fn place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Refused> {
        self.waiting.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{WAITING_MAX} event streams and long polls are open, and there are no more: close some");
            Refused(StatusCode::SERVICE_UNAVAILABLE, why)
        })
    }
}

/// `/`: `{"name": "pod-1", "last_update": "..."}`, and nothing else: parsers may be strict. Always 200, with an empty
/// name where it is not known who leads: who asks compares it with its own, and it is nobody's. (Kubernetes' own sidecar said the
/// same until there was a leader; what a client does about another status is anybody's guess.)
async fn name(State(shared): State<Shared>, query: RawQuery) -> Result<Response, Refused> {
    let (task, _) = shared.asked(query, &[])?;
    Ok(json(&task.answer().name()))
}

/// `/isLeader`, as Kubernetes' own sidecar had it.
async fn is_leader(State(shared): State<Shared>, query: RawQuery) -> Result<Response, Refused> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct IsLeader {
        is_leader: bool,
    }
    let (task, _) = shared.asked(query, &[])?;
    Ok(json(&IsLeader { is_leader: task.answer().is_leader() }))
}

/// `/leader`: all there is, at once or, with `wait`, when it is another than `version`.
async fn leader(State(shared): State<Shared>, query: RawQuery) -> Result<Response, Refused> {
    let (task, query) = shared.asked(query, &["wait", "version"])?;
    let Some(Wait { longest, seen }) = query.wait else { return Ok(json(&task.answer().whole())) };
    let _place = shared.place()?;
    let seen = seen.unwrap_or_else(|| task.answer().version);
    let answer = match tokio::time::timeout(longest, task.after(seen)).await {
        Ok(answer) => answer,
        Err(_) => task.answer(),
    };
    Ok(json(&answer.whole()))
}

/// `/events`: the same as events.
async fn events(State(shared): State<Shared>, query: RawQuery) -> Result<Response, Refused> {
    let (task, _) = shared.asked(query, &[])?;
    shared.stream(task, |answer| Event::default().id(answer.version.to_string()).data(text(&answer.whole())))
}

/// `/sse`: what `/` answers, as events, as NAIS's sidecar had it.
async fn names(State(shared): State<Shared>, query: RawQuery) -> Result<Response, Refused> {
    let (task, _) = shared.asked(query, &[])?;
    shared.stream(task, |answer| Event::default().data(text(&answer.name())))
}

fn json(value: &impl Serialize) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text(value) + "\n").into_response()
}

fn text(value: &impl Serialize) -> String {
    // Texts, numbers and times, which JSON has all of.
    serde_json::to_string(value).expect("an answer is JSON")
}
