//! Leasehold on one Lease with electors that others have made: client-go's, the Java client's, the
//! Python client's, and the naive kind that scripts have. Real processes, a real API server, one clock.
//!
//! What each of them really does on the Lease is in `tests/peers/README.md`.

mod chaos;
mod handovers;
mod history;
mod judge;
#[cfg(test)]
mod judge_tests;
mod lives;
mod peers;
mod scene;
