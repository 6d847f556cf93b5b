//! A real HTTP server on loopback, with TLS or without, that keeps every byte it was sent.
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request as it was understood: method, URL, headers, body |
//! | `/redirect?to=URL` | 302, there |
//! | `/hang` | never |
//! | `/stall` | a head, one piece of a body, and no more |
//! | `/bytes?n=N`, `/head?n=N` | a body, a header, of so many bytes |
//! | `/sink` | when the body has ended |
//! | anything else | `hello` |

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    serve::Listener,
};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::host_process::PATIENCE;

/// See the module's documentation. It ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    connections: Connections,
    authority: Option<String>,
    // Its tasks end with it.
    _runtime: tokio::runtime::Runtime,
}

/// What was read from each, in the order in which they were made.
type Connections = Arc<Mutex<Vec<Vec<u8>>>>;

impl HttpServer {
    /// Without TLS.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// With TLS, for `localhost` and 127.0.0.1, by an authority of its own that nobody else knows.
    pub fn start_tls() -> Self {
        Self::with(Some(["localhost".to_owned(), "127.0.0.1".to_owned()].into()))
    }

    /// The same, for these hosts.
    pub fn start_tls_for(hosts: &[&str]) -> Self {
        Self::with(Some(hosts.iter().map(|host| (*host).to_owned()).collect()))
    }

    fn with(tls_for: Option<Vec<String>>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let tcp = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = tcp.local_addr().expect("it listens");
        let connections = Connections::default();
        let (authority, tls) = tls_for.map(certificates).unzip();
        let listener = Recording { tcp, tls, connections: connections.clone() };
        let app = Router::new().fallback(answer);
        runtime.spawn(async { axum::serve(listener, app).await });
        Self { address, connections, authority, _runtime: runtime }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate of its authority, as PEM.
    ///
    /// # Panics
    /// It speaks without TLS.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().expect("it has TLS")
    }

    /// What it was sent, a text a connection.
    pub fn received(&self) -> Vec<String> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Waits until `found` finds something in what it was sent.
    ///
    /// # Panics
    /// It does not within [`PATIENCE`].
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let received = self.received();
            if let Some(found) = found(&received) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not come; there is {received:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An authority's certificate, and what a server of these hosts needs.
fn certificates(hosts: Vec<String>) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(hosts).expect("names").signed_by(&key, &authority).expect("a certificate");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("the key is the certificate's");
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn answer(request: Request) -> Response {
    let number = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        query.strip_prefix(name).and_then(|n| n.parse::<usize>().ok()).unwrap_or_default()
    };
    match request.uri().path() {
        "/echo" => echo(request).await,
        "/redirect" => {
            let to = request.uri().query().and_then(|query| query.strip_prefix("to=")).unwrap_or_default().to_owned();
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
        "/hang" => std::future::pending().await,
        "/stall" => {
            let pieces = stream::iter([Ok::<_, Infallible>(Bytes::from("one piece"))]).chain(stream::pending());
            Body::from_stream(pieces).into_response()
        }
        "/bytes" => "x".repeat(number("n=")).into_response(),
        "/head" => ([("x-large", "x".repeat(number("n=")))], "hello").into_response(),
        "/sink" => {
            let ended = request.into_body().collect().await;
            if ended.is_ok() { "all of it" } else { "cut off" }.into_response()
        }
        _ => "hello".into_response(),
    }
}

async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers: String = parts.headers.iter().map(|(name, value)| format!("{name}={value:?} ")).collect();
    let body = body.collect().await.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    format!("{} {} {headers}body={body:?}", parts.method, parts.uri).into_response()
}

/// Keeps what is read.
struct Recording {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Connections,
}

/// One connection.
struct Recorded {
    stream: Box<dyn Stream>,
    index: usize,
    connections: Connections,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Listener for Recording {
    type Io = Recorded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Recorded, SocketAddr) {
        loop {
            let (tcp, from) = Listener::accept(&mut self.tcp).await;
            let index = {
                let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.push(Vec::new());
                connections.len() - 1
            };
            // Who does not trust it is gone after this.
            let Ok(stream) = self.secure(tcp).await else { continue };
            return (Recorded { stream, index, connections: self.connections.clone() }, from);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Recording {
    async fn secure(&self, tcp: TcpStream) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(tls.accept(tcp).await?),
        })
    }
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections[self.index].extend_from_slice(&into.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
