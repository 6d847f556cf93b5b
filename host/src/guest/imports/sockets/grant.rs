//! What TCP one task is granted, made once from its config; the same for all its runs.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::rule::TcpRule;
use crate::guest::imports::http::{
    address::{Resolve, SystemResolver},
    grant::Told,
};

/// How many sockets, and how long a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open sockets of one task. One more is refused.
    pub sockets: usize,
    /// Until there is a connection; and until a look-up is answered.
    pub connect: Duration,
}

impl TcpLimits {
    /// More than this, and the host had better be given more file descriptors first.
    pub const SOCKETS_MAX: usize = 10_000;
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self { sockets: 256, connect: Duration::from_secs(10) }
    }
}

/// Look-ups of one task that are under way: each holds a thread.
const LOOK_UPS_MAX: usize = 16;

/// See the module's documentation. Nothing is granted by default.
pub struct TcpGrant {
    /// Where to.
    pub rules: Vec<TcpRule>,
    /// How many, how long.
    pub limits: TcpLimits,
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// What was told of it.
    pub told: Told,
    pub(super) sockets: Arc<Semaphore>,
    pub(super) look_ups: Arc<Semaphore>,
}

impl TcpGrant {
    /// With the system's own resolver.
    pub fn new(rules: Vec<TcpRule>, limits: TcpLimits) -> Self {
        Self {
            rules,
            limits,
            resolver: Arc::new(SystemResolver),
            told: Told::default(),
            sockets: Arc::new(Semaphore::new(limits.sockets)),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
        }
    }
}

impl Default for TcpGrant {
    fn default() -> Self {
        Self::new(Vec::new(), TcpLimits::default())
    }
}

impl std::fmt::Debug for TcpGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rules, limits, .. } = self;
        f.debug_struct("TcpGrant").field("rules", rules).field("limits", limits).finish_non_exhaustive()
    }
}
