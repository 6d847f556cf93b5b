//! Running components: compile and check ahead, instantiate when the Lease is won, end in time.
//!
//! [`runtime`] is the way in; [`gate`] holds the promise that nothing runs and nothing leaves
//! after the term's bound.

pub mod cache;
pub mod compile;
mod core_module;
pub mod cpu;
pub mod engine;
pub mod env;
pub mod files;
pub mod gate;
pub mod imports;
pub mod limits;
pub mod module;
pub mod outlet;
pub mod runtime;
mod state;
pub mod world;
