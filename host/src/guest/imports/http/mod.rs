//! `wasi:http/outgoing-handler`: each request is refused unless the task's config allows it, with an error the guest can
//! read and a log line that names the rule that would.
//!
//! | file | what |
//! |---|---|
//! | [`target`], [`rule`] | a URL in its one form, and which of them a rule allows |
//! | [`address`] | which addresses a name may lead to |
//! | [`headers`], [`limits`], [`body`] | what a guest may not send; how long and how large |
//! | [`connect`], [`client`] | connections that end with the run, whose every write asks the gate |
//! | [`kubernetes`] | `http://kubernetes.default.svc` |
//! | [`grant`] | all of it, as one task's config has it |
//!
//! Redirects are not followed: a guest that follows one asks again, and is checked again. A request goes to what was
//! checked, and is written anew from that: the guest's own text is not read a second time.

pub mod address;
mod body;
mod client;
mod connect;
pub(super) mod error_code;
mod failure;
pub mod grant;
pub mod headers;
pub mod kubernetes;
pub mod limits;
mod places;
pub mod rule;
#[cfg(test)]
mod rule_tests;
pub mod target;
pub mod tls;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use url::Host;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiHttpHooks};

use self::{
    body::RequestBody,
    client::{RunClient, Way},
    grant::{HttpCounts, HttpGrant, Telling},
    limits::Times,
    target::Target,
};
use super::{
    super::{gate::Gate, outlet::Outlet},
    counts::CallCounts,
};
use crate::log::{Subject, say};

/// A guest's write to a request's body is cut into pieces of so many bytes, of which two wait at most.
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// Of a refusal, in the log: a guest chooses how long its URLs are.
const TOLD_CHARS_MAX: usize = 1000;

type Body = UnsyncBoxBody<Bytes, Error>;
type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Response = Result<(http::Response<Body>, Finished), Error>;

/// HTTP of one run. When it is dropped, nothing of the run is sent any more.
pub struct Http {
    grant: Arc<HttpGrant>,
    subject: Subject,
    token: u64,
    client: Arc<RunClient>,
    forbidden: ForbiddenHeaderFilter,
}

/// A request that is allowed.
struct Admitted {
    request: Request<RequestBody>,
    way: Way,
    times: Times,
    /// For the log.
    host: String,
}

/// A request that is not.
struct Refused {
    error: Error,
    /// What is refused, and what would allow it.
    why: String,
}

impl Refused {
    /// By the rules.
    fn denied(why: String) -> Self {
        Self { error: Error::HttpRequestDenied, why }
    }
}

impl Http {
    /// For the run behind `gate`, in the term with this token.
    pub fn new(grant: Arc<HttpGrant>, subject: Subject, token: u64, gate: Arc<Gate>) -> Self {
        Self {
            client: Arc::new(RunClient::new(grant.clone(), Arc::new(Outlet::new(gate)))),
            forbidden: headers::forbidden(grant.token_header.clone()),
            grant,
            subject,
            token,
        }
    }

    fn admit(&self, request: Request<Body>, options: Option<RequestOptions>) -> Result<Admitted, Refused> {
        let limits = &self.grant.limits;
        let (mut parts, body) = request.into_parts();
        let target = Target::of(&parts.uri)
            .map_err(|why| Refused::denied(format!("{} {}: {why}", parts.method, without_secrets(&parts.uri))))?;
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Refused::denied(format!("the method {}, which no rule allows", parts.method)));
        }
        let way = self.way(&parts.method, &target, &parts.headers)?;
        check_size(&parts.headers, &target, limits)?;
        parts.uri = target
            .uri()
            .map_err(|error| Refused { error: Error::HttpRequestUriInvalid, why: format!("{target}: {error}") })?;
        // Made anew from the URL.
        parts.headers.remove(header::HOST);
        if let (Some(name), Way::Http) = (&self.grant.token_header, way) {
            parts.headers.insert(name.clone(), HeaderValue::from(self.token));
        }
        let stream = matches!(way, Way::Kubernetes { stream: true });
        Ok(Admitted {
            request: Request::from_parts(parts, RequestBody::new(body, limits.request_body.as_u64())),
            way,
            times: limits.times(options, stream),
            host: target.host.to_string(),
        })
    }

    /// Which way out it takes, if any.
    fn way(&self, method: &Method, target: &Target, headers: &HeaderMap) -> Result<Way, Refused> {
        if target.host == Host::Domain(rule::KUBERNETES_HOST.to_owned()) {
            let stream = kubernetes::admit(self.grant.kubernetes.as_ref(), method, target).map_err(Refused::denied)?;
            if let Some(name) = headers::identity(headers) {
                let why = format!("the header {name} for the API server: the host says there who asks");
                return Err(Refused::denied(why));
            }
            return Ok(Way::Kubernetes { stream });
        }
        if self.grant.rules.iter().any(|rule| rule.allows(target)) {
            return Ok(Way::Http);
        }
        Err(Refused::denied(format!("{method} {target}: to allow it, add {:?} to allow.http", target.rule())))
    }

    /// Where what becomes of a request to this host is counted.
    fn counts(&self, uri: &Uri) -> CallCounts {
        let HttpCounts { http, kubernetes } = &self.grant.counts;
        let is_kubernetes = uri.host().is_some_and(|host| host.eq_ignore_ascii_case(rule::KUBERNETES_HOST));
        if is_kubernetes { kubernetes.clone() } else { http.clone() }
    }

    fn tell_refused(&self, refused: &Refused) {
        let why: String = refused.why.chars().take(TOLD_CHARS_MAX).collect();
        match self.grant.told.telling(&why) {
            Telling::No => {}
            Telling::Now => {
                say!(warn, self.subject, "http-refused", { token = self.token }; "refused: {why}")
            }
            Telling::AsTheLast => {
                say!(warn, self.subject, "http-refused", { token = self.token };
                    "refused: {why} (more that is new is counted, but no longer told)")
            }
        }
    }
}

/// Without user-info and query, which may have secrets in them.
fn without_secrets(uri: &Uri) -> String {
    format!("{}://{}{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default(), uri.path())
}

/// Refuses a head, or a body of a known size, that is too large.
fn check_size(headers: &HeaderMap, target: &Target, limits: &limits::HttpLimits) -> Result<(), Refused> {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let url = target.path.len() + target.query.as_ref().map_or(0, String::len);
    let size = u32::try_from(fields + url).unwrap_or(u32::MAX);
    if u64::from(size) > limits.head.as_u64() {
        let why = format!("a request's head of {size} bytes: `head` under `limits.http` is {}", limits.head);
        return Err(Refused { error: Error::HttpRequestHeaderSectionSize(Some(size)), why });
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| *length > limits.request_body.as_u64()) {
        let max = limits.request_body;
        let why = format!("a request's body of {length} bytes: `requestBody` under `limits.http` is {max}");
        return Err(Refused { error: Error::HttpRequestBodySize(Some(length)), why });
    }
    Ok(())
}

impl WasiHttpHooks for Http {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        self.forbidden.clone()
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_BYTES_MAX
    }

    fn send_request(
        &mut self,
        request: Request<Body>,
        options: Option<RequestOptions>,
        _: Finished,
    ) -> Box<dyn Future<Output = Response> + Send> {
        let counts = self.counts(request.uri());
        let admitted = match self.admit(request, options) {
            Ok(admitted) => admitted,
            Err(refused) => {
                counts.refused.inc();
                self.tell_refused(&refused);
                return Box::new(async move { Err(refused.error) });
            }
        };
        let (client, grant, subject, token) =
            (self.client.clone(), self.grant.clone(), self.subject.clone(), self.token);
        let place = client.place();
        Box::new(async move {
            let Admitted { request, way, times, host } = admitted;
            match client.send(place, request, way, times).await {
                Ok(response) => {
                    counts.ok.inc();
                    Ok((response, Box::new(async { Ok(()) }) as Finished))
                }
                Err((error, _)) if client.has_ended() => Err(error),
                Err((error, why)) => {
                    counts.failed.inc();
                    let why = why.unwrap_or_else(|| error.to_string());
                    if grant.told.telling(&format!("{host}: {why}")) != Telling::No {
                        say!(warn, subject, "http-failed", { token = token, host = host };
                            "a request to {host} has failed: {why}");
                    }
                    Err(error)
                }
            }
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.client.end();
    }
}
