//! Once a run has ended, nothing of it is sent: not the rest of a body, and not its end either.

use std::time::{Duration, Instant};

use leasehold_core::task::{Outcome, StopReason};
use leasehold_tests::{captured_log::captured_log, guest_bench::GuestBench, http_server::HttpServer};

use super::{LONG, PATIENCE, grant, grant_trusting, start};

/// The end of a chunked body. With it, what was cut off would look whole.
const END_OF_BODY: &str = "0\r\n\r\n";

/// All that it was sent, when nothing more has come for two seconds. What was written in time is on its way through
/// loopback, and a thread may have to wait for a core to read it.
fn all_received(server: &HttpServer) -> Vec<String> {
    let (begun, mut changed, mut last) = (Instant::now(), Instant::now(), server.received());
    while changed.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
        let received = server.received();
        if received != last {
            (changed, last) = (Instant::now(), received);
        }
        assert!(begun.elapsed() < PATIENCE, "pieces come without end");
    }
    last
}

#[test]
fn a_body_that_is_being_sent_stops_where_it_is_and_is_not_ended() {
    let bench = GuestBench::default();
    for secure in [false, true] {
        let server = if secure { HttpServer::start_tls() } else { HttpServer::start() };
        let url = format!("http{}://localhost:{}/sink", if secure { "s" } else { "" }, server.port());
        let granted = if secure { grant_trusting(&[&url], server.authority()) } else { grant(&[&url]) };
        let mut started = start(&bench, granted, LONG, &[&format!("upload {url}")]);
        server.wait_for("piece 5", |received| received.iter().any(|text| text.contains("piece 5\n")).then_some(()));
        started.guest.end(StopReason::Shutdown);
        assert_eq!(started.outcome(), Outcome::Ended(StopReason::Shutdown));
        // There was a piece every five milliseconds, and there would be without end.
        let at_end = all_received(&server);
        assert!(!at_end[0].ends_with(END_OF_BODY), "the body must not look whole: {:?}", at_end[0]);
    }
}

#[test]
fn the_body_of_a_guest_that_traps_is_not_ended_either() {
    let (bench, server) = (GuestBench::default(), HttpServer::start());
    let url = format!("http://localhost:{}/sink", server.port());
    for _ in 0..20 {
        let mut started = start(&bench, grant(&[&url]), LONG, &[&format!("abort 3 {url}")]);
        let outcome = started.outcome();
        assert!(matches!(outcome, Outcome::Trap(_)), "{outcome:?}");
    }
    server.wait_for("all of them", |received| (received.len() == 20).then_some(()));
    for received in all_received(&server) {
        assert!(!received.ends_with(END_OF_BODY), "the body must not look whole: {received:?}");
    }
}

#[test]
fn at_the_terms_bound_a_body_stops_by_itself() {
    let term = Duration::from_secs(5);
    let (bench, server) = (GuestBench::default(), HttpServer::start());
    let url = format!("http://localhost:{}/sink", server.port());
    let mut started = start(&bench, grant(&[&url]), term, &[&format!("upload {url}")]);
    server.wait_for("piece 5", |received| received.iter().any(|text| text.contains("piece 5\n")).then_some(()));
    // Nobody ends it, and every thread that could drop it is stuck: the socket's own gate is closed.
    let blocked = bench.block_workers();
    let bound = started.guest.gate().valid_until();
    while leasehold::clock::boot() < bound {
        std::thread::sleep(Duration::from_millis(1));
    }
    let at_bound = all_received(&server);
    drop(blocked);
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::LeadershipLost));
    assert_eq!(all_received(&server), at_bound, "nothing is sent after the bound");
    assert!(!at_bound[0].ends_with(END_OF_BODY));
}

#[test]
fn a_guest_that_waits_for_an_answer_is_ended_and_its_connection_with_it() {
    let (bench, server) = (GuestBench::default(), HttpServer::start());
    let url = format!("http://localhost:{}/hang", server.port());
    let mut started = start(&bench, grant(&[&url]), LONG, &[&format!("GET {url}")]);
    server.wait_for("the request", |received| received.iter().any(|text| text.contains("GET /hang")).then_some(()));
    started.guest.end(StopReason::SteppedDown);
    assert_eq!(started.outcome(), Outcome::Ended(StopReason::SteppedDown));
    assert!(
        captured_log().events_named(started.token, "http-failed").is_empty(),
        "nobody is told of what nobody waits for"
    );
}

#[test]
fn connections_of_one_run_are_not_anothers() {
    let (bench, server) = (GuestBench::default(), HttpServer::start());
    let url = format!("http://localhost:{}/", server.port());
    for runs in 1..=3 {
        let mut started = start(&bench, grant(&[&url]), LONG, &[&format!("repeat 3 {url}")]);
        assert_eq!(started.outcome(), Outcome::Returned);
        assert_eq!(server.received().len(), runs);
    }
}
