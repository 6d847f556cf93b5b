//! One HTTP request to a registry, and its answer's body: each with a time and a size that it cannot pass.

use std::{error::Error as StdError, time::Duration};

use bytes::Bytes;
use bytesize::ByteSize;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::time::timeout;

use super::OciError;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// From the request, the connection and its own body included, to the head of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The same where the request has a module in it.
const UPLOAD_WITHIN: Duration = Duration::from_secs(4 * 60);
/// From one piece of a body to the next.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
/// Polls are further apart than servers keep connections; those of one fetch are not.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Of a registry's own words, what a person is shown.
const WORDS_CHARS_MAX: usize = 300;
/// What is read of the answer that has them.
const WORDS_BYTES_MAX: u64 = 16 * 1024;

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Transport {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whom it asks, for messages.
    registry: String,
}

impl Transport {
    pub(super) fn new(registry: &str, tls: ClientConfig) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Self { http, registry: registry.to_owned() }
    }

    /// The head of the answer.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>, what: &str) -> Result<Response<Incoming>, OciError> {
        let within = if request.headers().contains_key(header::CONTENT_TYPE) { UPLOAD_WITHIN } else { ANSWER_WITHIN };
        let host = request.uri().authority().map_or_else(|| self.registry.clone(), ToString::to_string);
        match timeout(within, self.http.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(what, format!("{host} is not reached: {}", in_plain_words(&error)))),
            Err(_) => Err(unreachable(what, format!("{host} has not answered for {within:?}"))),
        }
    }
}

pub(super) fn unreachable(what: &str, why: String) -> OciError {
    OciError::Unreachable { what: what.to_owned(), why }
}

/// All of a body, of `max` bytes at most.
pub(super) async fn body(answer: Response<Incoming>, what: &str, max: u64) -> Result<Vec<u8>, OciError> {
    let too_large = |size| OciError::TooLarge { what: what.to_owned(), size: ByteSize(size), max: ByteSize(max) };
    let declared = answer.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if let Some(declared) = declared
        && declared > max
    {
        return Err(too_large(declared));
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    loop {
        match timeout(PIECE_WITHIN, body.frame()).await {
            Ok(None) => return Ok(bytes),
            Ok(Some(Ok(frame))) => {
                let Ok(piece) = frame.into_data() else { continue };
                let size = bytes.len() as u64 + piece.len() as u64;
                if size > max {
                    return Err(too_large(size));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(Some(Err(error))) => {
                let came = ByteSize(bytes.len() as u64);
                return Err(unreachable(what, format!("it broke off after {came}: {}", in_plain_words(&error))));
            }
            Err(_) => {
                let came = ByteSize(bytes.len() as u64);
                return Err(unreachable(what, format!("after {came}, nothing more has come for {PIECE_WITHIN:?}")));
            }
        }
    }
}

/// What an answer that is none says of it, after a colon; nothing where it says nothing.
pub(super) async fn words(answer: Response<Incoming>) -> String {
    #[derive(Deserialize)]
    struct Words {
        errors: Vec<Word>,
    }
    #[derive(Deserialize)]
    struct Word {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    // There may be none, and its status says enough.
    let Ok(body) = body(answer, "", WORDS_BYTES_MAX).await else { return String::new() };
    let text = match serde_json::from_slice::<Words>(&body) {
        Ok(words) => {
            let words = words.errors.iter().map(|Word { code, message }| format!("{code} {message}").trim().to_owned());
            words.collect::<Vec<_>>().join(", ")
        }
        // A page for people.
        Err(_) if body.starts_with(b"<") => String::new(),
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    // Somebody else's text, into our log.
    let text: String = text.chars().take(WORDS_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// An answer that is none.
pub(super) async fn failed(answer: Response<Incoming>, what: &str) -> OciError {
    let status = answer.status();
    let retry_after = retry_after(answer.headers());
    let retried = match (status, retry_after) {
        (StatusCode::TOO_MANY_REQUESTS, Some(after)) => format!(" (it was asked too often; next in {after:?})"),
        (StatusCode::TOO_MANY_REQUESTS, None) => " (it was asked too often)".to_owned(),
        _ => String::new(),
    };
    let words = words(answer).await + &retried;
    OciError::Answered { what: what.to_owned(), status, words, retry_after }
}

/// In seconds; a registry that gives a time of day instead is waited for as after any failure.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The last of the causes: those before it are layers of the client's.
fn in_plain_words(error: &(dyn StdError + 'static)) -> String {
    let mut words = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.drain(..words.len().saturating_sub(2));
    words.dedup();
    words.join(": ")
}
