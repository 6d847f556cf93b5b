//! The HTTP services that the examples work with, on loopback.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post, put},
};
use leasehold_tests::host_process::PATIENCE;
use serde_json::{Value, json};

/// Ends when it is dropped.
pub(crate) struct Service {
    address: SocketAddr,
    state: Shared,
    // Its tasks end with it.
    _runtime: tokio::runtime::Runtime,
}

type Shared = Arc<Mutex<Told>>;

/// What it was told, and is to tell.
#[derive(Default)]
pub(crate) struct Told {
    /// What `/events` answers, each after those before it: with ids from 1.
    pub(crate) events: Vec<Value>,
    /// Each event of `/hook`, with the token it came with.
    pub(crate) deliveries: Vec<Delivery>,
    /// So many of the next calls of `/hook` are answered 503.
    pub(crate) failures: usize,
    /// Reports by their number; the last one of each stands.
    pub(crate) reports: BTreeMap<u64, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) token: u64,
    pub(crate) taken: bool,
}

impl Service {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("it listens");
        let state = Shared::default();
        let app = Router::new()
            .route("/events", get(events))
            .route("/hook", post(hook))
            .route("/reports/{number}", put(report))
            .with_state(state.clone());
        runtime.spawn(async { axum::serve(listener, app).await });
        Self { address, state, _runtime: runtime }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.state)
    }

    /// Waits until `found` finds something in what it was told.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`].
    pub(crate) fn wait_for<T>(&self, what: &str, found: impl Fn(&Told) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&self.told()) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not come; there is {:?}", self.told().deliveries);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Told> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Both shapes: an array for who asks for no page, and pages with a cursor for who does.
async fn events(State(state): State<Shared>, RawQuery(query): RawQuery) -> String {
    let told = lock(&state);
    let query = query.unwrap_or_default();
    let number = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse::<usize>().ok());
    let after = number("after=").unwrap_or_default();
    let rest = &told.events[after.min(told.events.len())..];
    let answer = match number("limit=") {
        None => json!(rest),
        Some(limit) => {
            let page = &rest[..limit.min(rest.len())];
            json!({"events": page, "cursor": (after + page.len()).to_string()})
        }
    };
    answer.to_string()
}

async fn hook(State(state): State<Shared>, headers: HeaderMap, event: Bytes) -> StatusCode {
    let Ok(event) = serde_json::from_slice::<Value>(&event) else { return StatusCode::BAD_REQUEST };
    let mut told = lock(&state);
    let taken = told.failures == 0;
    told.failures = told.failures.saturating_sub(1);
    told.deliveries.push(Delivery {
        id: event["id"].as_u64().unwrap_or_default(),
        key: headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned(),
        token: number(&headers, "x-leasehold-token"),
        taken,
    });
    if taken { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn report(State(state): State<Shared>, Path(number): Path<u64>, body: Bytes) -> StatusCode {
    let Ok(body) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    lock(&state).reports.insert(number, body);
    StatusCode::NO_CONTENT
}
