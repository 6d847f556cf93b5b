//! `wasi:cli/stdout` and `stderr`: each line that the guest prints becomes a log line.
//!
//! Written within the host call itself, not by a task in the background as WASI's own streams do:
//! what the gate let through has left, what it did not let through never leaves.

pub mod tail;
mod throttle;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use bytesize::ByteSize;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use self::{
    tail::Tail,
    throttle::{Dropped, Throttle, Verdict},
};
use crate::{
    clock,
    log::{Subject, say},
};

/// A longer line is cut into pieces of this many bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// What a guest may write in one call.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Which of the two a line came from.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// `wasi:cli/stdout`
    Stdout,
    /// `wasi:cli/stderr`
    Stderr,
}

/// What a guest's two outputs share: one rate.
#[derive(Clone, Debug)]
pub struct Printer(Arc<Printed>);

#[derive(Debug)]
struct Printed {
    subject: Subject,
    token: u64,
    callback: Option<&'static str>,
    throttle: Mutex<Throttle>,
    dropped: Counter,
    tail: Option<Tail>,
}

/// One of a guest's two outputs.
#[derive(Clone, Debug)]
pub struct Output(Arc<Lines>);

#[derive(Debug)]
struct Lines {
    printer: Printer,
    stream: Stream,
    /// The line that has no end yet.
    begun: Mutex<Vec<u8>>,
}

impl Printer {
    /// For the guest that runs in the term with this token, or its callback of this name: `rate` bytes a second.
    /// Counts the lines that are more, and keeps the last ones in `tail`.
    pub fn new(
        subject: Subject,
        token: u64,
        callback: Option<&'static str>,
        rate: ByteSize,
        dropped: Counter,
        tail: Option<Tail>,
    ) -> Self {
        let throttle = Mutex::new(Throttle::new(rate, clock::boot()));
        Self(Arc::new(Printed { subject, token, callback, throttle, dropped, tail }))
    }

    /// One of the two.
    pub fn output(&self, stream: Stream) -> Output {
        Output(Arc::new(Lines { printer: self.clone(), stream, begun: Mutex::default() }))
    }
}

impl Printed {
    fn tell(&self, stream: Stream, line: &[u8]) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match throttle.line(clock::boot(), line.len()) {
            Verdict::Dropped => {
                self.dropped.inc();
                return;
            }
            Verdict::ToldAfter(dropped) => self.tell_dropped(dropped),
            Verdict::Told => {}
        }
        drop(throttle);
        let line = String::from_utf8_lossy(line);
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        say!(info, self.subject, "guest-output", { token = self.token, export = self.callback, stream = stream }; "{line}");
        self.keep(tracing::enabled!(Level::INFO), stream, &line);
    }

    fn tell_dropped(&self, dropped: Dropped) {
        let Dropped { lines, bytes } = dropped;
        let told = format!(
            "the component printed faster than limits.output allows: {lines} lines ({}) are not shown",
            ByteSize(bytes)
        );
        say!(warn, self.subject, "guest-output-dropped", { token = self.token, lines = lines, bytes = bytes }; "{told}");
        self.keep(tracing::enabled!(Level::WARN), "host", &told);
    }

    /// `is_logged`: nothing is shown elsewhere that the log was not to tell.
    fn keep(&self, is_logged: bool, stream: &'static str, line: &str) {
        if let Some(tail) = self.tail.as_ref().filter(|_| is_logged) {
            tail.push(self.token, stream, self.callback, line);
        }
    }
}

impl Drop for Printed {
    /// What was dropped last is told when the guest is gone.
    fn drop(&mut self) {
        let throttle = self.throttle.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(dropped) = throttle.take_dropped() {
            self.tell_dropped(dropped);
        }
    }
}

impl Lines {
    fn write(&self, bytes: &[u8]) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            let ended = begun.last() == Some(&b'\n');
            let mut rest = &begun[..begun.len() - usize::from(ended)];
            while rest.len() > LINE_BYTES_MAX {
                let (line, more) = rest.split_at(LINE_BYTES_MAX);
                self.tell(line);
                rest = more;
            }
            if ended {
                self.tell(rest);
                begun.clear();
            } else {
                let told = begun.len() - rest.len();
                begun.drain(..told);
            }
        }
    }

    fn tell(&self, line: &[u8]) {
        self.printer.0.tell(self.stream, line);
    }
}

impl Drop for Lines {
    /// A last line without an end is told when the guest is gone.
    fn drop(&mut self) {
        let begun = std::mem::take(self.begun.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !begun.is_empty() {
            self.tell(&begun);
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
