//! How long a request may take, and how large it may be.

use std::time::Duration;

use bytesize::ByteSize;
use wasmtime_wasi_http::RequestOptions;

/// Of one task. A guest's own `request-options` may shorten the times, never lengthen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Requests whose answers are not read to their end yet. More wait for a place, for the time of `connect` at most.
    pub in_flight: usize,
    /// Until there is a connection: a place among those in flight, the name's look-up, TCP and TLS.
    pub connect: Duration,
    /// From the connection to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer's body.
    pub between_bytes: Duration,
    /// From the request's beginning to the answer's last byte. A watch of the Kubernetes API is as long as it likes.
    pub total: Duration,
    /// The URL and the headers of a request, and those of an answer.
    pub head: ByteSize,
    /// The body of a request.
    pub request_body: ByteSize,
    /// The body of an answer. A watch of the Kubernetes API is as long as it likes.
    pub response_body: ByteSize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            in_flight: 64,
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
            total: Duration::from_secs(600),
            head: ByteSize::kib(64),
            request_body: ByteSize::mib(64),
            response_body: ByteSize::mib(64),
        }
    }
}

/// How long one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    /// `None`: for as long as the guest lives.
    pub(super) between_bytes: Option<Duration>,
    /// `None`: for as long as the guest lives.
    pub(super) total: Option<Duration>,
}

impl HttpLimits {
    /// Those of a request with these options; `stream` is one that has no end by itself.
    pub(super) fn times(&self, options: Option<RequestOptions>, stream: bool) -> Times {
        let options = options.unwrap_or_default();
        let shorter = |limit: Duration, asked: Option<Duration>| asked.map_or(limit, |asked| asked.min(limit));
        Times {
            connect: shorter(self.connect, options.connect_timeout),
            first_byte: shorter(self.first_byte, options.first_byte_timeout),
            between_bytes: if stream {
                options.between_bytes_timeout
            } else {
                Some(shorter(self.between_bytes, options.between_bytes_timeout))
            },
            total: (!stream).then_some(self.total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_shorten_a_time_and_not_lengthen_it() {
        let limits = HttpLimits::default();
        let [short, long] = [Duration::from_millis(5), Duration::from_secs(9999)];
        let options = RequestOptions {
            connect_timeout: Some(short),
            first_byte_timeout: Some(long),
            between_bytes_timeout: Some(long),
        };
        let times = limits.times(Some(options), false);
        assert_eq!((times.connect, times.first_byte), (short, limits.first_byte));
        assert_eq!((times.between_bytes, times.total), (Some(limits.between_bytes), Some(limits.total)));
        let stream = limits.times(None, true);
        assert_eq!((stream.between_bytes, stream.total), (None, None));
    }
}
