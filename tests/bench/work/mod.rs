//! One program (`guest-examples/measures`) in three ways: built natively; run by wasmtime as it comes, without epochs
//! and without a gate; and as a task by Leasehold. What each costs is the difference of the two last.

mod http;
mod plain;

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread,
    time::Duration,
};

use leasehold::guest::imports::sockets::grant::{TcpGrant, TcpLimits};
use leasehold_core::task::Outcome;
use leasehold_tests::{
    build,
    captured_log::captured_log,
    from_env,
    guest_bench::GuestBench,
    table::{Samples, table},
};

pub(crate) use http::http;
use plain::Plain;

const LONG: Duration = Duration::from_secs(3600);
/// How often each has its turn, and how often it does the work then.
const TURNS: u64 = 5;
const ROUNDS: &str = "5";

/// What computes: no call of the host in it, but one at its beginning and its end.
pub(crate) fn cpu() {
    let compared = Compared::new();
    let mut rows = table(&["ms, p50 (max, n)", "native", "wasmtime", "Leasehold", "to native", "to wasmtime"]);
    for work in ["primes", "words", "sort", "bodies", "loop"] {
        let times = compared.times(&[work]);
        let [native, plain, ours] = times.each_ref().map(Samples::p50_ms);
        let ratios = [ours / native, ours / plain].map(|ratio| format!("{ratio:.2}"));
        rows.add_row([&[work.to_owned()], &times.map(|samples| samples.cell())[..], &ratios].concat());
    }
    println!("A program that computes\n\n{rows}\n");
}

/// What leaves the guest.
pub(crate) fn calls() {
    let compared = Compared::new();
    let echo = echo_server();
    let mut rows = table(&["microseconds a call, p50", "native", "wasmtime", "Leasehold", "to native", "to wasmtime"]);
    let echo = echo.to_string();
    for (name, work, calls) in [
        ("the clock is read twice", &["clock"][..], 10_000.0),
        ("a byte over TCP, and one back", &["echo", &echo], 1_000.0),
    ] {
        let [native, plain, ours] = compared.times(work).each_ref().map(|samples| samples.p50_ms() * 1e3 / calls);
        let micros = [native, plain, ours].map(|micros| format!("{micros:.3}"));
        let ratios = [ours / native, ours / plain].map(|ratio| format!("{ratio:.2}"));
        rows.add_row([&[name.to_owned()], &micros[..], &ratios].concat());
    }
    println!("Calls that leave the guest, each of them behind the gate in Leasehold\n\n{rows}\n");
}

/// Answers each byte, until this process ends.
fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                stream.set_nodelay(true).expect("it may be set");
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    address
}

struct Compared {
    plain: Plain,
    bench: GuestBench,
}

impl Compared {
    fn new() -> Self {
        // It hears from here on.
        captured_log();
        Self { plain: Plain::new(&build::guest("measures")), bench: GuestBench::default() }
    }

    /// Native, wasmtime, Leasehold, in turns.
    fn times(&self, work: &[&str]) -> [Samples; 3] {
        let mut times = [Samples::new(), Samples::new(), Samples::new()];
        let args = [&[ROUNDS], work].concat();
        for _ in 0..from_env("LEASEHOLD_BENCH_ROUNDS").unwrap_or(TURNS) {
            for (samples, printed) in times.iter_mut().zip([native(&args), self.plain.run(&args), self.ours(&args)]) {
                for line in printed {
                    let nanos: i64 = line.parse().expect("measures prints numbers");
                    samples.add_micros(nanos / 1_000);
                }
            }
        }
        times
    }

    fn ours(&self, args: &[&str]) -> Vec<String> {
        let mut started = self.bench.start_with(&self.bench.module("measures"), LONG, |config| {
            config.args = args.iter().map(|arg| (*arg).to_owned()).collect();
            if let Some(address) = args.iter().find(|arg| arg.contains(':')) {
                config.tcp = TcpGrant::new(vec![address.parse().expect("an address")], TcpLimits::default()).into();
            }
        });
        assert_eq!(started.outcome(), Outcome::Returned);
        captured_log().guest_lines(started.token).iter().map(|line| line.message().to_owned()).collect()
    }
}

fn native(args: &[&str]) -> Vec<String> {
    let output = Command::new(build::native("measures")).args(args).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("numbers").lines().map(str::to_owned).collect()
}
