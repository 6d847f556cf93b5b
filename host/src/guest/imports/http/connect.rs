//! Connections of one run: nothing is sent on them once its [`Outlet`] is closed.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::address::Names;
use crate::guest::outlet::Outlet;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Names>,
    outlet: Arc<Outlet>,
}

impl Connector {
    pub(super) fn new(names: Names, outlet: Arc<Outlet>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(names);
        // TLS is put around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, outlet }
    }
}

impl Service<Uri> for Connector {
    type Response = GatedStream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<GatedStream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let outlet = self.outlet.clone();
        let connecting = Box::pin(self.tcp.call(uri));
        Box::pin(async move {
            let stream = Passing { outlet: outlet.clone(), future: connecting }.await??;
            Ok(GatedStream { stream, outlet })
        })
    }
}

/// A future that goes on only while its outlet is open: to connect is an effect, too.
struct Passing<F> {
    outlet: Arc<Outlet>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Passing<F> {
    type Output = Result<F::Output, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.outlet.pass(|| this.future.as_mut().poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(over) => Poll::Ready(Err(over.into())),
        }
    }
}

/// A connection whose writes go through an [`Outlet`]. Below TLS, so that what is encrypted already is held back, too.
pub(super) struct GatedStream {
    stream: TokioIo<TcpStream>,
    outlet: Arc<Outlet>,
}

impl GatedStream {
    fn pass<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut TokioIo<TcpStream>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let stream = Pin::new(&mut self.stream);
        self.outlet.pass(|| write(stream)).unwrap_or_else(|over| Poll::Ready(Err(io::Error::other(over))))
    }
}

impl Write for GatedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pass(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pass(|stream| stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pass(|stream| stream.poll_flush(cx))
    }

    /// Says nothing but that no more comes, so it needs no leave.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Read for GatedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl Connection for GatedStream {
    fn connected(&self) -> Connected {
        self.stream.inner().connected()
    }
}
