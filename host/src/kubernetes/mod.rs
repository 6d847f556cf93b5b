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
mod words;

pub(crate) use words::in_plain_words;
