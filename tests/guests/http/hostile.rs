//! Guests that want out.

use std::{
    io,
    net::{IpAddr, TcpListener},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use leasehold::guest::imports::http::{address::Resolve, grant::HttpGrant};
use leasehold_tests::{guest_bench::GuestBench, http_server::HttpServer};

use super::{asked, grant, run};

/// Every name is here.
struct Everywhere(Vec<IpAddr>);

impl Resolve for Everywhere {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let addresses = self.0.clone();
        async move { Ok(addresses) }.boxed()
    }
}

#[test]
fn without_a_rule_every_request_is_refused_and_the_log_names_the_rule() {
    let server = HttpServer::start();
    let said = asked(HttpGrant::default(), &format!("GET http://localhost:{}/v1/users?id=7", server.port()));
    said.only("error ErrorCode::HttpRequestDenied");
    let wanted = format!("add \"http://localhost:{}/v1/\" to allow.http", server.port());
    assert!(said.refusals()[0].contains(&wanted), "{:?}", said.refusals());
    assert!(server.received().is_empty());
}

#[test]
fn no_spelling_of_a_url_gets_around_the_rules() {
    let server = HttpServer::start();
    let port = server.port();
    let granted = grant(&[&format!("http://localhost:{port}/v1/"), &format!("http://127.0.0.1:{port}/v1/")]);
    let tricks = [
        format!("http://localhost:{port}/secret"),
        format!("http://localhost:{port}/v1"),
        format!("http://localhost:{port}/v10/"),
        format!("http://localhost:{port}/v1/../secret"),
        format!("http://localhost:{port}/v1/%2e%2e/secret"),
        format!("http://localhost:{port}/v1/%2E%2E%2Fsecret"),
        format!("http://localhost:{port}/v1/..%5csecret"),
        format!("http://localhost:{port}/v1/..\\secret"),
        format!("http://localhost:{port}/v1/%252e%252e/secret"),
        format!("http://localhost:{port}/v1/..;/secret"),
        format!("http://localhost:{port}//v1/"),
        format!("http://localhost:{port}"),
        format!("http://localhost:{port}?/v1/"),
        format!("http://localhost.:{port}/v1/"),
        format!("http://x@localhost:{port}/v1/"),
        format!("http://localhost:80@127.0.0.1:{port}/secret"),
        format!("http://127.1:{port}/v1/"),
        format!("http://0x7f.1:{port}/v1/"),
        format!("http://2130706433:{port}/v1/"),
        format!("http://0177.0.0.1:{port}/v1/"),
        format!("http://0.0.0.0:{port}/v1/"),
        format!("http://[::ffff:127.0.0.1]:{port}/v1/"),
        format!("http://[::ffff:7f00:1]:{port}/v1/"),
        format!("http://[::1%25lo]:{port}/v1/"),
        format!("http://127.0.0.2:{port}/v1/"),
        format!("https://localhost:{port}/v1/"),
        format!("http://sub.localhost:{port}/v1/"),
        format!("ftp://localhost:{port}/v1/"),
    ];
    let steps: Vec<_> = tricks.iter().map(|url| format!("GET {url}")).collect();
    let said = run(&GuestBench::default(), granted, &steps.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(said.lines.len(), tricks.len());
    for line in &said.lines {
        let refused = [
            "error ErrorCode::HttpRequestDenied",
            "error invalid ",
            "ErrorCode::HttpRequestUriInvalid",
            "ErrorCode::HttpProtocolError",
        ];
        assert!(refused.iter().any(|how| line.contains(how)), "{line}");
    }
    assert!(server.received().is_empty(), "{:?}", server.received());
    assert!(said.refusals().iter().all(|line| !line.contains("x@")), "{:?}", said.refusals());
    // The rule itself, in the spellings that are its own.
    let granted = grant(&[&format!("http://localhost:{port}/v1/")]);
    asked(granted, &format!("GET http://LOCALHOST:{port}/v1/a%2Fb")).only("200 hello");
}

#[test]
fn a_name_that_leads_to_this_host_or_to_a_metadata_service_is_not_connected_to() {
    let here = TcpListener::bind("127.0.0.1:0").expect("a port");
    here.set_nonblocking(true).expect("it is a socket");
    let port = here.local_addr().expect("it listens").port();
    let url = format!("http://rebind.test:{port}/");
    let addresses = [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
    ];
    let bench = GuestBench::default();
    for address in addresses {
        let resolver = Arc::new(Everywhere(vec![address.parse().expect("an address")]));
        let said = run(&bench, HttpGrant { resolver, ..grant(&[&url]) }, &[&format!("GET {url}")]);
        said.only("error ErrorCode::DestinationIpProhibited");
        assert!(said.failures()[0].contains("rebind.test leads to"), "{:?}", said.failures());
    }
    let connected = here.accept();
    assert!(matches!(&connected, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{connected:?}");
}

#[test]
fn headers_that_frame_a_message_cannot_be_set() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/echo", server.port());
    let smuggled = [
        "Host:evil.test",
        "host:evil.test",
        "Connection:keep-alive,x",
        "Keep-Alive:timeout=9",
        "Proxy-Connection:close",
        "Transfer-Encoding:chunked",
        "transfer_encoding:chunked",
        "TE:trailers",
        "Trailer:x",
        "Upgrade:h2c",
        "HTTP2-Settings:x",
        "Expect:100-continue",
        "X:a\\r\\nGET",
        "X\\r\\nHost:evil.test",
        "X\u{a0}:a",
        "Content-Length:+5",
        "Content-Length:5,5",
    ];
    let steps: Vec<_> = smuggled.iter().map(|header| format!("POST {url} {header} body=hello")).collect();
    let said = run(&GuestBench::default(), grant(&[&url]), &steps.iter().map(String::as_str).collect::<Vec<_>>());
    for (header, line) in smuggled.iter().zip(&said.lines) {
        assert!(line.contains("error "), "{header}: {line}");
    }
    assert!(server.received().iter().all(String::is_empty), "{:?}", server.received());
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_makes_no_second_request() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/echo", server.port());
    let said = run(
        &GuestBench::default(),
        grant(&[&url]),
        &[
            // Longer: what is over would be the next request.
            &format!("POST {url} Content-Length:4 body=textGET_/secret_HTTP/1.1"),
            // Shorter: the next request would be the rest of it.
            &format!("POST {url} Content-Length:99 body=text"),
            &format!("POST {url} Content-Length:4 Content-Length:5 body=text"),
            &format!("GET {url} Content-Length:4"),
            &format!("GET {url}"),
        ],
    );
    assert!(said.lines[..4].iter().all(|line| line.contains("error ")), "{:?}", said.lines);
    assert!(said.lines[4].contains("-> 200 GET /echo"), "{:?}", said.lines);
    for connection in server.received() {
        assert!(!connection.contains("secret"), "{connection}");
        let requests = connection.matches(" HTTP/1.1\r\n").count();
        let cut_off = connection.contains("content-length: 99");
        assert!(!cut_off || requests == 1, "nothing follows a body that was cut off: {connection}");
    }
}

#[test]
fn methods_that_are_for_proxies_are_refused() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let said = run(&GuestBench::default(), grant(&[&url]), &[&format!("CONNECT {url}"), &format!("TRACE {url}")]);
    assert!(said.lines.iter().all(|line| line.contains("error ErrorCode::HttpRequestDenied")), "{:?}", said.lines);
    assert!(server.received().is_empty());
}

#[test]
fn a_guest_that_makes_up_urls_fills_no_log() {
    let long = asked(HttpGrant::default(), &format!("repeat 2 http://evil.test/{}/", "x".repeat(50_000)));
    assert!(long.refusals().len() == 1 && long.refusals()[0].len() < 2000, "{} bytes", long.refusals()[0].len());

    let steps: Vec<_> = (0..300).map(|number| format!("GET http://evil-{number}.test/")).collect();
    let said = run(&GuestBench::default(), HttpGrant::default(), &steps.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((said.lines.len(), said.refusals().len()), (300, 100));
    assert!(said.refusals()[99].contains("no longer told"), "{:?}", said.refusals()[99]);
    // One URL, asked for again and again, is one line.
    let said = asked(HttpGrant::default(), "repeat 5 http://evil.test/");
    assert_eq!(said.refusals().len(), 1);
}
