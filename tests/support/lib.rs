//! What the tests share: the host as a process, guests, a real control plane, a whole cluster, a bad network.

pub mod allow_list;
pub mod build;
pub mod captured_log;
pub mod cluster;
pub mod control_plane;
pub mod event_log;
mod from_env;
pub mod guardian;
pub mod guest_bench;
pub mod host_process;
pub mod http_server;
pub mod many_tasks;
pub mod network;
pub mod process_use;
pub mod register;
pub mod table;

pub use from_env::from_env;
