//! A TCP relay on loopback, between a host and the API server, that can be told to be a bad network.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// How the network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// What the server sends is held back this long.
    pub answers_late: Duration,
    /// Nothing gets through in either direction; connections stay open, and new ones are accepted.
    pub silent: bool,
    /// On so many connections, the first ones, nothing gets through for ever; they stay open.
    pub dead_connections: u64,
}

/// Relays connections to one server until it is dropped.
pub struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    bytes_up: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Network {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub async fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port")?;
        let address = listener.local_addr()?;
        let (weather, fine) = watch::channel(Weather::default());
        let bytes_up = Arc::new(AtomicU64::new(0));
        let counted = bytes_up.clone();
        let connections = Arc::new(AtomicU64::new(0));
        let numbers = connections.clone();
        let accepting = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                relays.spawn(relay(client, server, number, fine.clone(), counted.clone()));
            }
        });
        Ok(Self { address, weather, bytes_up, connections, accepting })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for connections that are open as well.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many bytes clients have sent through so far.
    pub fn bytes_up(&self) -> u64 {
        self.bytes_up.load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With the task go the relays it owns, and their connections.
        self.accepting.abort();
    }
}

async fn relay(
    client: TcpStream,
    server: SocketAddr,
    number: u64,
    weather: watch::Receiver<Weather>,
    up: Arc<AtomicU64>,
) {
    // A server that is down is a connection that closes, as it would be without the relay.
    let Ok(server) = TcpStream::connect(server).await else { return };
    // What comes in two pieces, as a request's head and body do, would wait for 40 ms between them.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::join!(
        pump(client_read, server_write, number, weather.clone(), |_| Duration::ZERO, Some(up)),
        pump(server_read, client_write, number, weather, |weather| weather.answers_late, None),
    );
}

/// How many pieces may be under way in one direction of a connection.
const UNDER_WAY_MAX: usize = 64;

/// What arrives is passed on `delay` after it has arrived, however many pieces it arrives in.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    to: impl AsyncWriteExt + Unpin,
    number: u64,
    weather: watch::Receiver<Weather>,
    delay: impl Fn(&Weather) -> Duration,
    count: Option<Arc<AtomicU64>>,
) {
    let (sender, under_way) = mpsc::channel(UNDER_WAY_MAX);
    let reading = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let mut writing = pin!(pass_on(under_way, to, number, weather, delay, count));
    tokio::select! {
        // Nobody takes any more.
        () = &mut writing => return,
        () = reading => {}
    }
    writing.await;
}

async fn pass_on(
    mut under_way: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: impl AsyncWriteExt + Unpin,
    number: u64,
    mut weather: watch::Receiver<Weather>,
    delay: impl Fn(&Weather) -> Duration,
    count: Option<Arc<AtomicU64>>,
) {
    while let Some((arrived, bytes)) = under_way.recv().await {
        let delay = delay(&weather.borrow());
        sleep_until(arrived + delay).await;
        if weather.wait_for(|weather| !weather.silent && number >= weather.dead_connections).await.is_err() {
            return;
        }
        if let Some(count) = &count {
            count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The other side reads the end of the stream; if it is gone itself, there is nobody to tell.
    let _ = to.shutdown().await;
}
