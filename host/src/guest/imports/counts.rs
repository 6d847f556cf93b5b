//! Host calls that leave the process, counted by what became of them.

use prometheus_client::metrics::counter::Counter;

/// Calls of one kind, of one task, that have ended.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    /// Answered: by a server, whatever it said.
    pub ok: Counter,
    /// By the rules, or by a limit, before anything was sent.
    pub refused: Counter,
    /// Otherwise.
    pub failed: Counter,
}
