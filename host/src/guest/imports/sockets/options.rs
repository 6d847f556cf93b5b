//! Options of a TCP socket, in WASI's units, within what Linux takes.

use std::{os::fd::AsFd, time::Duration};

use rustix::net::sockopt;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

/// Linux takes whole seconds from 1 to this many (tcp(7), MAX_TCP_KEEPIDLE).
const KEEP_ALIVE_SECONDS_MAX: u64 = 32_767;
/// Linux, MAX_TCP_KEEPCNT.
const KEEP_ALIVE_COUNT_MAX: u32 = 127;

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// # Errors
/// 0, as the WIT package says. Others come to the nearest that there is.
pub(super) fn keep_alive_time(nanos: u64) -> Result<Duration, ErrorCode> {
    let limits = Duration::from_secs(1)..=Duration::from_secs(KEEP_ALIVE_SECONDS_MAX);
    match nanos {
        0 => Err(ErrorCode::InvalidArgument),
        nanos => Ok(Duration::from_nanos(nanos).clamp(*limits.start(), *limits.end())),
    }
}

pub(super) fn keep_alive_count(count: u32) -> Result<u32, ErrorCode> {
    if count == 0 { Err(ErrorCode::InvalidArgument) } else { Ok(count.min(KEEP_ALIVE_COUNT_MAX)) }
}

pub(super) fn hop_limit(fd: impl AsFd, family: IpAddressFamily) -> Result<u8, ErrorCode> {
    match family {
        IpAddressFamily::Ipv4 => u8::try_from(sockopt::ip_ttl(fd)?).map_err(|_| ErrorCode::NotSupported),
        IpAddressFamily::Ipv6 => Ok(sockopt::ipv6_unicast_hops(fd)?),
    }
}

pub(super) fn set_hop_limit(fd: impl AsFd, family: IpAddressFamily, value: u8) -> Result<(), ErrorCode> {
    match (family, value) {
        (_, 0) => Err(ErrorCode::InvalidArgument),
        (IpAddressFamily::Ipv4, value) => Ok(sockopt::set_ip_ttl(fd, value.into())?),
        (IpAddressFamily::Ipv6, value) => Ok(sockopt::set_ipv6_unicast_hops(fd, Some(value))?),
    }
}

/// Linux answers with twice of what was asked for (socket(7), SO_SNDBUF).
pub(super) fn buffer_size(size: usize) -> u64 {
    let doubled = cfg!(target_os = "linux");
    (if doubled { size / 2 } else { size }) as u64
}

/// A hint: the kernel has its own limits.
///
/// # Errors
/// 0, as the WIT package says.
pub(super) fn buffer_size_asked(size: u64) -> Result<usize, ErrorCode> {
    let max = i32::MAX as usize;
    if size == 0 { Err(ErrorCode::InvalidArgument) } else { Ok(usize::try_from(size).unwrap_or(max).min(max)) }
}
