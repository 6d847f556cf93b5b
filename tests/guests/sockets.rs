//! TCP to what a task's config allows, against a real server; all else is refused, in the guest's hands and in the log.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use leasehold::guest::{
    imports::{
        http::address::Resolve,
        sockets::grant::{TcpGrant, TcpLimits},
    },
    runtime::{GuestConfig, GuestCounts},
};
use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{captured_log::captured_log, guest_bench::GuestBench, host_process::PATIENCE};

const LONG: Duration = Duration::from_secs(3600);

/// Answers each line with `hello to you`, and counts the connections it has had.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        // Until the test's process ends, as its threads do.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                counted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
                    let mut line = String::new();
                    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                        // Of a guest that has gone there is nobody to answer.
                        let _ = stream.write_all(b"hello to you\n");
                        line.clear();
                    }
                });
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Each name's answers, one after the other; the last is given for ever.
#[derive(Default)]
struct Names(Mutex<HashMap<&'static str, Vec<Vec<IpAddr>>>>);

impl Names {
    fn of(answers: &[(&'static str, &[&[&str]])]) -> Arc<Self> {
        let ips = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        let of = answers.iter().map(|(name, answers)| (*name, answers.iter().map(ips).collect()));
        Arc::new(Self(Mutex::new(of.collect())))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().expect("not poisoned");
        let answer = match names.get_mut(name) {
            None => Err(io::Error::other("no such host")),
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
        };
        async move { answer }.boxed()
    }
}

fn grant(rules: &[String]) -> TcpGrant {
    TcpGrant::new(rules.iter().map(|rule| rule.parse().expect("a rule")).collect(), TcpLimits::default())
}

/// With these names in the place of the system's.
fn named(names: Arc<Names>, mut grant: TcpGrant) -> TcpGrant {
    grant.resolver = names;
    grant
}

fn steps(config: &mut GuestConfig, grant: TcpGrant, steps: &[&str]) {
    config.tcp = Arc::new(grant);
    config.args = steps.join(" -- ").split(' ').map(str::to_owned).collect();
}

/// Runs these steps to their end, and gives back what each has printed.
fn said(grant: TcpGrant, all: &[&str]) -> (u64, Vec<String>) {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config| steps(config, grant, all));
    assert_eq!(started.outcome(), Outcome::Returned);
    let lines = log.guest_lines(started.token);
    (started.token, lines.iter().map(|line| line.message().to_owned()).collect())
}

fn refusals(token: u64) -> Vec<String> {
    captured_log().events_named(token, "tcp-refused").iter().map(|event| event.message().to_owned()).collect()
}

#[test]
fn what_became_of_connections_is_counted() {
    let server = Server::start();
    let (yes, closed) = (format!("127.0.0.1:{}", server.port), "127.0.0.1:1".to_owned());
    let (bench, counts) = (GuestBench::default(), GuestCounts::default());
    let all = [&*format!("connect {yes}"), &format!("connect {closed}"), "connect 127.0.0.2:2"];
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config| {
        config.counts = counts.clone();
        steps(config, grant(&[yes.clone(), closed.clone()]), &all);
    });
    assert_eq!(started.outcome(), Outcome::Returned);
    assert_eq!([counts.tcp.ok.get(), counts.tcp.failed.get(), counts.tcp.refused.get()], [1, 1, 1]);
}

#[test]
fn an_address_that_is_allowed_is_connected_to_and_no_other() {
    let (allowed, other) = (Server::start(), Server::start());
    let (yes, no) = (format!("127.0.0.1:{}", allowed.port), format!("127.0.0.1:{}", other.port));
    let (token, said) = said(
        grant(std::slice::from_ref(&yes)),
        &[&format!("connect {yes}"), &format!("connect {no}"), &format!("connect {no}")],
    );
    assert_eq!(said[0], format!("connect {yes}: hello to you"));
    assert!(said[1].contains("PermissionDenied") && said[2] == said[1], "{said:?}");
    assert_eq!((allowed.connections(), other.connections()), (1, 0));
    let refusals = refusals(token);
    assert_eq!(refusals, [format!("refused: a connection to {no}: to allow it, add \"{no}\" to allow.tcp")]);
}

#[test]
fn nothing_is_allowed_by_default() {
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port);
    let (token, said) =
        said(TcpGrant::default(), &[&format!("connect {address}"), "lookup localhost", "udp 0.0.0.0:0"]);
    assert!(said.iter().all(|said| said.contains("PermissionDenied") || said.contains("ermission denied")), "{said:?}");
    assert_eq!(server.connections(), 0);
    let refusals = refusals(token);
    assert!(refusals.iter().any(|line| line.contains("name where to in allow.tcp")), "{refusals:?}");
    assert!(refusals.iter().any(|line| line.contains("add \"localhost:PORT\" to allow.tcp")), "{refusals:?}");
    assert!(refusals.iter().any(|line| line.contains("UDP")), "{refusals:?}");
}

#[test]
fn a_name_is_looked_up_and_connected_to_on_its_port_only() {
    let (allowed, other) = (Server::start(), Server::start());
    let (port, wrong) = (allowed.port, other.port);
    let rule = format!("localhost:{port}");
    let (token, said) = said(
        grant(&[rule]),
        &[
            "lookup localhost",
            &format!("connect localhost:{port}"),
            &format!("connect localhost:{wrong}"),
            "lookup elsewhere.test",
            &format!("connect elsewhere.test:{port}"),
        ],
    );
    assert!(said[0].contains("127.0.0.1") || said[0].contains("::1"), "{said:?}");
    assert!(said[1].ends_with("hello to you"), "{said:?}");
    assert!(said[2..].iter().all(|said| said.contains("ermission")), "{said:?}");
    assert_eq!((allowed.connections(), other.connections()), (1, 0));
    let refusals = refusals(token);
    assert!(refusals.iter().any(|line| line.contains(&format!("add \"localhost:{wrong}\""))), "{refusals:?}");
    assert!(refusals.iter().any(|line| line.contains("add \"elsewhere.test:PORT\"")), "{refusals:?}");
}

#[test]
fn a_name_never_leads_to_this_host_its_links_or_a_metadata_service() {
    let server = Server::start();
    let port = server.port;
    let names = Names::of(&[
        ("loopback.test", &[&["127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("six.test", &[&["::1"]]),
        ("any.test", &[&["0.0.0.0"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
        ("link.test", &[&["fe80::1"]]),
    ]);
    let hosts = ["loopback", "mapped", "six", "any", "metadata", "link"].map(|name| format!("{name}.test"));
    let rules: Vec<_> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    let all: Vec<_> = rules.iter().map(|rule| format!("connect {rule}")).collect();
    let direct = ["127.0.0.1", "169.254.169.254", "[::1]"].map(|host| format!("connect {host}:{port}"));
    let all: Vec<_> = all.iter().chain(&direct).map(String::as_str).collect();
    let (token, said) = said(named(names, grant(&rules)), &all);
    assert!(said.iter().all(|said| said.contains("ermission")), "{said:?}");
    assert_eq!(server.connections(), 0);
    let refusals = refusals(token);
    for host in hosts {
        assert!(
            refusals.iter().any(|line| line.contains(&host) && line.contains("a name may not")),
            "{host}: {refusals:?}"
        );
    }
}

#[test]
fn an_answer_that_changes_widens_nothing() {
    let server = Server::start();
    let port = server.port;
    let (safe, bad): (&[&str], &[&str]) = (&["127.0.0.1"], &["10.255.255.1"]);
    // localhost may be the loopback, and nothing else: at the second look-up it is something else.
    let names = Names::of(&[("localhost", &[safe, bad]), ("turns.test", &[&["10.255.255.1"], &["127.0.0.1"]])]);
    let rules = [format!("localhost:{port}"), format!("turns.test:{}", port + 1)];
    let rules = rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
    let grant = named(names, TcpGrant::new(rules, TcpLimits::default()));
    let (_, said) = said(
        grant,
        &[
            &format!("rebind localhost {port}"),
            "lookup turns.test",
            "lookup turns.test",
            // It was answered, for a rule with another port.
            &format!("connect 10.255.255.1:{port}"),
        ],
    );
    assert!(said[0].contains("ermission") && said[0].ends_with("then hello to you"), "{said:?}");
    assert!(said[1].ends_with(": 10.255.255.1") && said[2].contains("ermission"), "{said:?}");
    assert!(said[3].contains("ermission"), "{said:?}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn names_below_a_wildcard_are_looked_up() {
    let names = Names::of(&[("a.db.test", &[&["::ffff:10.0.0.1", "127.0.0.1"]]), ("db.test", &[&["10.0.0.2"]])]);
    let grant = named(names, grant(&["*.db.test:5432".into()]));
    let (_, said) = said(grant, &["lookup a.db.test", "lookup A.DB.test", "lookup none.db.test", "lookup db.test"]);
    assert!(said[0].ends_with(": 10.0.0.1") && said[1].ends_with(": 10.0.0.1"), "{said:?}");
    assert!(!said[2].contains("ermission") && said[3].contains("ermission"), "{said:?}");
}

#[test]
fn listening_and_udp_are_refused() {
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port);
    let all = ["listen 127.0.0.1:0", "listen 0.0.0.0:0", "listen [::]:0", "udp 127.0.0.1:0", "udp 0.0.0.0:0"];
    let (token, said) = said(grant(&[address]), &all);
    assert!(said.iter().all(|said| said.contains("ermission")), "{said:?}");
    let refusals = refusals(token);
    assert!(refusals.iter().any(|line| line.contains("a listening socket")), "{refusals:?}");
    assert!(refusals.iter().any(|line| line.contains("bound to 127.0.0.1:0")), "{refusals:?}");
}

#[test]
fn thousands_of_sockets_are_no_more_than_the_limit_and_come_back() {
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port);
    let limits = TcpLimits { sockets: 20, ..TcpLimits::default() };
    let grant = TcpGrant::new(vec![address.parse().expect("a rule")], limits);
    let (token, said) = said(grant, &[&format!("many {address} 5000"), &format!("churn {address} 1000")]);
    assert!(said[0].contains(": 20 open, then ") && said[0].ends_with("hello to you"), "{said:?}");
    assert!(said[1].ends_with("1000 one after the other"), "{said:?}");
    assert!(refusals(token).iter().any(|line| line.contains("more than 20 sockets") && line.contains("limits.tcp")));
}

#[test]
fn a_connection_that_is_not_made_in_time_is_given_up() {
    // A queue of connections that is full, and nobody to take them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("its address");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queue.push(stream);
    }
    let limits = TcpLimits { connect: Duration::from_millis(300), ..TcpLimits::default() };
    let grant = TcpGrant::new(vec![address.to_string().parse().expect("a rule")], limits);
    let (_, said) = said(grant, &[&format!("connect {address}")]);
    assert!(said[0].contains("TimedOut"), "{said:?}");
}

/// Takes one connection, and reads nothing until it is told to.
struct SlowPeer(TcpListener);

impl SlowPeer {
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        (Self(listener), address)
    }

    /// The connection, once something was sent on it.
    fn accept(&self) -> TcpStream {
        let (stream, _) = self.0.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.peek(&mut [0; 1]).expect("something comes");
        stream
    }
}

/// How much comes until the connection ends.
fn read_to_end(mut stream: TcpStream) -> usize {
    let (mut all, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(length) => all += length,
            // What was not sent ends the connection with a reset.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("after {all} bytes: {error}"),
        }
    }
}

#[test]
fn what_a_program_wrote_last_is_sent_when_it_has_returned() {
    const BYTES: usize = 20 << 20;
    let bench = GuestBench::default();
    let (peer, address) = SlowPeer::start();
    let rule = grant(std::slice::from_ref(&address));
    let last = format!("last {address} {BYTES}");
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config| steps(config, rule, &[&last]));
    assert_eq!(read_to_end(peer.accept()), BYTES);
    assert_eq!(started.outcome(), Outcome::Returned);
}

#[test]
fn the_connections_of_an_ended_guest_end_with_it() {
    let bench = GuestBench::default();
    let (peer, address) = SlowPeer::start();
    let (rule, flood) = (grant(std::slice::from_ref(&address)), format!("flood {address}"));
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config| steps(config, rule, &[&flood]));
    let connection = peer.accept();
    started.guest.end(StopReason::Shutdown);
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::Shutdown));
    // It writes for ever: with the connection open, this would not end.
    assert!(read_to_end(connection) > 0);
}
