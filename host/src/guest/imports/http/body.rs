//! Bodies in both directions, with their limits.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep, sleep_until},
};
use wasmtime_wasi_http::{Error, WasiBody};

use super::failure;

/// A request's body is larger than may be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body is larger than {0} bytes")]
pub(super) struct RequestTooLarge(pub(super) u64);

/// What the guest sends.
pub(super) struct RequestBody {
    inner: WasiBody,
    sent: u64,
    max: u64,
}

impl RequestBody {
    pub(super) fn new(inner: WasiBody, max: u64) -> Self {
        Self { inner, sent: 0, max }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.sent > self.max {
                return Poll::Ready(Some(Err(RequestTooLarge(self.max).into())));
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What comes back.
pub(super) struct ResponseBody {
    inner: Incoming,
    received: u64,
    /// `None`: without end.
    max: Option<u64>,
    between: Option<(Duration, Pin<Box<Sleep>>)>,
    total: Option<Pin<Box<Sleep>>>,
    /// The request is in flight until its answer is read or dropped.
    in_flight: Option<OwnedSemaphorePermit>,
}

impl ResponseBody {
    pub(super) fn new(
        inner: Incoming,
        max: Option<u64>,
        between: Option<Duration>,
        deadline: Option<Instant>,
        in_flight: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            inner,
            received: 0,
            max,
            between: between.map(|between| (between, Box::pin(sleep(between)))),
            total: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            in_flight: Some(in_flight),
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.total.as_mut().is_some_and(|total| total.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some((between, timer)) = &mut self.between {
                    timer.as_mut().reset(Instant::now() + *between);
                }
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.max.is_some_and(|max| self.received > max) {
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(self.max))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(failure::of_body(&error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let timer = self.between.as_mut().map(|(_, timer)| timer.as_mut().poll(cx));
                match timer {
                    Some(Poll::Ready(())) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                    _ => Poll::Pending,
                }
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = self.poll_inner(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.in_flight = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
