//! Who gets a place, and who has to leave it.

use std::{convert::Infallible, time::Instant};

use axum::routing::get;
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// On a machine that has too much to do.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    address: SocketAddr,
    places: Arc<Places>,
}

impl Bench {
    async fn start(connections_max: usize, idle_max: Duration) -> Self {
        let routes = Router::new()
            .route("/hello", get(async || "hello"))
            .route("/whose", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
            // More than the system takes of what nobody reads.
            .route("/large", get(async || "x".repeat(64 << 20)))
            .route("/stream", get(async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())));
        let server = Server { idle_max, ..Server::new("test", routes, connections_max) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, places) = (listener.local_addr().expect("an address"), server.places.clone());
        tokio::spawn(server.serve(listener));
        Self { address, places }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request(path).as_bytes()).await.expect("sent");
        stream
    }

    async fn free_are(&self, count: usize) {
        let begun = Instant::now();
        while self.places.free() != count {
            assert!(begun.elapsed() < PATIENCE, "{} are free, and not {count}", self.places.free());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The head of an answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a byte"));
    }
    String::from_utf8(head).expect("UTF-8")
}

async fn answer(stream: &mut TcpStream, body: &str) {
    let head = head(stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut read = vec![0; body.len()];
    within(stream.read_exact(&mut read)).await.expect("a body");
    assert_eq!(read, body.as_bytes());
}

/// That nothing comes any more.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match within(stream.read_to_end(&mut rest)).await {
        Ok(_) => assert_eq!(rest, b""),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

async fn within<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, done).await.expect("it takes no longer")
}

#[tokio::test]
async fn who_is_idle_for_longest_makes_room_and_who_is_being_answered_does_not() {
    let bench = Bench::start(3, PATIENCE * 2).await;
    let mut streams = bench.ask("/stream").await;
    head(&mut streams).await;
    // Half a head is no request, and a client whose answer has come is idle again, from then on.
    let mut half = bench.connect().await;
    half.write_all(b"GET /hello HTTP/1.1\r\nHo").await.expect("sent");
    let mut keeps_alive = bench.ask("/hello").await;
    answer(&mut keeps_alive, "hello").await;
    bench.free_are(0).await;
    answer(&mut bench.ask("/hello").await, "hello").await;
    is_closed(&mut half).await;
    keeps_alive.write_all(request("/hello").as_bytes()).await.expect("sent");
    answer(&mut keeps_alive, "hello").await;
    // However many come, there is always one more place.
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(bench.connect().await);
    }
    let begun = Instant::now();
    for _ in 0..30 {
        answer(&mut bench.ask("/hello").await, "hello").await;
    }
    assert!(begun.elapsed() < PATIENCE);
    for stream in &mut idle[..298] {
        is_closed(stream).await;
    }
    // Nothing has come on it, and nothing has ended it.
    assert!(streams.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn while_all_are_being_answered_the_next_one_waits_and_comes_when_one_has_ended() {
    let bench = Bench::start(2, PATIENCE * 2).await;
    let mut streams = [bench.ask("/stream").await, bench.ask("/stream").await];
    for stream in &mut streams {
        head(stream).await;
    }
    let mut next = bench.ask("/hello").await;
    assert!(tokio::time::timeout(Duration::from_millis(200), next.readable()).await.is_err(), "it has no place");
    drop(streams);
    answer(&mut next, "hello").await;
    bench.free_are(1).await;
}

#[tokio::test]
async fn who_asks_nothing_or_reads_nothing_for_too_long_is_closed() {
    let bench = Bench::start(8, Duration::from_millis(300)).await;
    let (mut silent, mut half) = (bench.connect().await, bench.connect().await);
    half.write_all(b"GET /hello HTTP/1.1\r\nHo").await.expect("sent");
    let mut keeps_alive = bench.ask("/hello").await;
    answer(&mut keeps_alive, "hello").await;
    let mut streams = bench.ask("/stream").await;
    head(&mut streams).await;
    let _reads_not = bench.ask("/large").await;
    for stream in [&mut silent, &mut half, &mut keeps_alive] {
        is_closed(stream).await;
    }
    // All but the stream's.
    bench.free_are(7).await;
}

#[tokio::test]
async fn a_handler_knows_who_asks_and_a_head_without_end_is_refused() {
    let bench = Bench::start(2, PATIENCE * 2).await;
    let mut stream = bench.ask("/whose").await;
    let own = stream.local_addr().expect("an address").to_string();
    answer(&mut stream, &own).await;
    let mut endless = bench.connect().await;
    let long = format!("GET /hello HTTP/1.1\r\nHost: test\r\nCookie: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    // It may be closed before all of it is sent.
    let _ = endless.write_all(long.as_bytes()).await;
    let mut status = [0; 12];
    within(endless.read_exact(&mut status)).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 431");
}
