//! What leaves the host on behalf of one run, in the background of its calls: the gate asked at each write.
//!
//! A call of the guest is behind the call hook, but what a connection still has to write is not: hyper writes it from
//! tasks of its own. So each write to a socket of a run asks its [`Outlet`], under a lock that [`Outlet::end`] takes as
//! well: when that has returned, no write is under way and none will follow. What the kernel was given before may still
//! be sent by it, as with every message that has left.

use std::sync::{Arc, PoisonError, RwLock};

use super::gate::Gate;

/// The run has ended, or its gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component was ended")]
pub struct RunOver;

/// See the module's documentation.
#[derive(Debug)]
pub struct Outlet {
    gate: Arc<Gate>,
    ended: RwLock<bool>,
}

impl Outlet {
    /// Open for as long as `gate` is, and until [`Self::end`].
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, ended: RwLock::new(false) }
    }

    /// Lets `effect` happen. It must not wait: the run's end waits for it.
    ///
    /// # Errors
    /// [`RunOver`], and `effect` has not happened.
    pub fn pass<T>(&self, effect: impl FnOnce() -> T) -> Result<T, RunOver> {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        if *ended || self.gate.check().is_err() {
            return Err(RunOver);
        }
        Ok(effect())
    }

    /// Nothing passes any more.
    pub fn end(&self) {
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leasehold_core::task::StopReason;

    use super::*;
    use crate::clock;

    #[test]
    fn nothing_passes_after_the_runs_end_or_through_a_closed_gate() {
        let gate = Arc::new(Gate::new(clock::boot() + Duration::from_secs(3600)));
        let outlet = Outlet::new(gate.clone());
        assert_eq!(outlet.pass(|| 1), Ok(1));
        outlet.end();
        assert_eq!(outlet.pass(|| unreachable!("the run has ended")), Err::<(), _>(RunOver));
        let outlet = Outlet::new(gate.clone());
        gate.close(StopReason::Shutdown);
        assert_eq!(outlet.pass(|| unreachable!("the gate is closed")), Err::<(), _>(RunOver));
    }
}
