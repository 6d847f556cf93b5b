//! Tests of the election, each a script: time, what happens, what is asked of the store.

mod bench;
mod checkpoint;
mod coordinated;
mod ended;
mod modules;
mod properties;
mod requested;
mod standby;
mod step_down;
mod term;
