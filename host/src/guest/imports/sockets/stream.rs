//! The two streams of a connection.
//!
//! What the guest writes is given to the kernel within its call, as far as the kernel takes it. A task sends the rest,
//! at most [`WRITE_BYTES_MAX`], and asks the run's outlet at each piece; until it is done the guest may not write more.
//! So nothing is written once the gate is closed, and no task is left when the run has ended.

use std::{
    future::poll_fn,
    io,
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Run;

/// What a guest may write, or reads, in one call.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// A connection, which counts as an open socket until the last who uses it is gone.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) _counted: OwnedSemaphorePermit,
}

impl Connection {
    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(&self.stream, how)?)
    }
}

/// What was received.
#[derive(Clone)]
pub(super) struct Input(Arc<Receiving>);

struct Receiving {
    connection: Arc<Connection>,
    closed: Mutex<bool>,
}

impl Input {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self(Arc::new(Receiving { connection, closed: Mutex::new(false) }))
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is received.
    pub(super) fn shut_down(&self) {
        *self.closed() = true;
        // Of a connection that is gone already, there is nothing to end.
        let _ = self.0.connection.shut_down(Shutdown::Read);
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        if !*self.closed() {
            // An error is what the guest then reads.
            let _ = self.0.connection.stream.readable().await;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut closed = self.closed();
        if *closed {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = BytesMut::zeroed(size.min(WRITE_BYTES_MAX));
        match self.0.connection.stream.try_read(&mut bytes) {
            Ok(0) => {
                *closed = true;
                Err(StreamError::Closed)
            }
            Ok(length) => {
                bytes.truncate(length);
                Ok(bytes.freeze())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(error) => {
                *closed = true;
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

/// What is to be sent.
#[derive(Clone)]
pub(super) struct Output(Arc<Sending>);

struct Sending {
    run: Arc<Run>,
    connection: Arc<Connection>,
    state: Mutex<SendState>,
}

enum SendState {
    /// All is with the kernel.
    Idle,
    /// A task sends the rest; who waits for it; and whether nothing comes after it.
    Busy {
        waiting: Option<Waker>,
        last: bool,
    },
    /// It has failed, which the guest has yet to hear.
    Failed(io::Error),
    Closed,
}

impl Sending {
    fn state(&self) -> MutexGuard<'_, SendState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the kernel what it takes now, if the gate is open; `bytes` is what is left.
    fn send_some(&self, bytes: &mut Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.run.outlet.pass(|| self.connection.stream.try_write(bytes)).map_err(io::Error::other)? {
                Ok(length) => drop(bytes.split_to(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send_rest(&self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            self.connection.stream.writable().await?;
            self.send_some(&mut bytes)?;
        }
        Ok(())
    }

    fn finish(&self, sent: io::Result<()>) {
        let mut state = self.state();
        let SendState::Busy { waiting, last } = &mut *state else { return };
        let (waiting, last) = (waiting.take(), *last);
        *state = match sent {
            Err(error) => SendState::Failed(error),
            Ok(()) if last => {
                let _ = self.connection.shut_down(Shutdown::Write);
                SendState::Closed
            }
            Ok(()) => SendState::Idle,
        };
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl Output {
    pub(super) fn new(run: Arc<Run>, connection: Arc<Connection>) -> Self {
        Self(Arc::new(Sending { run, connection, state: Mutex::new(SendState::Idle) }))
    }

    /// Nothing more is sent than what was written.
    pub(super) fn shut_down(&self) {
        let mut state = self.0.state();
        match &mut *state {
            SendState::Busy { last, .. } => *last = true,
            SendState::Idle => {
                *state = SendState::Closed;
                // Of a connection that is gone already, there is nothing to end.
                let _ = self.0.connection.shut_down(Shutdown::Write);
            }
            SendState::Failed(_) | SendState::Closed => {}
        }
    }
}

/// The guest hears of a failure once; then the stream is closed.
fn failure(state: &mut SendState) -> StreamError {
    match std::mem::replace(state, SendState::Closed) {
        SendState::Failed(error) => of_write(error),
        _ => StreamError::Closed,
    }
}

/// The other side's having gone is the stream's end, as it is on reading.
fn of_write(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => StreamError::Closed,
        _ => StreamError::LastOperationFailed(error.into()),
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        poll_fn(|context| match &mut *self.0.state() {
            SendState::Busy { waiting, .. } => {
                *waiting = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let sending = &self.0;
        let mut state = sending.state();
        match &*state {
            SendState::Idle if bytes.len() <= WRITE_BYTES_MAX => {}
            SendState::Idle | SendState::Busy { .. } => {
                return Err(StreamError::Trap(wasmtime::format_err!(
                    "a write of {} bytes to a socket, more than `check-write` has allowed",
                    bytes.len()
                )));
            }
            SendState::Failed(_) | SendState::Closed => return Err(failure(&mut state)),
        }
        if let Err(error) = sending.send_some(&mut bytes) {
            *state = SendState::Closed;
            return Err(of_write(error));
        }
        if !bytes.is_empty() {
            *state = SendState::Busy { waiting: None, last: false };
            drop(state);
            let mut sends = sending.run.sends.lock().unwrap_or_else(PoisonError::into_inner);
            while sends.try_join_next().is_some() {}
            let sending = sending.clone();
            sends.spawn(async move { sending.finish(sending.send_rest(bytes).await) });
        }
        Ok(())
    }

    /// What was written is on its way already.
    fn flush(&mut self) -> StreamResult<()> {
        let mut state = self.0.state();
        match &*state {
            SendState::Idle | SendState::Busy { .. } => Ok(()),
            SendState::Failed(_) | SendState::Closed => Err(failure(&mut state)),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut state = self.0.state();
        match &*state {
            SendState::Idle => Ok(WRITE_BYTES_MAX),
            SendState::Busy { .. } => Ok(0),
            SendState::Failed(_) | SendState::Closed => Err(failure(&mut state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener, time::Duration};

    use leasehold_core::task::StopReason;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{
        clock,
        guest::{gate::Gate, imports::sockets::Sockets},
        log::Subject,
    };

    /// A run with a connection whose other side has not read yet, and to which more was written than the kernel takes.
    struct Stuck {
        gate: Arc<Gate>,
        sockets: Sockets,
        output: Output,
        peer: std::net::TcpStream,
        written: usize,
    }

    impl Stuck {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let stream = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("connected");
            let (peer, _) = listener.accept().expect("connected");
            let gate = Arc::new(Gate::new(clock::boot() + Duration::from_secs(3600)));
            let subject = Subject { task: "test".into(), lease: "default/test".into(), identity: "tester".into() };
            let sockets = Sockets::new(Arc::default(), Default::default(), subject, 1, gate.clone());
            let counted = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("one");
            let mut output = Output::new(sockets.0.clone(), Arc::new(Connection { stream, _counted: counted }));
            let mut written = 0;
            while output.check_write().expect("open") > 0 {
                output.write(vec![b'x'; WRITE_BYTES_MAX].into()).expect("written");
                written += WRITE_BYTES_MAX;
            }
            Self { gate, sockets, output, peer, written }
        }

        fn received(mut peer: std::net::TcpStream) -> usize {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("to its end");
            all.len()
        }
    }

    #[tokio::test]
    async fn what_the_kernel_did_not_take_at_once_is_sent_when_it_does() {
        let Stuck { gate: _, sockets, output, peer, written } = Stuck::new().await;
        drop(output);
        let received = tokio::task::spawn_blocking(|| Stuck::received(peer));
        sockets.last_bytes().await;
        assert_eq!(received.await.expect("no panic"), written);
    }

    #[tokio::test]
    async fn nothing_is_written_once_the_gate_is_closed_though_there_is_room_then() {
        let Stuck { gate, sockets, mut output, peer, written } = Stuck::new().await;
        gate.close(StopReason::LeadershipLost);
        let received = tokio::task::spawn_blocking(|| Stuck::received(peer));
        output.ready().await;
        assert!(matches!(output.check_write(), Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(output.check_write(), Err(StreamError::Closed)));
        drop((output, sockets));
        assert!(received.await.expect("no panic") < written);
    }

    #[tokio::test]
    async fn nothing_is_written_when_the_run_has_ended() {
        let Stuck { gate: _, sockets, output, peer, written } = Stuck::new().await;
        drop(sockets);
        let received = tokio::task::spawn_blocking(|| Stuck::received(peer));
        drop(output);
        assert!(received.await.expect("no panic") < written);
    }

    #[tokio::test]
    async fn a_stream_that_is_shut_down_sends_what_was_written_and_no_more() {
        let Stuck { gate: _, sockets: _sockets, mut output, peer, written } = Stuck::new().await;
        output.shut_down();
        let received = tokio::task::spawn_blocking(|| Stuck::received(peer));
        output.ready().await;
        assert!(matches!(output.check_write(), Err(StreamError::Closed)));
        assert_eq!(received.await.expect("no panic"), written);
    }
}
