//! Hosts as processes of their own, end to end.

mod cluster;
mod dev;
mod folder;
