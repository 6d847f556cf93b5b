//! How long a request may take, how large it may be, and how many there may be.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use bytesize::ByteSize;
use leasehold::guest::imports::http::{grant::HttpGrant, limits::HttpLimits};
use leasehold_tests::{guest_bench::GuestBench, http_server::HttpServer};

use super::{asked, grant, grant_trusting, run};

const SHORT: Duration = Duration::from_millis(150);

fn limited(grant: HttpGrant, change: impl FnOnce(&mut HttpLimits)) -> HttpGrant {
    let mut limits = grant.limits;
    change(&mut limits);
    HttpGrant { limits, ..grant }
}

#[test]
fn each_kind_of_waiting_ends() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let first = |limits: &mut HttpLimits| limits.first_byte = SHORT;
    asked(limited(grant(&[&url]), first), &format!("GET {url}hang")).only("error ErrorCode::ConnectionReadTimeout");
    let between = |limits: &mut HttpLimits| limits.between_bytes = SHORT;
    asked(limited(grant(&[&url]), between), &format!("GET {url}stall")).only("error ErrorCode::ConnectionReadTimeout");
    let total = |limits: &mut HttpLimits| limits.total = SHORT;
    for path in ["hang", "stall"] {
        asked(limited(grant(&[&url]), total), &format!("GET {url}{path}")).only("error ErrorCode::HttpResponseTimeout");
    }
}

#[test]
fn a_server_that_accepts_and_then_says_nothing_does_not_keep_a_guest_in_the_handshake() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("https://localhost:{}/", silent.local_addr().expect("it listens").port());
    let authority = HttpServer::start_tls();
    let granted = limited(grant_trusting(&[&url], authority.authority()), |limits| limits.connect = SHORT);
    asked(granted, &format!("GET {url}")).only("error ErrorCode::ConnectionTimeout");
}

#[test]
fn a_guests_own_times_are_kept_where_they_are_shorter() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let said = run(
        &GuestBench::default(),
        grant(&[&url]),
        &[&format!("GET {url}hang first-byte=100"), &format!("GET {url}stall between=100")],
    );
    assert!(said.lines.iter().all(|line| line.contains("error ErrorCode::ConnectionReadTimeout")), "{:?}", said.lines);
}

#[test]
fn what_is_too_large_is_refused_in_both_directions() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let small = |limits: &mut HttpLimits| {
        limits.head = ByteSize::kib(4);
        limits.request_body = ByteSize::b(100);
        limits.response_body = ByteSize::b(100);
    };
    let long = "x".repeat(5000);
    let piece = "x".repeat(101);
    let steps = [
        format!("GET {url}bytes?n=100"),
        format!("GET {url}bytes?n=101"),
        format!("GET {url}head?n=9000"),
        format!("GET {url}?{long}"),
        format!("GET {url} X-Large:{long}"),
        format!("POST {url}echo body={piece}"),
        format!("POST {url}echo Content-Length:101 body={piece}"),
    ];
    let granted = limited(grant(&[&url]), small);
    let said = run(&GuestBench::default(), granted, &steps.iter().map(String::as_str).collect::<Vec<_>>());
    let wanted = [
        "-> 200 xxx",
        "error ErrorCode::HttpResponseBodySize(Some(100))",
        "error ErrorCode::HttpResponseHeaderSectionSize",
        "error ErrorCode::HttpRequestHeaderSectionSize",
        "error ErrorCode::HttpRequestHeaderSectionSize",
        "error ErrorCode::HttpRequestBodySize(Some(100))",
        // The guest's own stream has ended by then.
        "error ErrorCode::HttpRequestBodySize(Some(",
    ];
    for (line, wanted) in said.lines.iter().zip(wanted) {
        assert!(line.contains(wanted), "no {wanted:?} in {}", &line[line.len().saturating_sub(200)..]);
    }
}

#[test]
fn so_many_requests_are_in_flight_and_more_wait_for_a_place_but_not_for_long() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let granted = limited(grant(&[&url]), |limits| {
        limits.in_flight = 8;
        limits.connect = Duration::from_secs(1);
    });
    let said = run(
        &GuestBench::default(),
        granted,
        &[&format!("hold 50 {url}stall"), &format!("drop 1000 {url}stall"), &format!("GET {url}")],
    );
    assert!(
        said.lines[0].contains("8 of 50 are answered, errors: [\"ErrorCode::ConnectionLimitReached\"]"),
        "{:?}",
        said.lines
    );
    // Those that were dropped do not count for long.
    assert!(said.lines[2].contains("200 hello"), "{:?}", said.lines);
    assert!(said.failures().iter().any(|line| line.contains("inFlight")), "{:?}", said.failures());
}

#[test]
fn requests_that_wait_for_a_place_get_it_when_another_has_ended() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let granted = limited(grant(&[&url]), |limits| limits.in_flight = 8);
    asked(granted, &format!("all 100 {url}")).only("100 of 100 are answered, errors: []");
}
