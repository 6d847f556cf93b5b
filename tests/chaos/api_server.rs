//! Does what is done to the API server, on a thread of its own: to start it again takes seconds, and
//! what is done to the hosts meanwhile does not wait for that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::anyhow;
use leasehold_tests::control_plane::ControlPlane;
use tokio::{runtime::Handle, sync::mpsc};

#[derive(Debug)]
pub(crate) enum Order {
    /// Killed, and after this time started again.
    Restart(Duration),
    /// Stopped for this long.
    Freeze(Duration),
}

/// See the module's documentation.
pub(crate) struct ApiServer {
    orders: mpsc::Sender<Order>,
    busy: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl ApiServer {
    pub(crate) fn of(mut plane: ControlPlane, runtime: Handle) -> Self {
        let (orders, mut ordered) = mpsc::channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let done = busy.clone();
        let thread = thread::spawn(move || {
            while let Some(order) = ordered.blocking_recv() {
                match order {
                    Order::Restart(down) => {
                        plane.stop_api_server()?;
                        thread::sleep(down);
                        runtime.block_on(plane.start_api_server())?;
                    }
                    Order::Freeze(time) => {
                        plane.pause_api_server()?;
                        thread::sleep(time);
                        plane.resume_api_server()?;
                    }
                }
                done.store(false, Ordering::Release);
            }
            Ok(())
        });
        Self { orders, busy, thread }
    }

    /// Does so, unless something is done to it already; says whether.
    ///
    /// # Errors
    /// What was ordered before has failed.
    pub(crate) fn order(&self, order: Order) -> anyhow::Result<bool> {
        if !self.is_well()? {
            return Ok(false);
        }
        self.busy.store(true, Ordering::Release);
        self.orders.try_send(order).map_err(|_| anyhow!("nobody takes care of the API server any more"))?;
        Ok(true)
    }

    /// Whether it serves, as far as we are concerned.
    ///
    /// # Errors
    /// What was ordered before has failed.
    pub(crate) fn is_well(&self) -> anyhow::Result<bool> {
        anyhow::ensure!(!self.thread.is_finished(), "the API server could not be started again");
        Ok(!self.busy.load(Ordering::Acquire))
    }

    /// Ends it, and says what has gone wrong.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow!("it panicked"))?
    }
}
