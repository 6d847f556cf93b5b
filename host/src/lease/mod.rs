//! Where Leases are kept: in Kubernetes, or in a folder of files; and the LeaseCandidates of a coordinated election.

pub mod access;
pub mod candidate;
mod checkpoint;
pub mod coordinated;
pub mod file;
pub mod folder;
pub mod kubernetes;
pub mod leader_label;
mod modules;
pub mod own_writes;
pub mod room;
pub mod shared;

/// The annotation that names the one task a Lease is for.
pub const TASK_ANNOTATION: &str = "leasehold.dev/task";
/// The annotation that carries the fencing token of the holder's term.
pub const TOKEN_ANNOTATION: &str = "leasehold.dev/token";
/// The annotation that names the holder that is asked to step down.
pub const STEP_DOWN_ANNOTATION: &str = "leasehold.dev/step-down";
/// The annotation that keeps the task's state for its next leader, in base64.
pub const CHECKPOINT_ANNOTATION: &str = "leasehold.dev/checkpoint";
/// The annotation that names the module that runs in the holder's term, by its digest.
pub const MODULE_ANNOTATION: &str = "leasehold.dev/module";
/// The annotation that names the module that is ready while another one runs.
pub const WAITING_MODULE_ANNOTATION: &str = "leasehold.dev/waiting-module";
/// The annotation that names the newest module that has come through its probation.
pub const GOOD_MODULE_ANNOTATION: &str = "leasehold.dev/good-module";
/// The annotation that names, by its digest, a module that failed soon after its start, and that nobody is to try again.
pub const REFUSED_MODULE_ANNOTATION: &str = "leasehold.dev/refused-module";
