//! `wasi:http/outgoing-handler`: nothing is granted, so every request is refused, with an error
//! the guest can read and a log line.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks};

use crate::log::{Subject, say};

/// Refuses every request.
#[derive(Debug)]
pub struct NoHttp {
    /// For the log line.
    pub subject: Subject,
}

type Body = UnsyncBoxBody<Bytes, Error>;
type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Response = Result<(http::Response<Body>, Sending), Error>;

impl WasiHttpHooks for NoHttp {
    fn send_request(
        &mut self,
        request: http::Request<Body>,
        _options: Option<RequestOptions>,
        _body: Sending,
    ) -> Box<dyn Future<Output = Response> + Send> {
        let host = request.uri().host().unwrap_or_default();
        say!(warn, self.subject, "request-refused", { host = host }; "the guest may not send HTTP requests");
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
