//! Tests of the task, each a script: time, the leadership, what the guest does, what is commanded.

mod bench;
mod callbacks;
mod label;
mod progress;
mod properties;
mod requested;
mod returns;
mod stops;
mod swaps;
