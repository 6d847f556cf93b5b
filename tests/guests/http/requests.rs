//! What is allowed goes out as it was checked, and comes back.

use std::sync::Arc;

use leasehold::guest::imports::{
    counts::CallCounts,
    http::{grant::HttpGrant, headers::TokenHeader},
};
use leasehold_tests::{guest_bench::GuestBench, http_server::HttpServer};

use super::{asked, grant, grant_trusting, run};

#[test]
fn an_allowed_request_is_sent_as_it_is_and_answered() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let said = asked(grant(&[&url]), &format!("POST {url}echo?a=%20b X-Mine:yes body=text"));
    said.only("-> 200 POST /echo?a=%20b");
    for wanted in ["x-mine=\"yes\"", "body=Ok(\"text\")", &format!("host=\"localhost:{}\"", server.port())] {
        said.only(wanted);
    }
    assert!(said.refusals().is_empty() && said.failures().is_empty());
}

#[test]
fn requests_to_one_host_share_a_connection() {
    let server = HttpServer::start();
    let url = format!("http://127.0.0.1:{}/", server.port());
    let said = asked(grant(&[&url]), &format!("repeat 20 {url}"));
    said.only("repeated: Ok(\"200 hello\")");
    let received = server.received();
    assert_eq!(received.len(), 1, "{received:#?}");
    assert_eq!(received[0].matches("GET / HTTP/1.1").count(), 20);
}

#[test]
fn tls_is_spoken_with_who_is_trusted_and_only_as_who_was_asked() {
    let server = HttpServer::start_tls();
    let url = format!("https://localhost:{}/", server.port());
    asked(grant_trusting(&[&url], server.authority()), &format!("GET {url}")).only("-> 200 hello");

    let other = HttpServer::start_tls();
    let said = asked(grant_trusting(&[&url], other.authority()), &format!("GET {url}"));
    said.only("error ErrorCode::TlsCertificateError");
    assert!(said.failures()[0].contains("caFile"), "{:?}", said.failures());

    let misnamed = HttpServer::start_tls_for(&["another.test"]);
    let url = format!("https://localhost:{}/", misnamed.port());
    let said = asked(grant_trusting(&[&url], misnamed.authority()), &format!("GET {url}"));
    said.only("error ErrorCode::TlsCertificateError");
    assert!(misnamed.received().iter().all(String::is_empty), "nothing was sent: {:?}", misnamed.received());
}

#[test]
fn a_redirect_is_the_guests_to_follow_and_is_checked_again() {
    let (server, other) = (HttpServer::start(), HttpServer::start());
    let url = format!("http://localhost:{}/", server.port());
    let elsewhere = format!("http://localhost:{}/secret", other.port());
    let said = run(
        &GuestBench::default(),
        grant(&[&url]),
        &[&format!("GET {url}redirect?to={elsewhere}"), &format!("GET {elsewhere}")],
    );
    assert!(said.lines[0].contains("-> 302"), "{:?}", said.lines);
    assert!(said.lines[1].contains("error ErrorCode::HttpRequestDenied"), "{:?}", said.lines);
    assert!(other.received().is_empty());
}

#[test]
fn the_fencing_token_is_added_and_is_nobody_elses_to_set() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/echo", server.port());
    let header: TokenHeader = "Leasehold-Token".parse().expect("a name");
    let granted = || HttpGrant { token_header: Some(header.name().clone()), ..grant(&[&url]) };
    let said = asked(granted(), &format!("GET {url}"));
    said.only(&format!("leasehold-token=\"{}\"", said.token));
    for name in ["Leasehold-Token", "leasehold_token"] {
        asked(granted(), &format!("GET {url} {name}:999999")).only("HeaderError::Forbidden");
    }
    assert_eq!(server.received().len(), 1);
}

#[test]
fn what_became_of_requests_is_counted() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let granted = grant(&[&url, "http://localhost:1/"]);
    let counts = granted.counts.clone();
    run(
        &GuestBench::default(),
        granted,
        &[
            &format!("repeat 3 {url}"),
            "GET http://evil.test/",
            "GET http://localhost:1/",
            "GET http://Kubernetes.default.svc/api",
        ],
    );
    let counted = |counts: &CallCounts| [counts.ok.get(), counts.refused.get(), counts.failed.get()];
    assert_eq!(counted(&counts.http), [3, 1, 1]);
    assert_eq!(counted(&counts.kubernetes), [0, 1, 0], "the API server, which is not granted");
}

#[test]
fn a_name_is_looked_up_once_a_connection_and_what_it_then_says_does_not_matter() {
    use std::{
        io,
        net::{IpAddr, Ipv4Addr},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::{FutureExt, future::BoxFuture};
    use leasehold::guest::imports::http::address::Resolve;

    /// The server's address at first, and a cloud's metadata service from then on.
    #[derive(Default)]
    struct Rebinding(AtomicUsize);
    impl Resolve for Rebinding {
        fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
            let address = if first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(169, 254, 169, 254) };
            async move { Ok(vec![address.into()]) }.boxed()
        }
    }

    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let resolver = Arc::new(Rebinding::default());
    let granted = HttpGrant { resolver: resolver.clone(), ..grant(&[&url]) };
    let said = run(&GuestBench::default(), granted, &[&format!("GET {url}"), &format!("repeat 5 {url}")]);
    assert!(said.lines.iter().all(|line| line.contains("200 hello")), "{:?}", said.lines);
    assert_eq!(resolver.0.load(Ordering::Relaxed), 1);
    // A new run has new connections, and so a new look-up, whose answer is not one that `localhost` may have.
    let granted = HttpGrant { resolver, ..grant(&[&url]) };
    asked(granted, &format!("GET {url}")).only("error ErrorCode::DestinationIpProhibited");
    assert_eq!(server.received().len(), 1);
}
