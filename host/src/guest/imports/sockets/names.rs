//! `wasi:sockets/ip-name-lookup`: names that a rule allows, and of their addresses those that a name may have.

use std::{net::IpAddr, pin::Pin, str::FromStr, sync::Arc, task::Poll, vec};

use futures_util::{FutureExt, future::BoxFuture};
use url::Host as UrlHost;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynPollable, Network, Pollable, SocketResult,
    bindings::sockets::network::{ErrorCode, IpAddress},
    subscribe,
};

use super::{
    Run,
    ip_name_lookup::{Host, HostResolveAddressStream},
};
use crate::guest::{
    imports::http::{
        address::{NameError, look_up},
        target::parse_host,
    },
    state::State,
};

/// What a look-up has come to.
type Found = Result<vec::IntoIter<IpAddr>, ErrorCode>;

/// `resolve-address-stream`
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub enum Answer {
    /// Not yet.
    Waiting(BoxFuture<'static, Found>),
    /// The addresses that the guest has yet to take.
    Ready(Found),
}

impl Answer {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<&mut Found> {
        if let Self::Waiting(looking_up) = self {
            let Poll::Ready(found) = Pin::new(looking_up).poll(context) else { return Poll::Pending };
            *self = Self::Ready(found);
        }
        match self {
            Self::Ready(found) => Poll::Ready(found),
            Self::Waiting(_) => Poll::Pending,
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Answer {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context).map(|_| ())).await;
    }
}

impl Run {
    fn resolve(self: &Arc<Self>, text: &str) -> Result<Answer, ErrorCode> {
        // An address is its own answer; whether it may be connected to is seen then.
        if let Some(address) = literal(text) {
            return Ok(Answer::Ready(Ok(vec![address].into_iter())));
        }
        let name = match parse_host(text) {
            Ok(UrlHost::Domain(name)) => name,
            Ok(_) => return Err(ErrorCode::InvalidArgument),
            Err(why) => {
                return Err(self.refused(ErrorCode::InvalidArgument, &format!("the look-up of {text:?}: {why}")));
            }
        };
        if !self.grant.rules.iter().any(|rule| rule.allows_name(&name)) {
            let why = format!("the look-up of {name}: to allow it, add \"{name}:PORT\" to allow.tcp");
            return Err(self.refused(ErrorCode::AccessDenied, &why));
        }
        let Ok(permit) = self.grant.look_ups.clone().try_acquire_owned() else {
            let why = "one look-up more than may be under way at a time: wait for the others' answers";
            return Err(self.refused(ErrorCode::TemporaryResolverFailure, why));
        };
        let (run, limit) = (self.clone(), self.grant.limits.connect);
        let resolving = look_up(&*self.grant.resolver, &name);
        let mut looking_up = async move {
            let found = tokio::time::timeout(limit, resolving).await;
            drop(permit);
            match found {
                Ok(Ok(addresses)) => {
                    // A mapped address is that of IPv4, which is what a socket takes.
                    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_canonical).collect();
                    run.remember(&name, &addresses);
                    Ok(addresses.into_iter())
                }
                Ok(Err(error @ NameError::Prohibited { .. })) => {
                    Err(run.refused(ErrorCode::AccessDenied, &format!("the look-up of {name}: {error}")))
                }
                Ok(Err(NameError::LookUp(_, error))) => {
                    let why = format!("the name {name} cannot be resolved: {error}");
                    Err(run.failed(ErrorCode::NameUnresolvable, &why))
                }
                Err(_) => {
                    let why = format!("the name {name} was not resolved within {limit:?}");
                    Err(run.failed(ErrorCode::TemporaryResolverFailure, &why))
                }
            }
        }
        .boxed();
        // It begins within the guest's call. A task goes on with it, so that it counts as under way whatever becomes of
        // the guest's handle: nothing ends the system's own look-up.
        Ok(match (&mut looking_up).now_or_never() {
            Some(found) => Answer::Ready(found),
            None => {
                let task = tokio::spawn(looking_up);
                Answer::Waiting(async move { task.await.unwrap_or(Err(ErrorCode::Unknown)) }.boxed())
            }
        })
    }
}

/// An address, with or without the brackets of IPv6.
fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    IpAddr::from_str(inner).ok()
}

impl Host for State {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> SocketResult<Resource<Answer>> {
        self.table.get(&network)?;
        Ok(self.table.push(self.sockets.0.resolve(&name)?)?)
    }
}

impl HostResolveAddressStream for State {
    fn resolve_next_address(&mut self, answer: Resource<Answer>) -> SocketResult<Option<IpAddress>> {
        match self.table.get_mut(&answer)?.poll(&mut noop_context()) {
            Poll::Pending => Err(ErrorCode::WouldBlock.into()),
            Poll::Ready(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Poll::Ready(Err(code)) => Err((*code).into()),
        }
    }

    fn subscribe(&mut self, answer: Resource<Answer>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, answer)
    }

    fn drop(&mut self, answer: Resource<Answer>) -> wasmtime::Result<()> {
        self.table.delete(answer)?;
        Ok(())
    }
}

/// For a look at something that is polled in earnest when the guest waits for it.
pub(super) fn noop_context() -> std::task::Context<'static> {
    std::task::Context::from_waker(std::task::Waker::noop())
}
