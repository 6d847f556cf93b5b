//! HTTP requests that a guest makes, beside the same client without a guest: hyper, with the same settings, to the same
//! server.

use std::{future::Future, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use leasehold::guest::imports::http::{grant::HttpGrant, limits::HttpLimits};
use leasehold_core::task::Outcome;
use leasehold_tests::{
    captured_log::captured_log,
    from_env,
    guest_bench::GuestBench,
    http_server::HttpServer,
    table::{Samples, table},
};

use super::LONG;

const TURNS: u64 = 10;
const REQUESTS: usize = 500;

pub(crate) fn http() {
    let server = HttpServer::start();
    let url = format!("http://localhost:{}/", server.port());
    let bench = GuestBench::default();
    let at_once = HttpLimits::default().in_flight;
    let mut rows = table(&["requests a second, p50", "hyper", "Leasehold", "ratio"]);
    for (name, step, at_once) in
        [("one after the other".to_owned(), "repeat", 1), (format!("{at_once} at once"), "all", at_once)]
    {
        let (mut native, mut ours) = (Samples::new(), Samples::new());
        for _ in 0..from_env("LEASEHOLD_BENCH_ROUNDS").unwrap_or(TURNS) {
            native.add_micros(by_hyper(&url, at_once));
            ours.add_micros(by_a_guest(&bench, &url, step));
        }
        let [native, ours] = [native, ours].map(|samples| REQUESTS as f64 / samples.p50_ms() * 1e3);
        rows.add_row([name, format!("{native:.0}"), format!("{ours:.0}"), format!("{:.2}", ours / native)]);
    }
    println!("HTTP requests to a server on loopback, which has its share of the same cores\n\n{rows}\n");
}

/// How long [`REQUESTS`] take, in microseconds, once a connection is there.
fn by_hyper(url: &str, at_once: usize) -> i64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(8).build(connector());
        ask(&client, url).await;
        let begun = Instant::now();
        let client = &client;
        stream::iter((0..REQUESTS).map(|_| ask(client, url))).buffer_unordered(at_once).for_each(done).await;
        i64::try_from(begun.elapsed().as_micros()).expect("not so long")
    })
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn done((): ()) -> impl Future<Output = ()> {
    std::future::ready(())
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, url: &str) {
    let answer = client.get(url.parse().expect("a URL")).await.expect("an answer");
    assert!(answer.status().is_success());
    answer.into_body().collect().await.expect("a body");
}

fn by_a_guest(bench: &GuestBench, url: &str, step: &str) -> i64 {
    let log = captured_log();
    let mut started = bench.start_with(&bench.module("http-requests"), LONG, |config| {
        let rules = vec![url.parse().expect("a rule")];
        config.http = Arc::new(HttpGrant { rules, ..HttpGrant::default() });
        config.args = vec![format!("GET {url}"), format!("{step} {REQUESTS} {url}")];
    });
    assert_eq!(started.outcome(), Outcome::Returned);
    let lines = log.guest_lines(started.token);
    let [first, last] = &lines[..] else { panic!("{lines:?}") };
    assert!(first.message().contains("200 hello"), "{lines:?}");
    let all = if step == "all" { format!("{REQUESTS} of {REQUESTS}") } else { "200 hello".to_owned() };
    assert!(last.message().contains(&all), "{lines:?}");
    last.at_micros - first.at_micros
}
