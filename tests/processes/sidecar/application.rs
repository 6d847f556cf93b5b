//! Applications as deploy/sidecar.md asks for them, on loopback, and what each was asked, all in one order.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use leasehold_tests::host_process::PATIENCE;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// So many calls of `/activate` are answered 503.
    RefusesActivation {
        times: usize,
    },
    /// So many calls of `/health` are.
    Unhealthy {
        times: usize,
    },
    /// It reads what it is sent only when it is no longer frozen.
    Frozen,
    /// 410.
    Ending,
    /// It does as one that knows nothing of clocks.
    WithoutClock,
    /// The same, and it says 503 to whoever wants it to be off.
    StaysOn,
}

/// What it made of a call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) application: &'static str,
    /// `active`, `on` (without a clock), `refused` (409), `not now`, `ending`, `off`, `stays on` (503), `healthy`, `unhealthy`.
    pub(crate) what: &'static str,
    pub(crate) at: Instant,
    pub(crate) token: u64,
    pub(crate) identity: Option<String>,
    pub(crate) lease: Option<String>,
    /// For a call that was taken: until when, by what it said.
    pub(crate) permitted_until: Option<Instant>,
}

/// They end when this is dropped.
pub(crate) struct Applications {
    addresses: BTreeMap<&'static str, SocketAddr>,
    shared: Arc<Mutex<Shared>>,
    // Its tasks end with it.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    calls: Vec<Call>,
    one: BTreeMap<&'static str, One>,
}

struct One {
    mood: Mood,
    /// Which process it is.
    boot: u32,
    begun: Instant,
    token: u64,
    until: Instant,
    withdrawn: Instant,
    /// Of one without a clock: whether it is on.
    on: bool,
}

impl One {
    fn new(boot: u32) -> Self {
        let now = Instant::now();
        Self { mood: Mood::Well, boot, begun: now, token: 0, until: now, withdrawn: now, on: false }
    }

    fn clock(&self) -> String {
        format!("{}:{}", self.boot, self.begun.elapsed().as_nanos())
    }

    fn read(&self, clock: &str) -> Option<Instant> {
        let (boot, nanos) = clock.split_once(':')?;
        let at = self.begun + Duration::from_nanos(nanos.parse().ok()?);
        (boot == self.boot.to_string()).then_some(at)
    }
}

#[derive(Clone)]
struct Known {
    name: &'static str,
    shared: Arc<Mutex<Shared>>,
}

impl Applications {
    pub(crate) fn start(names: &[&'static str]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut addresses = BTreeMap::new();
        for &name in names {
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
            addresses.insert(name, listener.local_addr().expect("it listens"));
            lock(&shared).one.insert(name, One::new(0));
            let app = Router::new()
                .route("/activate", post(activate))
                .route("/deactivate", post(deactivate))
                .route("/health", get(health))
                .with_state(Known { name, shared: shared.clone() });
            runtime.spawn(async { axum::serve(listener, app).await });
        }
        Self { addresses, shared, _runtime: runtime }
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    pub(crate) fn set(&self, name: &str, mood: Mood) {
        lock(&self.shared).one.get_mut(name).expect("it is one of these").mood = mood;
    }

    /// It is another process now, with a clock of its own.
    pub(crate) fn restart(&self, name: &str) {
        let mut shared = lock(&self.shared);
        let one = shared.one.get_mut(name).expect("it is one of these");
        *one = One::new(one.boot + 1);
    }

    pub(crate) fn is_permitted(&self, name: &str) -> bool {
        Instant::now() < lock(&self.shared).one[name].until
    }

    /// One without a clock.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        lock(&self.shared).one[name].on
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.shared).calls.clone()
    }

    /// Waits until `found` finds something in what they were asked.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`].
    pub(crate) fn wait_for<T>(&self, what: &str, found: impl Fn(&[Call]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&lock(&self.shared).calls) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not come; there is {:#?}", self.calls());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    text(headers, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Known {
    /// Holds who asks while it is frozen. Then says what it does, once, with the lock held.
    async fn does(
        &self,
        headers: &HeaderMap,
        does: impl FnOnce(&mut One) -> (&'static str, Option<Instant>, Response),
    ) -> Response {
        while lock(&self.shared).one[self.name].mood == Mood::Frozen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut shared = lock(&self.shared);
        let (what, permitted_until, answer) = does(shared.one.get_mut(self.name).expect("it is one of these"));
        shared.calls.push(Call {
            application: self.name,
            what,
            at: Instant::now(),
            token: number(headers, "leasehold-token"),
            identity: text(headers, "leasehold-identity"),
            lease: text(headers, "leasehold-lease"),
            permitted_until,
        });
        answer
    }
}

async fn activate(State(known): State<Known>, headers: HeaderMap) -> Response {
    // A frozen one still reads it: hyper would drop the handler when the caller hangs up, a process would not.
    let task = tokio::spawn(async move { known.does(&headers, |one| permit(one, &headers)).await });
    task.await.expect("it does not panic")
}

fn permit(one: &mut One, headers: &HeaderMap) -> (&'static str, Option<Instant>, Response) {
    match &mut one.mood {
        Mood::RefusesActivation { times } if *times > 0 => {
            *times -= 1;
            return ("not now", None, (StatusCode::SERVICE_UNAVAILABLE, "not now").into_response());
        }
        Mood::Ending => return ("ending", None, StatusCode::GONE.into_response()),
        Mood::WithoutClock | Mood::StaysOn => {
            one.on = true;
            return ("on", None, StatusCode::OK.into_response());
        }
        _ => {}
    }
    let clock = [("leasehold-clock", one.clock())];
    let since = text(headers, "leasehold-clock").and_then(|clock| one.read(&clock));
    let token = number(headers, "leasehold-token");
    match since {
        Some(since) if since > one.withdrawn && token >= one.token => {
            let until = since + Duration::from_millis(number(headers, "leasehold-valid-for-ms"));
            one.token = token;
            one.until = one.until.max(until);
            ("active", Some(until), clock.into_response())
        }
        _ => ("refused", None, (StatusCode::CONFLICT, clock).into_response()),
    }
}

async fn deactivate(State(known): State<Known>, headers: HeaderMap) -> Response {
    let task = tokio::spawn(async move {
        let withdraw = |one: &mut One| {
            if one.mood == Mood::StaysOn {
                return ("stays on", None, StatusCode::SERVICE_UNAVAILABLE.into_response());
            }
            one.on = false;
            if number(&headers, "leasehold-token") < one.token {
                return ("refused", None, StatusCode::CONFLICT.into_response());
            }
            one.until = Instant::now();
            one.withdrawn = one.until;
            ("off", None, StatusCode::OK.into_response())
        };
        known.does(&headers, withdraw).await
    });
    task.await.expect("it does not panic")
}

async fn health(State(known): State<Known>, headers: HeaderMap) -> Response {
    let say = |one: &mut One| match &mut one.mood {
        Mood::Unhealthy { times } if *times > 0 => {
            *times -= 1;
            ("unhealthy", None, (StatusCode::SERVICE_UNAVAILABLE, "unwell").into_response())
        }
        _ => ("healthy", None, StatusCode::OK.into_response()),
    };
    known.does(&headers, say).await
}
