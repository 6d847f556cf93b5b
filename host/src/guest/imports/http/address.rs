//! Which addresses a name may lead to, and the one look-up that a connection is made with.
//!
//! A name that a rule allows may be made to point anywhere by whoever runs its DNS: at the host's own loopback, at the
//! cloud's metadata service. So the addresses themselves are looked at, those of the very answer that the connection is
//! made with. Private ranges are fine: that is where services of a cluster are.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use futures_util::{FutureExt, future::BoxFuture};
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Turns a name into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of the name, in the order to try them.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's own way (`getaddrinfo`, on a thread for what blocks).
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }.boxed()
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// It was not answered, or with none.
    #[error("the name {0} cannot be resolved")]
    LookUp(String, #[source] io::Error),
    /// Its addresses are not for a guest.
    #[error("{name} leads to {address}, {what}: a name may not, only a rule with that address itself")]
    Prohibited {
        /// What was looked up.
        name: String,
        /// The first of them.
        address: IpAddr,
        /// What it is.
        what: &'static str,
    },
}

/// Looks a name up once, and passes on those of its addresses that the name may have.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) resolver: Arc<dyn Resolve>,
    /// False for the API server, whose address is the host's own configuration.
    pub(super) checked: bool,
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = NameError;
    type Future = BoxFuture<'static, Result<Self::Response, NameError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NameError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = find(&*self.resolver, name.as_str(), self.checked);
        async move {
            Ok(found.await?.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        }
        .boxed()
    }
}

/// Looks a name up once: those of its addresses that it may have, at least one.
///
/// # Errors
/// There is none, or none that it may have.
pub fn look_up(resolver: &dyn Resolve, name: &str) -> impl Future<Output = Result<Vec<IpAddr>, NameError>> + use<> {
    find(resolver, name, true)
}

fn find(
    resolver: &dyn Resolve,
    name: &str,
    checked: bool,
) -> impl Future<Output = Result<Vec<IpAddr>, NameError>> + use<> {
    let (name, looking_up) = (name.to_owned(), resolver.resolve(name));
    async move {
        let found = looking_up.await.map_err(|error| NameError::LookUp(name.clone(), error))?;
        let (usable, prohibited): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(|address| (address, if checked { prohibited_for(&name, address) } else { None }))
            .partition(|(_, what)| what.is_none());
        match (usable.is_empty(), prohibited.first()) {
            (true, Some((address, Some(what)))) => Err(NameError::Prohibited { name, address: *address, what }),
            (true, _) => Err(NameError::LookUp(name, io::Error::other("it has no address"))),
            (false, _) => Ok(usable.into_iter().map(|(address, _)| address).collect()),
        }
    }
}

/// What is wrong with this address for this name. `localhost` is the loopback (RFC 6761), and nothing else.
fn prohibited_for(name: &str, address: IpAddr) -> Option<&'static str> {
    if name == "localhost" {
        return (!address.is_loopback()).then_some("which is not the loopback that `localhost` is");
    }
    prohibited(address)
}

/// Metadata services of clouds at addresses that are nobody else's: AWS and GCP over IPv6, Azure, Oracle, Alibaba. The
/// usual one, 169.254.169.254, is link-local.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// What no name may lead to.
pub(super) fn prohibited(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud's metadata service");
    }
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address (a cloud's metadata service, perhaps)"),
        // 0.0.0.0/8 is "this host on this network" (RFC 1122), and Linux connects 0.0.0.0 to the loopback.
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of this host itself"),
        // 240.0.0.0/4 is reserved, with the broadcast address in it.
        IpAddr::V4(v4) if v4.is_multicast() || v4.octets()[0] >= 240 => Some("a multicast or reserved address"),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an address of this host itself"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast or reserved address"),
        // fe80::/10, and fec0::/10, its elder brother (RFC 3879).
        IpAddr::V6(v6) if matches!(v6.segments()[0] & 0xffc0, 0xfe80 | 0xfec0) => Some("a link-local address"),
        IpAddr::V6(v6) => embedded(v6).and_then(|v4| prohibited(IpAddr::V4(v4))),
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96,
/// RFC 6052), 6to4 (2002::/16, RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn no_name_leads_to_this_host_its_links_or_a_metadata_service() {
        let prohibited_ones = [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
        ];
        for address in prohibited_ones {
            assert!(prohibited(ip(address)).is_some(), "{address}");
            assert!(
                address == "::1" || address.starts_with("127") || prohibited_for("localhost", ip(address)).is_some()
            );
        }
    }

    #[test]
    fn services_of_a_cluster_and_of_the_world_may_be_reached() {
        for address in ["10.96.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "1.1.1.1", "fd12::1", "2606:4700::1111"]
        {
            assert_eq!(prohibited(ip(address)), None, "{address}");
        }
        assert_eq!(prohibited_for("localhost", ip("127.0.0.1")), None);
        assert_eq!(prohibited_for("localhost", ip("::1")), None);
        assert!(prohibited_for("localhost", ip("10.0.0.1")).is_some());
        assert!(prohibited_for("x.localhost", ip("127.0.0.1")).is_some());
    }

    /// Answers another list each time.
    struct Changing(Vec<Vec<IpAddr>>, AtomicUsize);

    impl Resolve for Changing {
        fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let time = self.1.fetch_add(1, Ordering::Relaxed);
            let answer = self.0[time % self.0.len()].clone();
            async move { Ok(answer) }.boxed()
        }
    }

    #[tokio::test]
    async fn each_answer_is_checked_and_only_what_was_checked_is_passed_on() {
        let answers = vec![
            vec![ip("10.0.0.1"), ip("127.0.0.1"), ip("10.0.0.2")],
            vec![ip("127.0.0.1")],
            vec![],
            vec![ip("::ffff:169.254.169.254"), ip("fe80::1")],
        ];
        let resolver = Arc::new(Changing(answers, AtomicUsize::default()));
        let mut names = Names { resolver: resolver.clone(), checked: true };
        let name = || "rebind.test".parse::<Name>().expect("a name");
        let first: Vec<_> = names.call(name()).await.expect("two may be used").map(|address| address.ip()).collect();
        assert_eq!(first, [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(resolver.1.load(Ordering::Relaxed), 1, "one look-up");
        assert!(matches!(names.call(name()).await, Err(NameError::Prohibited { .. })));
        assert!(matches!(names.call(name()).await, Err(NameError::LookUp(..))));
        assert!(matches!(names.call(name()).await, Err(NameError::Prohibited { .. })));
    }
}
