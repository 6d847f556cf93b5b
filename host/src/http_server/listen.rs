//! Listens at more than one address for one port.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::{io::Errno, net::sockopt::set_ipv6_v6only};
use tokio::net::{TcpListener, TcpSocket};

/// As many may wait to be taken; it is what tokio has.
const BACKLOG: u32 = 1024;
/// How often another free port is tried, where any will do.
const TRIES: u32 = 16;

/// At all addresses of this machine, of IPv6 and IPv4: in a Pod it is the cluster that decides of which family there are.
///
/// # Errors
/// It cannot be listened there.
pub(crate) async fn everywhere(port: u16) -> io::Result<TcpListener> {
    or_over_ipv4(everywhere_over_ipv6(port), port).await
}

fn everywhere_over_ipv6(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    // Whatever `net.ipv6.bindv6only` says.
    set_ipv6_v6only(&socket, false)?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

async fn or_over_ipv4(listening: io::Result<TcpListener>, port: u16) -> io::Result<TcpListener> {
    match listening {
        Err(error) if has_no_ipv6(&error) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        listening => listening,
    }
}

/// At 127.0.0.1, and at `[::1]` where the machine has it: a client that asks for `localhost` may be sent to either.
///
/// # Errors
/// It cannot be listened at one of them.
pub(crate) async fn on_loopback(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut more_tries = if port == 0 { TRIES - 1 } else { 0 };
    loop {
        let over_ipv4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let same_port = over_ipv4.local_addr()?.port();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, same_port)).await {
            Ok(over_ipv6) => return Ok(vec![over_ipv4, over_ipv6]),
            Err(error) if has_no_ipv6(&error) => return Ok(vec![over_ipv4]),
            // It is another's there.
            Err(_) if more_tries > 0 => more_tries -= 1,
            Err(error) => {
                let address = SocketAddr::from((Ipv6Addr::LOCALHOST, same_port));
                return Err(io::Error::new(error.kind(), format!("{address}: {error}")));
            }
        }
    }
}

/// The kernel has none, or has it switched off.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn everywhere_is_over_both_and_over_ipv4_where_there_is_no_other() {
        let both = everywhere(0).await.expect("it listens");
        let port = both.local_addr().expect("an address").port();
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
            let (reached, accepted) = tokio::join!(TcpStream::connect(address), both.accept());
            reached.expect("it is reached");
            let (_, peer) = accepted.expect("it is taken");
            assert_eq!(peer.ip().to_canonical(), address.ip());
        }
        let none = |errno: Errno| or_over_ipv4(Err(errno.into()), 0);
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let listener = none(errno).await.expect("it listens");
            assert_eq!(listener.local_addr().expect("an address").ip(), Ipv4Addr::UNSPECIFIED);
        }
        let taken = none(Errno::ADDRINUSE).await.expect_err("it is another's");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn on_loopback_one_port_is_listened_at_twice_and_no_half_of_it_is_left_to_another() {
        let listeners = on_loopback(0).await.expect("it listens");
        let [over_ipv4, over_ipv6] = &listeners[..] else { panic!("{listeners:?}") };
        let port = over_ipv4.local_addr().expect("an address").port();
        assert_eq!(over_ipv4.local_addr().expect("an address"), (Ipv4Addr::LOCALHOST, port).into());
        assert_eq!(over_ipv6.local_addr().expect("an address"), (Ipv6Addr::LOCALHOST, port).into());
        let anothers = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("it listens");
        let port = anothers.local_addr().expect("an address").port();
        let refused = on_loopback(port).await.expect_err("half of it is taken");
        // Where the other half is taken as well, it is that one that is told.
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
