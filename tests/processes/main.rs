//! Hosts as processes of their own, end to end.

mod bad_input;
mod cluster;
mod dev;
mod folder;
