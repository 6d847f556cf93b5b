//! `leasehold:task/leadership`

use leasehold_core::task::GuestEvent;
use tokio::sync::watch;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::bindings::leasehold::task::{
    leadership,
    types::{self, StopReason, Term},
};
use crate::guest::state::State;

impl types::Host for State {}

impl leadership::Host for State {
    fn current(&mut self) -> wasmtime::Result<Term> {
        Ok(self.term.clone())
    }

    fn remaining(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.lead.remaining().as_nanos()).unwrap_or(u64::MAX))
    }

    fn stop_requested(&mut self) -> wasmtime::Result<Option<StopReason>> {
        Ok(self.gate.stop_requested().map(stop_reason))
    }

    fn subscribe_stop(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let stop = self.table.push(Stop(self.gate.subscribe_stop()))?;
        subscribe(&mut self.table, stop)
    }

    fn step_down(&mut self) -> wasmtime::Result<()> {
        if !std::mem::replace(&mut self.stepped_down, true) {
            self.events.tell(self.run, GuestEvent::SteppedDown);
        }
        Ok(())
    }
}

/// As the WIT package has it.
pub(in crate::guest) fn stop_reason(reason: leasehold_core::task::StopReason) -> StopReason {
    use leasehold_core::task::StopReason as Core;
    match reason {
        Core::LeadershipLost => StopReason::LeadershipLost,
        Core::Shutdown => StopReason::Shutdown,
        Core::ModuleReplaced => StopReason::ModuleReplaced,
        Core::SteppedDown => StopReason::SteppedDown,
        Core::Unresponsive => StopReason::Unresponsive,
    }
}

/// Ready once the guest was asked to stop.
struct Stop(watch::Receiver<Option<leasehold_core::task::StopReason>>);

#[wasmtime_wasi::async_trait]
impl Pollable for Stop {
    async fn ready(&mut self) {
        // The sender lives in the gate, which outlives the guest; if it did not, ready is right too.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}
