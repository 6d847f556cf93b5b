//! `wasi:sockets/tcp`: a socket, from its making to its connection. It cannot listen, and is bound to no address of the
//! guest's choice.

use std::{net::SocketAddr, os::fd::AsFd, pin::Pin, sync::Arc, task::Poll};

use futures_util::{FutureExt, future::BoxFuture};
use rustix::net::sockopt;
use tokio::{net, sync::OwnedSemaphorePermit};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Network, Pollable, SocketResult,
    bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress},
    subscribe,
};

use super::{
    Run,
    names::noop_context,
    options,
    stream::{Connection, Input, Output},
    tcp_create_socket,
    tcp_interface::{Host, HostTcpSocket, ShutdownType},
};
use crate::guest::state::State;

/// `tcp-socket`
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct TcpSocket {
    family: IpAddressFamily,
    state: SocketState,
}

/// How far it has come.
enum SocketState {
    /// It counts as an open socket.
    Unconnected {
        socket: net::TcpSocket,
        counted: OwnedSemaphorePermit,
        bind: Bind,
    },
    /// `start-connect` was called.
    Connecting(BoxFuture<'static, Connected>),
    /// It has come to an end that the guest has yet to ask for.
    Ready(Connected),
    Connected(Streams),
    /// For good.
    Failed(ErrorCode),
}

/// What connecting comes to.
type Connected = Result<Arc<Connection>, ErrorCode>;

struct Streams {
    connection: Arc<Connection>,
    input: Input,
    output: Output,
}

/// Whether it was bound, which it need not be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bind {
    No,
    Started,
    Done,
}

impl TcpSocket {
    /// What its options are set on.
    fn fd(&self) -> Result<&dyn AsFd, ErrorCode> {
        match &self.state {
            SocketState::Unconnected { socket, .. } => Ok(socket),
            SocketState::Ready(Ok(connection)) => Ok(&connection.stream),
            SocketState::Connected(connected) => Ok(&connected.connection.stream),
            SocketState::Connecting(_) => Err(ErrorCode::InvalidState),
            SocketState::Ready(Err(code)) | SocketState::Failed(code) => Err(*code),
        }
    }

    fn poll_connected(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        if let SocketState::Connecting(connecting) = &mut self.state {
            let Poll::Ready(connected) = Pin::new(connecting).poll(context) else { return Poll::Pending };
            self.state = SocketState::Ready(connected);
        }
        Poll::Ready(())
    }

    /// Whether it may be used with this address at all: the same family, and nothing that stands for another.
    fn check_family(&self, address: SocketAddr) -> Result<(), ErrorCode> {
        match (self.family, address) {
            (IpAddressFamily::Ipv4, SocketAddr::V4(_)) => Ok(()),
            (IpAddressFamily::Ipv6, SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_none() => Ok(()),
            _ => Err(ErrorCode::InvalidArgument),
        }
    }

    fn start_bind(&mut self, run: &Run, address: SocketAddr) -> Result<(), ErrorCode> {
        self.check_family(address)?;
        let SocketState::Unconnected { socket, bind, .. } = &mut self.state else {
            return Err(ErrorCode::InvalidState);
        };
        match bind {
            Bind::No => {}
            Bind::Started => return Err(ErrorCode::ConcurrencyConflict),
            Bind::Done => return Err(ErrorCode::InvalidState),
        }
        if !address.ip().is_unspecified() || address.port() != 0 {
            let why = format!("a socket bound to {address}: a component can connect (allow.tcp), not be connected to");
            return Err(run.refused(ErrorCode::AccessDenied, &why));
        }
        socket.bind(address)?;
        *bind = Bind::Started;
        Ok(())
    }

    fn finish_bind(&mut self) -> Result<(), ErrorCode> {
        match &mut self.state {
            SocketState::Unconnected { bind: bind @ Bind::Started, .. } => {
                *bind = Bind::Done;
                Ok(())
            }
            _ => Err(ErrorCode::NotInProgress),
        }
    }

    fn start_connect(&mut self, run: &Run, address: SocketAddr) -> Result<(), ErrorCode> {
        self.check_family(address)?;
        match &self.state {
            SocketState::Unconnected { bind: Bind::Started, .. }
            | SocketState::Connecting(_)
            | SocketState::Ready(_) => {
                return Err(ErrorCode::ConcurrencyConflict);
            }
            SocketState::Connected(_) | SocketState::Failed(_) => return Err(ErrorCode::InvalidState),
            SocketState::Unconnected { .. } if address.port() == 0 || address.ip().is_unspecified() => {
                return Err(ErrorCode::InvalidArgument);
            }
            SocketState::Unconnected { .. } => {}
        }
        if !run.admits(address) {
            let rule = match run.names_of(address.ip()).first() {
                Some(name) => format!("{name}:{}", address.port()),
                None => address.to_string(),
            };
            let why = format!("a connection to {address}: to allow it, add \"{rule}\" to allow.tcp");
            return Err(run.refused(ErrorCode::AccessDenied, &why));
        }
        let unconnected = std::mem::replace(&mut self.state, SocketState::Failed(ErrorCode::Unknown));
        let SocketState::Unconnected { socket, counted, .. } = unconnected else { return Err(ErrorCode::InvalidState) };
        let (limit, counts) = (run.grant.limits.connect, run.counts.clone());
        let mut connecting = async move {
            let connected = match tokio::time::timeout(limit, socket.connect(address)).await {
                Ok(connected) => connected.map_err(ErrorCode::from),
                Err(_) => Err(ErrorCode::Timeout),
            };
            let count = if connected.is_ok() { counts.ok } else { counts.failed };
            count.inc();
            Connected::Ok(Arc::new(Connection { stream: connected?, _counted: counted }))
        }
        .boxed();
        // It begins within the guest's call, and goes on within others, or while the guest waits: always behind the gate.
        self.state = match (&mut connecting).now_or_never() {
            Some(connected) => SocketState::Ready(connected),
            None => SocketState::Connecting(connecting),
        };
        Ok(())
    }

    fn finish_connect(&mut self, run: &Arc<Run>) -> Result<(Input, Output), ErrorCode> {
        if self.poll_connected(&mut noop_context()).is_pending() {
            return Err(ErrorCode::WouldBlock);
        }
        match std::mem::replace(&mut self.state, SocketState::Failed(ErrorCode::InvalidState)) {
            SocketState::Ready(Ok(connection)) => {
                let (input, output) = (Input::new(connection.clone()), Output::new(run.clone(), connection.clone()));
                self.state =
                    SocketState::Connected(Streams { connection, input: input.clone(), output: output.clone() });
                Ok((input, output))
            }
            SocketState::Ready(Err(code)) => {
                self.state = SocketState::Failed(code);
                Err(code)
            }
            other => {
                self.state = other;
                Err(ErrorCode::NotInProgress)
            }
        }
    }

    fn local_address(&self) -> Result<SocketAddr, ErrorCode> {
        match &self.state {
            SocketState::Unconnected { socket, bind: Bind::Done, .. } => Ok(socket.local_addr()?),
            SocketState::Connected(connected) => Ok(connected.connection.stream.local_addr()?),
            SocketState::Failed(code) => Err(*code),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    fn connection(&self) -> Result<&Streams, ErrorCode> {
        match &self.state {
            SocketState::Connected(connected) => Ok(connected),
            SocketState::Failed(code) => Err(*code),
            _ => Err(ErrorCode::InvalidState),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_connected(context)).await;
    }
}

fn open(family: IpAddressFamily) -> std::io::Result<net::TcpSocket> {
    match family {
        IpAddressFamily::Ipv4 => net::TcpSocket::new_v4(),
        IpAddressFamily::Ipv6 => {
            let socket = net::TcpSocket::new_v6()?;
            // As the WIT package says; and an address is then what it looks like.
            sockopt::set_ipv6_v6only(&socket, true)?;
            Ok(socket)
        }
    }
}

impl tcp_create_socket::Host for State {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let run = &self.sockets.0;
        if run.grant.rules.is_empty() {
            let why = "a TCP socket: to allow connections, name where to in allow.tcp (\"kafka:9092\")";
            return Err(run.refused(ErrorCode::AccessDenied, why).into());
        }
        let Ok(counted) = run.grant.sockets.clone().try_acquire_owned() else {
            let why = format!(
                "one more than {} sockets at a time: close some, or raise `sockets` under `limits.tcp`",
                run.grant.limits.sockets
            );
            return Err(run.refused(ErrorCode::NewSocketLimit, &why).into());
        };
        let state = SocketState::Unconnected { socket: open(family)?, counted, bind: Bind::No };
        Ok(self.table.push(TcpSocket { family, state })?)
    }
}

impl State {
    fn socket(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<&mut TcpSocket> {
        Ok(self.table.get_mut(socket)?)
    }

    fn option<T>(
        &mut self,
        socket: &Resource<TcpSocket>,
        option: impl FnOnce(&dyn AsFd) -> Result<T, ErrorCode>,
    ) -> SocketResult<T> {
        Ok(option(self.socket(socket)?.fd()?)?)
    }
}

impl Host for State {}

impl HostTcpSocket for State {
    fn start_bind(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let run = self.sockets.0.clone();
        Ok(self.socket(&socket)?.start_bind(&run, address.into())?)
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        Ok(self.socket(&socket)?.finish_bind()?)
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let run = self.sockets.0.clone();
        Ok(self.socket(&socket)?.start_connect(&run, address.into())?)
    }

    fn finish_connect(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let run = self.sockets.0.clone();
        let (input, output) = self.socket(&socket)?.finish_connect(&run)?;
        let input = self.table.push_child(Box::new(input) as DynInputStream, &socket)?;
        let output = self.table.push_child(Box::new(output) as DynOutputStream, &socket)?;
        Ok((input, output))
    }

    fn start_listen(&mut self, socket: Resource<TcpSocket>) -> SocketResult<()> {
        self.table.get(&socket)?;
        let why = "a listening socket: a component can connect (allow.tcp), not be connected to";
        Err(self.sockets.0.refused(ErrorCode::AccessDenied, why).into())
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> SocketResult<()> {
        Err(ErrorCode::NotInProgress.into())
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        Err(ErrorCode::InvalidState.into())
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.socket(&socket)?.local_address()?.into())
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.socket(&socket)?.connection()?.connection.stream.peer_addr()?.into())
    }

    fn is_listening(&mut self, _: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family)
    }

    /// There is no listening: a hint for it is taken, and of no use.
    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        if value == 0 { Err(ErrorCode::InvalidArgument.into()) } else { Ok(()) }
    }

    fn keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> SocketResult<bool> {
        self.option(&socket, |fd| Ok(sockopt::socket_keepalive(fd)?))
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<TcpSocket>, value: bool) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_socket_keepalive(fd, value)?))
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.option(&socket, |fd| Ok(options::nanos(sockopt::tcp_keepidle(fd)?)))
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_tcp_keepidle(fd, options::keep_alive_time(value)?)?))
    }

    fn keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.option(&socket, |fd| Ok(options::nanos(sockopt::tcp_keepintvl(fd)?)))
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_tcp_keepintvl(fd, options::keep_alive_time(value)?)?))
    }

    fn keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u32> {
        self.option(&socket, |fd| Ok(sockopt::tcp_keepcnt(fd)?))
    }

    fn set_keep_alive_count(&mut self, socket: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_tcp_keepcnt(fd, options::keep_alive_count(value)?)?))
    }

    fn hop_limit(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u8> {
        let family = self.socket(&socket)?.family;
        self.option(&socket, |fd| options::hop_limit(fd, family))
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        let family = self.socket(&socket)?.family;
        self.option(&socket, |fd| options::set_hop_limit(fd, family, value))
    }

    fn receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.option(&socket, |fd| Ok(options::buffer_size(sockopt::socket_recv_buffer_size(fd)?)))
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_socket_recv_buffer_size(fd, options::buffer_size_asked(value)?)?))
    }

    fn send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        self.option(&socket, |fd| Ok(options::buffer_size(sockopt::socket_send_buffer_size(fd)?)))
    }

    fn set_send_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.option(&socket, |fd| Ok(sockopt::set_socket_send_buffer_size(fd, options::buffer_size_asked(value)?)?))
    }

    fn subscribe(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, what: ShutdownType) -> SocketResult<()> {
        let connected = self.socket(&socket)?.connection()?;
        if matches!(what, ShutdownType::Receive | ShutdownType::Both) {
            connected.input.shut_down();
        }
        if matches!(what, ShutdownType::Send | ShutdownType::Both) {
            connected.output.shut_down();
        }
        Ok(())
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
