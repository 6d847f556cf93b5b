//! A host whose log nobody reads, through a pipe that is full: it works on, and ends when it is asked to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::{self, guest},
    event_log::Event,
    host_process::PATIENCE,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

struct Unread {
    child: Child,
    log: BufReader<ChildStdout>,
    admin: String,
    _folder: TempDir,
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended, as it was asked to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Unread {
    /// Leads, and prints all the time; its log is read up to its start, and not from there on.
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new(build::leasehold());
        command.arg("run").arg(guest("heartbeat")).args(["--env", "BEAT_MS=1", "--log-format", "json"]);
        command.args(["--lease-store", &format!("file:{}", folder.path().display()), "--admin", "127.0.0.1:0"]);
        command.args(["--lease-duration", "6s", "--renew-deadline", "4s", "--retry-period", "1s"]);
        command.env_remove("RUST_LOG").env_remove("KUBERNETES_SERVICE_HOST");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("leasehold starts");
        let mut log = BufReader::new(child.stdout.take().expect("it is piped"));
        let admin = read_to(&mut log, "admin").line["address"].as_str().expect("an address").to_owned();
        read_to(&mut log, "guest-started");
        Self { child, log, admin, _folder: folder }
    }

    fn metric(&self, series: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.admin).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let value = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {answer}")).parse().expect("a number")
    }

    fn wait_until(&self, series: &str, is: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        while !is(self.metric(series)) {
            assert!(begun.elapsed() < PATIENCE, "{series} is {}", self.metric(series));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn read_to(log: &mut BufReader<ChildStdout>, event: &str) -> Event {
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).expect("it is text") > 0, "it ended before {event}");
        let told = Event::parse(line.as_bytes()).expect("an event");
        if told.name() == event {
            return told;
        }
    }
}

#[test]
fn it_leads_on_says_what_is_missing_when_it_is_read_again_and_ends_when_it_is_asked_to() {
    const DROPPED: &str = "leasehold_log_lines_dropped_total";
    const RENEWED: &str = "leasehold_lease_requests_total{task=\"heartbeat\",kind=\"renew\",result=\"ok\"}";
    let mut host = Unread::start();
    host.wait_until(DROPPED, |lines| lines > 0.0);
    let renewed = host.metric(RENEWED);
    host.wait_until(RENEWED, |count| count >= renewed + 4.0);
    assert_eq!(host.metric("leasehold_terms_ended_total{task=\"heartbeat\",reason=\"expired\"}"), 0.0);
    let told = read_to(&mut host.log, "log-dropped");
    assert!(told.line["lines"].as_u64().is_some_and(|lines| lines > 0), "{told}");

    // And again nobody reads.
    let dropped = host.metric(DROPPED);
    host.wait_until(DROPPED, |lines| lines > dropped);
    kill_process(Pid::from_child(&host.child), Signal::TERM).expect("asked");
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = host.child.try_wait().expect("it can be waited for") {
            break ended;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(0));
}
