//! What the tests share: the host as a process, guests, a real control plane, a bad network.

pub mod build;
pub mod captured_log;
pub mod control_plane;
pub mod guest_bench;
pub mod host_process;
pub mod network;
pub mod register;
