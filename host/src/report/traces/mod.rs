//! Traces, over OTLP: one of each term, with its acquisition, starts, runs, swaps, stops and release as spans.
//!
//! | file | what |
//! |---|---|
//! | [`term`] | from what happens to a task to spans |
//! | [`span`] | a span, and how OTLP writes it in JSON |
//! | [`export`] | the queue, and the thread that sends what is in it |
//!
//! Nothing waits for a collector: spans go into a bounded queue, and one that finds it full is dropped and counted.
//!
//! The encoder and the exporter are our own because spans are few and of one shape: OTLP's own JSON form is written by
//! what is here already (serde, hyper). The OpenTelemetry SDK would bring 15 crates and half a megabyte with it, and does
//! not tell how many spans it has dropped.

pub mod export;
mod span;
mod term;

pub use self::term::TermTraces;
