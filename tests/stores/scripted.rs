//! An API server that answers what a test wants: for what a real one does after minutes only.

use std::net::SocketAddr;

use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Answers one request after the other out of a list, and tells which they were.
pub(crate) struct Scripted {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
}

/// What is answered: the status, and the body.
pub(crate) type Answer = (u16, String);

impl Scripted {
    /// After the last answer, requests wait for ever.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (tell, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut client, _) = listener.accept().await.expect("a connection");
                // The test may have seen enough.
                let _ = tell.send(request_line(&mut client).await);
                // The end of the connection is the end of the body, as a watch's is.
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n");
                client.write_all((head + &body).as_bytes()).await.expect("it is being read");
                client.shutdown().await.expect("it is being read");
            }
            let mut held = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = tell.send(request_line(&mut client).await);
                held.push(client);
            }
        });
        Self { address, requests }
    }

    pub(crate) fn client(&self) -> Client {
        let address = format!("http://{}", self.address).parse().expect("an address");
        // As a host has it: the election decides when something is tried again.
        let mut config = Config::new(address);
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Method and path of the next request.
    pub(crate) async fn request(&mut self) -> String {
        self.requests.recv().await.expect("it goes on listening")
    }
}

async fn request_line(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("a whole request without a body"));
    }
    String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
}

fn lease(version: u64, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "task", "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": holder},
    })
}

/// A list of one Lease, as it was at `version`.
pub(crate) fn listed(version: u64, holder: &str) -> Answer {
    let list = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "LeaseList",
        "metadata": {"resourceVersion": version.to_string()},
        "items": [lease(version, holder)],
    });
    (200, list.to_string())
}

/// A watch that tells this and ends.
pub(crate) fn watched(events: &[(&str, Value)]) -> Answer {
    let lines = events.iter().map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})));
    (200, lines.collect())
}

pub(crate) fn modified(version: u64, holder: &str) -> (&'static str, Value) {
    ("MODIFIED", lease(version, holder))
}

pub(crate) fn bookmark(version: u64) -> (&'static str, Value) {
    let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    ("BOOKMARK", json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}))
}

/// What the server says when the watch's version is older than what it remembers.
pub(crate) fn too_old() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version: 7 (9)",
        "reason": "Expired",
        "code": 410,
    })
}
