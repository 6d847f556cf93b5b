//! What the adapters for Kubernetes share: the client, one watch, the question what is allowed,
//! and Events.
//!
//! Connections are HTTP/1.1: a request that is given up closes its connection, so that the next
//! one gets a fresh connection and cannot wait behind a dead one.

pub mod access;
pub mod cluster;
mod connection;
pub mod env;
pub mod events;
pub mod holder;
pub mod own_pod;
pub mod pods;
pub mod pull_secret;
pub mod shared;
pub mod watch;

/// The server's own words; else the ends of the chain of causes, whose beginnings are layers of
/// the client's.
pub(crate) fn in_plain_words(error: &kube::Error) -> String {
    match error {
        // What kube makes of an answer that is no `Status`. Such is this one: "please try again later".
        kube::Error::Api(status) if status.code == 429 => "the API server has too much to do (HTTP 429)".to_owned(),
        kube::Error::Api(status) if status.reason == "Failed to parse error data" => {
            format!("what answers (HTTP {}) is not the API server of a Kubernetes cluster", status.code)
        }
        kube::Error::Api(status) => status.message.clone(),
        error => {
            let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
            let mut words: Vec<_> = causes.map(ToString::to_string).collect();
            words.drain(..words.len().saturating_sub(2));
            words.join(": ")
        }
    }
}
