//! Serves HTTP over so many connections at a time, and has always one more to give: where all are taken, a new one gets the
//! place of the one that has been idle for longest. So who opens connections and asks nothing keeps nobody out.
//!
//! Idle is a connection on which no request is being answered, however much of the next one has come, and however slowly
//! the last answer is read. The others are for their handlers to bound: they have to answer soon, or to have fewer places for
//! answers that go on (event streams) than there are connections.

pub(crate) mod listen;
mod places;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use self::places::{Busy, Place, Places};

/// A connection that is idle for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The longest head of a request. Browsers send along what others at `localhost` have set as cookies.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After a connection could not be taken (out of open files, say), and before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Server {
    routes: Router,
    places: Arc<Places>,
    idle_max: Duration,
    /// The event by which the log tells of it.
    name: &'static str,
}

impl Server {
    pub(crate) fn new(name: &'static str, routes: Router, connections_max: usize) -> Self {
        Self { routes, places: Arc::new(Places::new(connections_max)), idle_max: IDLE_MAX, name }
    }

    /// Serves for ever. Several listeners share the places.
    pub(crate) async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(event = self.name, "a connection could not be taken: {error}");
                    if !is_of_one_connection(&error) {
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                    continue;
                }
            };
            let place = self.places.take().await;
            let this = self.clone();
            tokio::spawn(async move {
                if let Err(error) = this.connection(stream, peer, place).await {
                    tracing::debug!(event = this.name, "a connection ended: {error}");
                }
            });
            // It is looked what those already here ask before further ones come in their place.
            tokio::task::yield_now().await;
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, place: Place) -> hyper::Result<()> {
        let place = Arc::new(place);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let busy = Place::busy(&place);
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answered = self.routes.clone().oneshot(request);
            async move { answered.await.map(|answer| answer.map(|body| Answer { body, _busy: busy })) }
        });
        let mut http = http1::Builder::new();
        // How long a head may take is bounded by `idle_max` below.
        http.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
        tokio::select! {
            ended = http.serve_connection(TokioIo::new(stream), service) => ended,
            () = place.is_idle_for(self.idle_max) => Ok(()),
            () = place.is_wanted() => Ok(()),
        }
    }
}

/// As of clients who were gone before they were looked at.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The body of an answer; while it is there, its connection is busy.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
