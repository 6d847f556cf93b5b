//! The pure core of Leasehold: what is decided, without a clock, without I/O.
//!
//! Time and events go in, actions come out (the shape is that of `quinn-proto`). In the direction
//! the data flows:
//!
//! - [`candidate`]: what a LeaseCandidate says, where the API server picks the holder
//! - [`lease`]: what a Lease says and what was seen of it, as a [`ports::LeaseStore`] tells it
//! - [`checkpoint`]: small state that stands on the Lease for the next leader
//! - [`timing`]: the durations, checked, and the margin that `valid_until` keeps
//! - [`election`]: whether this replica leads, and what it asks of the store
//! - [`task`]: whether the guest runs, is asked to stop, is ended
//! - [`label`]: which Pod carries the leader's label
//! - [`replica`]: both of them together, the one thing that the supervisor and the simulator drive
//! - [`backoff`]: when a broken watch is taken up again
//! - [`ports`]: what the outside has to offer

pub mod backoff;
pub mod candidate;
pub mod checkpoint;
pub mod election;
pub mod label;
pub mod lease;
pub mod ports;
pub mod replica;
pub mod task;
pub mod time;
pub mod timing;

#[cfg(test)]
mod election_tests;
#[cfg(test)]
mod label_tests;
#[cfg(test)]
mod task_tests;
