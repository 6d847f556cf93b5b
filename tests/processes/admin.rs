//! The admin address: whom it answers, whoever else is there.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
};

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, PATIENCE},
};
use tempfile::TempDir;

use super::{LEASE, config_map::get, task_events::Events};

fn host(folder: &TempDir, admin: &str) -> HostProcess {
    HostProcess::run_in_folder("only", &guest("prints"), folder.path(), &[&LEASE[..], &["--admin", admin]].concat())
}

fn address(host: &HostProcess) -> SocketAddr {
    let address = host.wait_for_event("admin", 1).line["address"].as_str().expect("an address").to_owned();
    address.parse().expect("an address and a port")
}

fn is_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0, "nothing was asked"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Any Pod that reaches it can open connections. The kubelet restarts a container that does not answer.
#[test]
fn however_many_connections_nobody_asks_on_the_probes_are_answered_and_they_are_closed() {
    let folder = TempDir::new().expect("a folder");
    let host = host(&folder, "127.0.0.1:0");
    host.wait_for_event("guest-started", 1);
    let open = || {
        let mut stream = TcpStream::connect(address(&host)).expect("it listens");
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: te").expect("sent");
        stream
    };
    // They hold their connections for as long as they like; there are fewer of them than places.
    let streams: Vec<_> = (0..32).map(|_| Events::of(&address(&host).to_string(), "/tasks/events")).collect();
    let idle: Vec<_> = (0..400).map(|_| open()).collect();
    for _ in 0..10 {
        assert_eq!(get(&host, "/livez"), (200, "it works\n".to_owned()));
    }
    let (_, metrics) = get(&host, "/metrics");
    // Not every system tells it.
    if cfg!(target_os = "linux") {
        let files = metrics.lines().find_map(|line| line.strip_prefix("process_open_fds ")?.parse::<f64>().ok());
        assert!(files.is_some_and(|files| files < 250.0), "{files:?} files are open");
    }
    // At once, for those that came after them.
    for stream in &idle[..300] {
        is_closed(stream);
    }
    // And the others after a while.
    for stream in &idle[300..] {
        is_closed(stream);
    }
    assert!(host.events_named("lost").is_empty());
    for mut stream in streams {
        stream.next();
    }
}

#[test]
fn a_port_alone_is_on_all_addresses_of_both_families() {
    let folder = TempDir::new().expect("a folder");
    let host = host(&folder, ":0");
    host.wait_for_event("guest-started", 1);
    let port = address(&host).port();
    for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
        let mut events = Events::of(&address.to_string(), "/tasks/prints/events");
        let (_, data) = events.next();
        assert!(data["output"].is_array(), "it is this machine that asks, over either: {data}");
    }
}
