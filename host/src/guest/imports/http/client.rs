//! The HTTP client of one run: its connections and their tasks live no longer than it.

use std::{
    error::Error as StdError,
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::TokioTimer,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};
use wasmtime_wasi_http::Error;

use super::{
    address::Names,
    body::{RequestBody, ResponseBody},
    connect::Connector,
    failure,
    grant::HttpGrant,
    limits::Times,
    places::{Place, Places},
};
use crate::guest::outlet::Outlet;

/// Connections kept for later requests to the same host.
const IDLE_PER_HOST_MAX: usize = 8;
/// How long, where the server does not end them before.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// The least that hyper takes for the size of a message's head.
const HEAD_BYTES_MIN: usize = 8 * 1024;

pub(super) type HyperClient = Client<HttpsConnector<Connector>, RequestBody>;
/// Sends a request whose URL is checked, and has the head of its answer.
pub(super) type Sender = BoxCloneSyncService<Request<RequestBody>, Response<Incoming>, BoxError>;

/// Which of a task's two ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To where a rule allows it.
    Http,
    /// To the API server. `stream`: the answer has no end by itself.
    Kubernetes { stream: bool },
}

/// See the module's documentation.
pub(super) struct RunClient {
    grant: Arc<HttpGrant>,
    outlet: Arc<Outlet>,
    tasks: Tasks,
    in_flight: Places,
    http: OnceLock<Sender>,
    kubernetes: OnceLock<Sender>,
}

impl RunClient {
    pub(super) fn new(grant: Arc<HttpGrant>, outlet: Arc<Outlet>) -> Self {
        Self {
            in_flight: Places::new(grant.limits.in_flight),
            grant,
            outlet,
            tasks: Tasks::default(),
            http: OnceLock::new(),
            kubernetes: OnceLock::new(),
        }
    }

    /// Nothing is sent any more, and nothing waits for an answer.
    pub(super) fn end(&self) {
        self.outlet.end();
        self.tasks.abort_all();
    }

    /// Whether the run is over, so that nobody is to be told of what fails.
    pub(super) fn has_ended(&self) -> bool {
        self.outlet.pass(|| ()).is_err()
    }

    /// For one request. To be called when the guest makes it.
    pub(super) fn place(&self) -> Place {
        self.in_flight.ask()
    }

    /// Sends a request whose URL is checked, when it has its place.
    ///
    /// # Errors
    /// For the guest, and where there is more to say, for the log.
    pub(super) async fn send(
        &self,
        place: Place,
        mut request: Request<RequestBody>,
        way: Way,
        times: Times,
    ) -> Result<Response<UnsyncBoxBody<Bytes, Error>>, (Error, Option<String>)> {
        let told = |error: &(dyn StdError + 'static)| (failure::of_request(error), Some(failure::in_words(error)));
        let sender = self.sender(way);
        let connect_by = Instant::now() + times.connect;
        let deadline = times.total.map(|total| Instant::now() + total);
        let Some(in_flight) = place.had(connect_by).await else {
            let why = format!(
                "{} requests are in flight: read answers to their end, or raise `inFlight` under `limits.http`",
                self.grant.limits.in_flight
            );
            return Err((Error::ConnectionLimitReached, Some(why)));
        };
        let mut connection = capture_connection(&mut request);
        let connected = async {
            if connection.wait_for_connection_metadata().await.is_none() {
                // It has failed, and says so itself.
                std::future::pending::<()>().await;
            }
        };
        let total = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let mut answer = pin!(sender.oneshot(request));
        let mut total = pin!(total);
        let early = tokio::select! {
            biased;
            answer = &mut answer => Some(answer),
            () = connected => None,
            () = sleep_until(connect_by) => return Err((Error::ConnectionTimeout, None)),
            () = &mut total => return Err((Error::HttpResponseTimeout, None)),
        };
        let answer = match early {
            Some(answer) => answer,
            None => tokio::select! {
                biased;
                answer = &mut answer => answer,
                () = sleep(times.first_byte) => return Err((Error::ConnectionReadTimeout, None)),
                () = &mut total => return Err((Error::HttpResponseTimeout, None)),
            },
        };
        let answer = answer.map_err(|error| told(&*error))?;
        let max = match way {
            Way::Kubernetes { stream: true } => None,
            _ => Some(self.grant.limits.response_body.as_u64()),
        };
        let between = times.between_bytes;
        Ok(answer.map(|body| ResponseBody::new(body, max, between, deadline, in_flight).boxed_unsync()))
    }

    /// Made at the first request: most runs have none.
    fn sender(&self, way: Way) -> Sender {
        let (made, kubernetes) = match way {
            Way::Http => (&self.http, None),
            Way::Kubernetes { .. } => (&self.kubernetes, self.grant.kubernetes.as_ref()),
        };
        if let Some(sender) = made.get() {
            return sender.clone();
        }
        let names = Names { resolver: self.grant.resolver.clone(), checked: kubernetes.is_none() };
        let connector = Connector::new(names, self.outlet.clone());
        let sender = match kubernetes {
            Some(kubernetes) => kubernetes.sender(connector, |connector| self.client(connector)),
            None => {
                let tls = self.grant.tls.as_deref().cloned();
                let connector = HttpsConnectorBuilder::new()
                    // Without a rule for `https` nothing comes here that would trust it.
                    .with_tls_config(tls.unwrap_or_else(no_roots))
                    .https_or_http()
                    .enable_http1()
                    .wrap_connector(connector);
                BoxCloneSyncService::new(self.client(connector).map_err(BoxError::from))
            }
        };
        made.get_or_init(|| sender).clone()
    }

    fn client(&self, connector: HttpsConnector<Connector>) -> HyperClient {
        let head = usize::try_from(self.grant.limits.head.as_u64()).unwrap_or(usize::MAX);
        Client::builder(self.tasks.clone())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .http1_max_buf_size(head.max(HEAD_BYTES_MIN))
            .build(connector)
    }
}

/// Trusts nobody.
fn no_roots() -> rustls::ClientConfig {
    super::tls::client_config(rustls::RootCertStore::empty())
}

/// Where hyper's tasks run: one a connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn abort_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
