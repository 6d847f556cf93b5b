//! Where the records go, and all that happens, in one order: that of one lock, which everything is written under.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use leasehold_tests::register::{Register, Write};

/// How long a record takes where it goes.
const WORK: Duration = Duration::from_millis(2);
/// And while that is slow: less is consumed than is produced, so that batches are full.
const SLOW_WORK: Duration = Duration::from_millis(25);

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An application begins with a record: it was sent, and was taken, or refused for its token.
    Begun(Sent),
    /// It was answered.
    Done(Sent),
    /// An application has told that it has committed: the next to be consumed of a partition.
    Committed { process: String, partition: u32, next: u64 },
    /// The producer has been told by the broker that a number is there.
    Acked { number: u64, partition: u32, offset: u64 },
    /// From here on the next fault.
    Fault { name: String, process: String },
    /// Somebody else is active, and what was done has been seen to.
    Over,
    /// By SIGSTOP.
    Stopped { process: String },
    /// SIGCONT will be sent.
    GoesOn { process: String },
    /// What its network has held back comes now.
    Reconnected { process: String },
    /// By SIGKILL, and waited for.
    Killed { process: String },
    /// An application has told of a permission that it has taken. The times are its own, of its monotonic clock.
    Granted { process: String, token: u64, at: Duration, until: Duration },
    /// Its permission has ended, and of what it had taken from the broker there is a rest.
    Left { process: String },
    /// It has told that it has none any more.
    Withdrawn { process: String, at: Duration },
}

/// A record, as an application has sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `a-1`: the replica, and which of its processes.
    pub(crate) process: String,
    pub(crate) token: u64,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) number: u64,
    pub(crate) taken: bool,
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct History(Arc<Shared>);

struct Shared {
    begun: Instant,
    /// The same moment, as a JVM's `System.nanoTime` has it.
    begun_nanos: i64,
    work_millis: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    register: Register,
    entries: Vec<Entry>,
}

impl History {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(Shared {
            begun: Instant::now(),
            begun_nanos: monotonic_nanos(),
            work_millis: AtomicU64::new(millis(WORK)),
            told: Mutex::default(),
        }))
    }

    /// Whether records are to take long where they go.
    pub(crate) fn is_slow(&self, slow: bool) {
        self.0.work_millis.store(millis(if slow { SLOW_WORK } else { WORK }), Ordering::Relaxed);
    }

    /// What a JVM on this machine has as `System.nanoTime`, counted from the beginning.
    pub(crate) fn of_nano_time(&self, nanos: i64) -> Duration {
        Duration::from_nanos(u64::try_from(nanos - self.0.begun_nanos).expect("all of them were started later"))
    }

    /// Now, by the same count.
    pub(crate) fn now(&self) -> Duration {
        self.of_nano_time(monotonic_nanos())
    }

    pub(crate) fn note(&self, what: What) {
        self.write(&mut self.told(), what);
    }

    fn write(&self, told: &mut Told, what: What) {
        told.entries.push(Entry { at: self.0.begun.elapsed(), what });
    }

    /// Calls `look` with all there is.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        look(&self.told().entries)
    }

    /// How long ago something was that happened then.
    pub(crate) fn ago(&self, at: Duration) -> Duration {
        self.0.begun.elapsed().saturating_sub(at)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves `POST /PROCESS` on loopback, on the runtime that this is called in.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it listens");
        let app = Router::new().route("/{process}", post(send)).with_state(self.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        address
    }
}

async fn send(
    State(history): State<History>,
    Path(process): Path<String>,
    headers: HeaderMap,
    number: String,
) -> (StatusCode, String) {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (Some(token), Some(partition), Some(offset), Ok(number)) =
        (of("leasehold-token"), of("kafka-partition"), of("kafka-offset"), number.parse())
    else {
        return (StatusCode::BAD_REQUEST, format!("{headers:?} {number}"));
    };
    let partition = u32::try_from(partition).expect("there are three");
    let (sent, refused) = {
        let mut told = history.told();
        let refused = told.register.write(Write { token, seq: offset }).err();
        let sent = Sent { process, token, partition, offset, number, taken: refused.is_none() };
        history.write(&mut told, What::Begun(sent.clone()));
        (sent, refused)
    };
    if let Some(refused) = refused {
        return (StatusCode::PRECONDITION_FAILED, format!("token {token} after {}", refused.highest));
    }
    let work = Duration::from_millis(history.0.work_millis.load(Ordering::Relaxed));
    // In a task of its own: hyper drops a handler when the caller hangs up, and a record that was begun is done.
    let done = tokio::spawn(async move {
        tokio::time::sleep(work).await;
        history.note(What::Done(sent));
    });
    done.await.expect("it does not panic");
    (StatusCode::OK, String::new())
}

/// On Linux both a JVM's `System.nanoTime` and this are `CLOCK_MONOTONIC`, which is one clock for all of a machine.
fn monotonic_nanos() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("not centuries")
}
