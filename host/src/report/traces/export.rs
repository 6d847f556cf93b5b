//! The queue of spans, and the thread that sends what is in it: neither the thread that renews nor one that guests run on.
//! A collector that is dead, slow or hangs costs spans, which are counted, and no time.

use std::{
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use prometheus_client::metrics::counter::Counter;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::span::{Attribute, Span, request};
use crate::{config::TracesConfig, report::Chain};

/// So many spans wait; a term has some ten.
const QUEUED_SPANS_MAX: usize = 2048;
/// So many are sent at once.
const BATCH_SPANS_MAX: usize = 512;
/// How long the first of a batch waits for others.
const BATCH_AFTER: Duration = Duration::from_secs(1);
/// How long a request may take, its answer included: OTLP's own default.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long after a failure the same is sent again; after the last one no more.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// How long the last spans may take when everything else has ended.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Spans that have left the queue, by what became of them.
#[derive(Clone, Debug, Default)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub sent: Counter,
    /// The queue was full, or the collector did not take them.
    pub dropped: Counter,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: mpsc::Sender<Span>,
    counts: SpanCounts,
}

impl Tracer {
    pub(super) fn send(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped.inc();
        }
    }
}

/// The thread that sends.
pub struct Exporter {
    tracer: Tracer,
    ending: watch::Sender<bool>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Exporter {
    /// Starts it. `identity` is what this host calls itself.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(config: TracesConfig, identity: &str, tls: ClientConfig, counts: SpanCounts) -> std::io::Result<Self> {
        if let Some(protocol) = &config.other_protocol {
            tracing::warn!(
                event = "traces-protocol",
                "the environment asks for OTLP as {protocol}; spans are sent as http/json, which the collector has to take"
            );
        }
        let (queue, spans) = mpsc::channel(QUEUED_SPANS_MAX);
        let (ending, end) = watch::channel(false);
        let (tell_end, ended) = sync_channel(1);
        let mut resource: Vec<_> =
            config.resource.into_iter().map(|(name, value)| Attribute::text(name, value)).collect();
        resource.push(Attribute::text("service.version", env!("CARGO_PKG_VERSION")));
        resource.push(Attribute::text("service.instance.id", identity));
        let sending = Sending {
            client: client(tls),
            endpoint: config.endpoint,
            headers: config.headers,
            resource,
            counts: counts.clone(),
            failing: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || run(runtime, sending, spans, end, tell_end))?;
        Ok(Self { tracer: Tracer { queue, counts }, ending, ended })
    }

    /// Where its spans come from.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what waits, and ends; for a moment at most.
    pub fn flush(self) {
        self.ending.send_replace(true);
        if self.ended.recv_timeout(LAST_SPANS) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(event = "traces-unsent", "the last spans were not taken within {LAST_SPANS:?}");
        }
    }
}

fn client(tls: ClientConfig) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(ANSWER_WITHIN));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

fn run(
    runtime: tokio::runtime::Runtime,
    mut sending: Sending,
    mut spans: mpsc::Receiver<Span>,
    mut end: watch::Receiver<bool>,
    tell_end: SyncSender<()>,
) {
    runtime.block_on(async {
        let mut batch = Vec::new();
        while !*end.borrow_and_update() {
            tokio::select! {
                _ = spans.recv_many(&mut batch, BATCH_SPANS_MAX) => {}
                _ = end.changed() => break,
            }
            tokio::select! {
                () = sleep(BATCH_AFTER) => {}
                _ = end.changed() => break,
            }
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            sending.deliver(&batch, &mut end).await;
            batch.clear();
        }
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
        }
        if !batch.is_empty() {
            sending.deliver(&batch, &mut end).await;
        }
    });
    // A look-up of a name may still be under way, and is not waited for.
    runtime.shutdown_background();
    // Who has asked may not wait any more.
    let _ = tell_end.send(());
}

struct Sending {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    resource: Vec<Attribute>,
    counts: SpanCounts,
    /// It was told that the collector takes nothing, and that has not changed.
    failing: bool,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("no answer within {ANSWER_WITHIN:?}")]
    Late,
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {0}")]
    Refused(StatusCode),
}

impl NotTaken {
    /// Whether it may be taken later, by what OTLP says of it.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Late | Self::Unreachable(_) => true,
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Sending {
    async fn deliver(&mut self, batch: &[Span], end: &mut watch::Receiver<bool>) {
        let body = Bytes::from(request(&self.resource, batch).to_string());
        let mut retries = RETRY_AFTER.iter();
        let why = loop {
            let why = match self.post(body.clone()).await {
                Ok(rejected) => return self.delivered(batch.len() as u64, rejected),
                Err(why) => why,
            };
            let Some(pause) = retries.next().filter(|_| why.is_temporary() && !*end.borrow()) else { break why };
            tokio::select! {
                () = sleep(*pause) => {}
                // Once more, and then no more.
                _ = end.changed() => {}
            }
        };
        self.counts.dropped.inc_by(batch.len() as u64);
        if !std::mem::replace(&mut self.failing, true) {
            let host = self.endpoint.authority().map_or("", |authority| authority.as_str());
            tracing::warn!(
                event = "traces-failed",
                "spans are dropped, the collector at {host} does not take them: {why}"
            );
        }
    }

    fn delivered(&mut self, spans: u64, rejected: u64) {
        let rejected = rejected.min(spans);
        self.counts.sent.inc_by(spans - rejected);
        self.counts.dropped.inc_by(rejected);
        if std::mem::take(&mut self.failing) {
            tracing::info!(event = "traces-taken", "the collector takes spans again");
        }
    }

    /// How many of them the collector has taken the request of, but not them.
    async fn post(&self, body: Bytes) -> Result<u64, NotTaken> {
        let mut request = Request::post(self.endpoint.clone()).body(Full::from(body)).expect("a URL that is whole");
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = async {
            let answer = self.client.request(request).await.map_err(|error| NotTaken::Unreachable(words(&error)))?;
            let status = answer.status();
            if !status.is_success() {
                return Err(NotTaken::Refused(status));
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(body.map_or(0, |body| rejected(&body.to_bytes())))
        };
        timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(NotTaken::Late))
    }
}

fn words(error: &dyn std::error::Error) -> String {
    Chain(error).to_string()
}

/// `ExportTraceServiceResponse`; one that cannot be read has rejected nothing.
fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match &answer["partialSuccess"]["rejectedSpans"] {
        Value::String(count) => count.parse().unwrap_or(0),
        count => count.as_u64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        time::{Instant, SystemTime},
    };

    use http::HeaderMap;
    use rustls::RootCertStore;

    use super::*;
    use crate::{
        guest::imports::http::tls::client_config,
        report::traces::span::{SpanId, TraceId},
    };

    fn span() -> Span {
        let now = SystemTime::now();
        Span::new((TraceId::new(), SpanId::new()), None, "term", (now, now))
    }

    #[test]
    fn of_spans_that_nobody_takes_the_queue_keeps_so_many_and_the_rest_is_counted() {
        // It takes connections, by the kernel's hand, and nobody reads what comes.
        let hangs = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}/v1/traces", hangs.local_addr().expect("an address"));
        let config = TracesConfig {
            endpoint: endpoint.parse().expect("a URL"),
            headers: HeaderMap::new(),
            resource: Vec::new(),
            other_protocol: None,
        };
        let counts = SpanCounts::default();
        let tls = client_config(RootCertStore::empty());
        let exporter = Exporter::start(config, "test", tls, counts.clone()).expect("a thread");
        let tracer = exporter.tracer();
        const SPANS: usize = 10_000;
        for _ in 0..SPANS {
            tracer.send(span());
        }
        let dropped = usize::try_from(counts.dropped.get()).expect("a count");
        let kept = SPANS - dropped;
        // What the thread has taken out by now, makes room.
        assert!((QUEUED_SPANS_MAX..=QUEUED_SPANS_MAX + BATCH_SPANS_MAX).contains(&kept), "{kept} were kept");
        assert_eq!(counts.sent.get(), 0);
        let begun = Instant::now();
        exporter.flush();
        assert!(begun.elapsed() < ANSWER_WITHIN, "the end does not wait for an answer that never comes");
    }

    #[test]
    fn what_a_collector_says_that_it_has_rejected_is_read() {
        assert_eq!(rejected(b"{}"), 0);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":3}}"#), 3);
        assert_eq!(rejected(b"<html>"), 0);
    }
}
