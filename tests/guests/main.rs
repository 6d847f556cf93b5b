//! Guests are started, asked to stop and ended as the WIT package and the design promise, without
//! an election around them.

mod bound;
mod callbacks;
mod files;
mod golden;
mod hostile;
mod http;
mod life;
mod programs;
mod sockets;
