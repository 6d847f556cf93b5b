//! `wasi:http/outgoing-handler` against real servers on loopback: what is allowed, what is refused, how long, how large,
//! and that nothing is sent once the run has ended.

mod hostile;
mod limits;
mod requests;
mod rules;
mod stopped;

use std::{sync::Arc, time::Duration};

use leasehold::guest::imports::http::{grant::HttpGrant, limits::HttpLimits, rule::HttpRule, tls};
use leasehold_core::task::Outcome;
use leasehold_tests::{
    captured_log::captured_log,
    event_log::Event,
    guest_bench::{GuestBench, Started},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

const PATIENCE: Duration = Duration::from_secs(300);
const LONG: Duration = Duration::from_secs(3600);

fn rules(texts: &[&str]) -> Vec<HttpRule> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))).collect()
}

/// What these rules allow. A machine may be busy: a test whose subject is a time sets it.
fn grant(texts: &[&str]) -> HttpGrant {
    let limits =
        HttpLimits { connect: PATIENCE, first_byte: PATIENCE, between_bytes: PATIENCE, ..HttpLimits::default() };
    HttpGrant { rules: rules(texts), limits, ..HttpGrant::default() }
}

/// The same, where an authority with this certificate is trusted, and no other.
fn grant_trusting(texts: &[&str], authority: &str) -> HttpGrant {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate")).expect("a certificate");
    HttpGrant { tls: Some(Arc::new(tls::client_config(roots))), ..grant(texts) }
}

/// A run of `http-requests` that goes through `steps`.
fn start(bench: &GuestBench, grant: HttpGrant, valid_for: Duration, steps: &[&str]) -> Started {
    bench.start_with(&bench.module("http-requests"), valid_for, |config| {
        config.http = Arc::new(grant);
        config.args = steps.iter().map(|step| (*step).to_owned()).collect();
    })
}

/// What the guest has printed, and the run's token.
struct Said {
    lines: Vec<String>,
    token: u64,
}

impl Said {
    fn refusals(&self) -> Vec<String> {
        messages(captured_log().events_named(self.token, "http-refused"))
    }

    fn failures(&self) -> Vec<String> {
        messages(captured_log().events_named(self.token, "http-failed"))
    }

    /// One line, and it has this in it.
    fn only(&self, wanted: &str) {
        assert!(self.lines.len() == 1 && self.lines[0].contains(wanted), "no {wanted:?} in {:?}", self.lines);
    }
}

fn messages(events: Vec<Event>) -> Vec<String> {
    events.iter().map(|event| event.message().to_owned()).collect()
}

/// Goes through `steps` to the end.
fn run(bench: &GuestBench, grant: HttpGrant, steps: &[&str]) -> Said {
    let log = captured_log();
    let mut started = start(bench, grant, LONG, steps);
    let outcome = started.outcome();
    let lines = messages(log.guest_lines(started.token));
    assert_eq!(outcome, Outcome::Returned, "{lines:?}");
    Said { lines, token: started.token }
}

/// One step.
fn asked(grant: HttpGrant, step: &str) -> Said {
    run(&GuestBench::default(), grant, &[step])
}
