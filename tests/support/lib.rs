//! What the tests share: the host as a process, guests, a real control plane, a bad network.

pub mod build;
pub mod control_plane;
pub mod host_process;
pub mod network;
