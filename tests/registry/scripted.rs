//! A registry in memory that does what a test says: hangs, fails, redirects, wants tokens. It serves reading alone.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use leasehold_tests::host_process::PATIENCE;
use tokio::net::TcpListener;

use super::artifact::{Artifact, MANIFEST_TYPE};

/// Of `user:password`.
pub(super) const BASIC: &str = "Basic dXNlcjpwYXNzd29yZA==";
pub(super) const TOKEN: &str = "a-token-of-this-registry";

/// What it does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Never answers.
    Hangs,
    /// Answers a blob's first bytes, and no more.
    HangsInBlob,
    /// Answers a blob that never ends.
    EndlessBlob,
    /// Answers a manifest that never ends.
    EndlessManifest,
    /// A blob's last byte is another.
    WrongBytes,
    Fails(StatusCode),
    /// So many seconds.
    AskedTooOften(u64),
    /// Lets in who shows [`BASIC`], and sends on to there for blobs.
    RedirectsBlobs(String),
    /// Lets in who shows [`BASIC`].
    WantsPassword,
    /// Lets in who shows the token that it gives to who shows [`BASIC`].
    WantsToken,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
}

/// See the module's documentation. It ends when it is dropped.
pub(super) struct Scripted {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    address: SocketAddr,
    mood: Mood,
    /// By tag, and by digest.
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    seen: Vec<Seen>,
}

impl Scripted {
    pub(super) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = tcp.local_addr().expect("it listens");
        let (manifests, blobs, seen) = Default::default();
        let shared = Arc::new(Mutex::new(Shared { address, mood: Mood::Well, manifests, blobs, seen }));
        let app = Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async { axum::serve(tcp, app).await });
        Self { address, shared, _runtime: runtime }
    }

    /// `oci:` and the name of this tag, of the one repository.
    pub(super) fn module(&self, tag: &str) -> String {
        format!("oci:{}/tasks/nightly:{tag}", self.address)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, tag: &str, artifact: &Artifact) {
        let mut shared = self.shared();
        shared.manifests.insert(artifact.digest(), artifact.manifest.clone());
        shared.manifests.insert(tag.to_owned(), artifact.manifest.clone());
        shared.blobs.extend(artifact.blobs.iter().cloned());
    }

    pub(super) fn set(&self, mood: Mood) {
        self.shared().mood = mood;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared().seen.clone()
    }

    /// Waits until `found` finds something in what it was asked.
    pub(super) fn wait_for<T>(&self, what: &str, found: impl Fn(&[Seen]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let seen = self.seen();
            if let Some(found) = found(&seen) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not come; it was asked {seen:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = request.uri().path().to_owned();
    let (mood, address, manifest, blob) = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.seen.push(Seen {
            at: Instant::now(),
            method: request.method().to_string(),
            path: path.clone(),
            authorization: authorization.clone(),
        });
        let name = path.rsplit('/').next().unwrap_or_default();
        let manifest = shared.manifests.get(name).filter(|_| path.contains("/manifests/")).cloned();
        let blob = shared.blobs.get(name).filter(|_| path.contains("/blobs/")).cloned();
        (shared.mood.clone(), shared.address, manifest, blob)
    };
    match &mood {
        Mood::Hangs => return std::future::pending().await,
        Mood::Fails(status) => return (*status, "it is not well").into_response(),
        Mood::AskedTooOften(seconds) => {
            let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], words)
                .into_response();
        }
        Mood::WantsPassword | Mood::RedirectsBlobs(_) if authorization.as_deref() != Some(BASIC) => {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"registry\"")])
                .into_response();
        }
        Mood::WantsToken if path == "/token" => {
            let right = authorization.as_deref() == Some(BASIC);
            let asks_for_scope = request.uri().query().is_some_and(|query| query.contains("scope=repository%3Atasks"));
            return match right && asks_for_scope {
                true => format!(r#"{{"access_token": "{TOKEN}", "expires_in": 300}}"#).into_response(),
                false => StatusCode::UNAUTHORIZED.into_response(),
            };
        }
        Mood::WantsToken if authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) => {
            let challenge = format!(
                "Bearer realm=\"http://{address}/token\",service=\"test\",scope=\"repository:tasks/nightly:pull\""
            );
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
        }
        _ => {}
    }
    if let Some(manifest) = manifest {
        if mood == Mood::EndlessManifest && request.method() == "GET" {
            return endless();
        }
        let digest = leasehold::guest::module::digest(&manifest).to_string();
        let headers = [("content-type", MANIFEST_TYPE.to_owned()), ("docker-content-digest", digest)];
        return (headers, manifest).into_response();
    }
    let Some(mut blob) = blob else { return StatusCode::NOT_FOUND.into_response() };
    match mood {
        Mood::RedirectsBlobs(to) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to + &path)]).into_response(),
        Mood::HangsInBlob => {
            let half = Bytes::from(blob.split_off(blob.len() / 2));
            let pieces = stream::iter([Ok::<_, std::convert::Infallible>(half)]).chain(stream::pending());
            Body::from_stream(pieces).into_response()
        }
        Mood::EndlessBlob => endless(),
        Mood::WrongBytes => {
            if let Some(last) = blob.last_mut() {
                *last ^= 1;
            }
            blob.into_response()
        }
        _ => blob.into_response(),
    }
}

fn endless() -> Response {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    Body::from_stream(stream::repeat(piece).map(Ok::<_, std::convert::Infallible>)).into_response()
}
