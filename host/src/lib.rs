//! Leasehold's host: adapters around [`leasehold_core`].
//!
//! In the direction the data flows: [`lease`] (stores), [`supervisor`] (drives the core),
//! [`module`] (where components come from), [`guest`] (runs them). [`config`] is what a person
//! asked for, checked; [`commands`] are what `main` can do. Adapters never import each other.

pub mod admin;
pub mod args;
pub mod clock;
pub mod commands;
pub mod config;
pub mod guest;
mod http_server;
pub mod kubernetes;
pub mod leader_endpoint;
pub mod lease;
pub mod log;
pub mod module;
pub mod priority;
pub mod report;
pub mod supervisor;
pub mod termination;
