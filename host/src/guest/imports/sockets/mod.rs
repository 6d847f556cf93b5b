//! `wasi:sockets`: TCP to the hosts and ports that the task's config allows, and the look-ups of their names. All else
//! is refused with `access-denied`, and a log line that names the rule that would allow it: other names, other
//! addresses, UDP, listening.
//!
//! | file | what |
//! |---|---|
//! | [`rule`], [`grant`] | what a task's config has of it |
//! | [`names`] | `ip-name-lookup` |
//! | [`tcp`], [`options`] | `tcp`: a socket from its making to its connection |
//! | [`stream`] | the two streams of a connection |
//!
//! Why not WASI's own, of wasmtime: it writes from tasks in the background, which ask no gate, and it resolves whatever
//! it is asked. Here an address can be connected to because a rule names it, or because this run was given it for a name
//! that a rule allows: it is looked up once, by the guest, and what was checked then is what is connected to. However
//! often the name's answer changes, nothing becomes reachable that was not checked.

pub mod grant;
mod names;
mod options;
pub mod rule;
mod stream;
mod tcp;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::{
    p2::{
        Network, SocketError, SocketResult, UdpSocket,
        bindings::sockets::{
            network::{self, ErrorCode, IpAddressFamily},
            udp_create_socket,
        },
    },
    sockets::WasiSocketsView,
};

use self::grant::TcpGrant;
use super::{counts::CallCounts, http::grant::Telling};
use crate::{
    guest::{gate::Gate, outlet::Outlet, state::State},
    log::{Subject, say},
};

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT package has the documentation")]
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package leasehold:host;
            world sockets {
                import wasi:sockets/tcp@0.2.12;
                import wasi:sockets/tcp-create-socket@0.2.12;
                import wasi:sockets/ip-name-lookup@0.2.12;
            }
        ",
        world: "leasehold:host/sockets",
        imports: { default: trappable },
        require_store_data_send: true,
        trappable_error_type: { "wasi:sockets/network.error-code" => wasmtime_wasi::p2::SocketError },
        with: {
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/tcp.tcp-socket": super::tcp::TcpSocket,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::names::Answer,
        },
    });
}

use bindings::wasi::sockets::{ip_name_lookup, tcp as tcp_interface, tcp_create_socket};

/// Puts these in the place of wasmtime's own. Its `udp` stays: without `udp-create-socket` there is nothing to call it on.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp_interface::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    tcp_create_socket::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    ip_name_lookup::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    udp_create_socket::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Addresses that one run was given for names. The oldest is forgotten when there is one more.
const ANSWERS_MAX: usize = 4096;

/// How long what a guest wrote before it returned may take to be sent.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// Sockets of one run. When it is dropped, nothing of the run is sent any more.
pub struct Sockets(Arc<Run>);

/// What the sockets of one run share.
struct Run {
    grant: Arc<TcpGrant>,
    subject: Subject,
    token: u64,
    outlet: Outlet,
    counts: CallCounts,
    answers: Mutex<VecDeque<(Arc<str>, IpAddr)>>,
    /// What was written, and the kernel has not taken yet.
    sends: Mutex<JoinSet<()>>,
}

impl Sockets {
    /// For the run behind `gate`, in the term with this token.
    pub fn new(grant: Arc<TcpGrant>, counts: CallCounts, subject: Subject, token: u64, gate: Arc<Gate>) -> Self {
        Self(Arc::new(Run {
            grant,
            subject,
            token,
            outlet: Outlet::new(gate),
            counts,
            answers: Mutex::default(),
            sends: Mutex::default(),
        }))
    }

    /// Comes when what the guest has written is with the kernel, or was given long enough. For a guest that has returned:
    /// a program expects its last words to be sent as well.
    pub(crate) fn last_bytes(&self) -> impl Future<Output = ()> + use<> {
        let run = self.0.clone();
        let mut sends = std::mem::take(&mut *run.sends.lock().unwrap_or_else(PoisonError::into_inner));
        async move {
            if tokio::time::timeout(LAST_BYTES, async { while sends.join_next().await.is_some() {} }).await.is_err() {
                say!(warn, run.subject, "tcp-unsent", { token = run.token };
                    "{} connections had not taken all that was written {LAST_BYTES:?} after the component's return: cut off",
                    sends.len());
            }
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.0.outlet.end();
        self.0.sends.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Run {
    /// Whether this may be connected to.
    fn admits(&self, address: SocketAddr) -> bool {
        let rules = &self.grant.rules;
        rules.iter().any(|rule| rule.allows_address(address))
            || self
                .names_of(address.ip())
                .iter()
                .any(|name| rules.iter().any(|rule| rule.allows_port_of(name, address.port())))
    }

    /// The names that this run was given this address for.
    fn names_of(&self, address: IpAddr) -> Vec<Arc<str>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter(|(_, given)| *given == address).map(|(name, _)| name.clone()).collect()
    }

    fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if answers.iter().any(|(known, given)| (&**known, given) == (name, address)) {
                continue;
            }
            if answers.len() == ANSWERS_MAX {
                answers.pop_front();
            }
            answers.push_back((name.into(), *address));
        }
    }

    /// Tells of it in the log, once for each thing.
    fn refused(&self, code: ErrorCode, why: &str) -> ErrorCode {
        self.counts.refused.inc();
        match self.grant.told.telling(why) {
            Telling::No => {}
            Telling::Now => say!(warn, self.subject, "tcp-refused", { token = self.token }; "refused: {why}"),
            Telling::AsTheLast => say!(warn, self.subject, "tcp-refused", { token = self.token };
                "refused: {why} (more that is new is no longer told)"),
        }
        code
    }

    fn failed(&self, code: ErrorCode, why: &str) -> ErrorCode {
        self.counts.failed.inc();
        if self.grant.told.telling(why) != Telling::No {
            say!(warn, self.subject, "tcp-failed", { token = self.token }; "{why}");
        }
        code
    }
}

/// What the interfaces above take from it; the guest is linked to wasmtime's own, which this is.
impl network::Host for State {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        WasiSocketsView::sockets(self).network_error_code(error)
    }
}

impl network::HostNetwork for State {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut WasiSocketsView::sockets(self), network)
    }
}

impl udp_create_socket::Host for State {
    async fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(self
            .sockets
            .0
            .refused(ErrorCode::AccessDenied, "a UDP socket: a component may use TCP (allow.tcp) and HTTP (allow.http)")
            .into())
    }
}
