//! May this guest still run, and may an effect of it still leave the host?
//!
//! One [`Gate`] belongs to one run of a guest. It needs nobody's help to close in time: it
//! compares the boot clock with the term's bound itself, each time it is asked (invariant 2).
//! It is asked by
//!
//! - the epoch callback, on every tick while the guest computes,
//! - the call hook, whenever the guest enters the host or would return from it (invariant 5),
//! - [`Gate::guard`], before the guest's future is polled.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use leasehold_core::{task::StopReason, time::BootTime, timing::EPOCH_TICK};
use tokio::sync::{Notify, watch};

use crate::clock;

/// The guest was ended from outside. Carried as the error out of wasmtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// It was to stop.
    #[error("ended: {0}")]
    Stopped(StopReason),
    /// It was a callback, and its time is over.
    #[error("ended: it took too long")]
    TimedOut,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Gate {
    valid_until: AtomicU64,
    /// What it closes as by then.
    at_bound: Closed,
    closed: OnceLock<Closed>,
    closing: Notify,
    stop: watch::Sender<Option<StopReason>>,
    executing: AtomicBool,
}

impl Gate {
    /// Open until `valid_until`, the end of a term.
    pub fn new(valid_until: BootTime) -> Self {
        Self::with_bound(valid_until, Closed::Stopped(StopReason::LeadershipLost))
    }

    /// Open for a callback that may take until `limit`, whoever leads.
    pub fn for_callback(limit: BootTime) -> Self {
        Self::with_bound(limit, Closed::TimedOut)
    }

    fn with_bound(bound: BootTime, at_bound: Closed) -> Self {
        Self {
            valid_until: AtomicU64::new(bound.as_nanos()),
            at_bound,
            closed: OnceLock::new(),
            closing: Notify::new(),
            stop: watch::Sender::new(None),
            executing: AtomicBool::new(false),
        }
    }

    /// When it closes by itself.
    pub fn valid_until(&self) -> BootTime {
        BootTime::from_nanos(self.valid_until.load(Ordering::Acquire))
    }

    /// How long until it closes by itself; nothing if it is closed.
    pub fn remaining(&self) -> Duration {
        if self.closed.get().is_some() { Duration::ZERO } else { self.valid_until().since(clock::boot()) }
    }

    /// A renewal has moved the bound of the same term. A closed gate stays closed.
    pub fn extend(&self, valid_until: BootTime) {
        self.valid_until.fetch_max(valid_until.as_nanos(), Ordering::AcqRel);
    }

    /// Closes for good; the first reason counts.
    pub fn close(&self, reason: StopReason) {
        self.close_as(Closed::Stopped(reason));
    }

    fn close_as(&self, closed: Closed) {
        if self.closed.set(closed).is_ok() {
            self.closing.notify_waiters();
        }
    }

    /// Asks the guest to end by itself; the first reason counts.
    pub fn ask_to_stop(&self, reason: StopReason) {
        self.stop.send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
    }

    /// Why the guest was asked to end, once it was.
    pub fn stop_requested(&self) -> Option<StopReason> {
        *self.stop.borrow()
    }

    /// Tells when the guest is asked to end.
    pub fn subscribe_stop(&self) -> watch::Receiver<Option<StopReason>> {
        self.stop.subscribe()
    }

    /// Whether the guest may run, and its effects leave, at this moment.
    ///
    /// # Errors
    /// [`Closed`] if not. A gate that time has closed stays closed.
    pub fn check(&self) -> Result<(), Closed> {
        self.check_at(clock::boot())
    }

    /// The same for the time until the next epoch tick, when it will be asked again.
    ///
    /// # Errors
    /// [`Closed`] if it closes before that.
    pub fn check_until_next_tick(&self) -> Result<(), Closed> {
        self.check_at(clock::boot() + EPOCH_TICK)
    }

    fn check_at(&self, now: BootTime) -> Result<(), Closed> {
        if now >= self.valid_until() {
            self.close_as(self.at_bound);
        }
        self.closed.get().map_or(Ok(()), |closed| Err(*closed))
    }

    /// Whether the guest's future is being polled at this moment, on any thread.
    pub fn is_executing(&self) -> bool {
        self.executing.load(Ordering::Acquire)
    }

    /// Runs `guest` as long as the gate is open: it is never polled at or after the bound, and
    /// dropped, also where it waits in a host call, when the gate closes.
    ///
    /// # Errors
    /// [`Closed`] where `guest` did not finish before.
    ///
    /// # Cancel safety
    /// Dropping it drops the guest.
    pub async fn guard<T>(&self, guest: impl Future<Output = T>) -> Result<T, Closed> {
        let guest = pin!(Guarded { gate: self, guest: pin!(guest) });
        tokio::select! {
            biased;
            closed = self.wait_closed() => Err(closed),
            result = guest => result,
        }
    }

    async fn wait_closed(&self) -> Closed {
        loop {
            let closing = self.closing.notified();
            if let Err(closed) = self.check() {
                return closed;
            }
            tokio::select! {
                () = closing => {}
                () = clock::sleep_towards(self.valid_until()) => {}
            }
        }
    }
}

/// Polls the guest only while the gate is open.
struct Guarded<'a, F> {
    gate: &'a Gate,
    guest: Pin<&'a mut F>,
}

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Result<F::Output, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.gate.check()?;
        self.gate.executing.store(true, Ordering::Release);
        let polled = self.guest.as_mut().poll(cx);
        self.gate.executing.store(false, Ordering::Release);
        polled.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Gate {
        Gate::new(clock::boot() + Duration::from_secs(3600))
    }

    #[test]
    fn a_gate_past_its_bound_stays_closed_even_when_extended() {
        let gate = Gate::new(clock::boot());
        assert_eq!(gate.check(), Err(Closed::Stopped(StopReason::LeadershipLost)));
        gate.extend(clock::boot() + Duration::from_secs(3600));
        assert_eq!(gate.check(), Err(Closed::Stopped(StopReason::LeadershipLost)));
    }

    #[test]
    fn the_tick_before_the_bound_already_closes() {
        let gate = Gate::new(clock::boot() + EPOCH_TICK / 2);
        assert_eq!(gate.check_until_next_tick(), Err(Closed::Stopped(StopReason::LeadershipLost)));
    }

    #[test]
    fn a_callback_out_of_time_is_not_one_that_was_stopped() {
        let gate = Gate::for_callback(clock::boot());
        assert_eq!(gate.check(), Err(Closed::TimedOut));
        let gate = Gate::for_callback(clock::boot() + Duration::from_secs(3600));
        gate.close(StopReason::Shutdown);
        assert_eq!(gate.check(), Err(Closed::Stopped(StopReason::Shutdown)));
        assert_eq!(gate.remaining(), Duration::ZERO);
    }

    #[test]
    fn the_bound_never_moves_back() {
        let gate = open();
        let bound = gate.valid_until();
        gate.extend(BootTime::ZERO);
        assert_eq!(gate.valid_until(), bound);
    }

    #[test]
    fn the_first_reason_to_stop_counts() {
        let gate = open();
        gate.ask_to_stop(StopReason::ModuleReplaced);
        gate.ask_to_stop(StopReason::Shutdown);
        assert_eq!(gate.stop_requested(), Some(StopReason::ModuleReplaced));
        gate.close(StopReason::Shutdown);
        gate.close(StopReason::LeadershipLost);
        assert_eq!(gate.check(), Err(Closed::Stopped(StopReason::Shutdown)));
    }

    #[tokio::test]
    async fn a_guest_that_waits_is_dropped_when_the_gate_closes() {
        let gate = open();
        let (ended, ()) = tokio::join!(gate.guard(std::future::pending::<()>()), async {
            tokio::task::yield_now().await;
            gate.close(StopReason::Shutdown);
        });
        assert_eq!(ended, Err(Closed::Stopped(StopReason::Shutdown)));
    }

    #[tokio::test]
    async fn a_guest_is_not_polled_after_the_bound() {
        let gate = Gate::new(clock::boot());
        let polled = AtomicBool::new(false);
        let ended = gate.guard(async { polled.store(true, Ordering::Relaxed) }).await;
        assert_eq!(ended, Err(Closed::Stopped(StopReason::LeadershipLost)));
        assert!(!polled.load(Ordering::Relaxed));
    }
}
