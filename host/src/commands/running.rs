//! What the host process has started, until it has ended: signals, and the end of all.

use std::{pin::pin, time::Duration};

use anyhow::{Context, bail};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::report::liveness::{LOOK_EVERY, Liveness};

/// How long the last Events may take when everything else has ended.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// How long after its Pod was deleted a host that has nothing more to do waits for the kubelet's SIGTERM.
const KUBELET_LATE_MAX: Duration = Duration::from_secs(60);

/// What has been started.
pub(super) struct Running {
    /// A loop a task.
    pub(super) tasks: JoinSet<()>,
    /// Those that keep the tasks' modules ready.
    pub(super) modules: JoinSet<()>,
    /// Those that write Events.
    pub(super) events: JoinSet<()>,
    /// Comes when this host's own Pod is to end.
    pub(super) pod_deleted: BoxFuture<'static, ()>,
}

impl Running {
    /// Until the host was asked to end, and all that was started has ended.
    ///
    /// # Errors
    /// A defect; or it was asked twice.
    pub(super) async fn until_ended(
        mut self,
        mut signals: Signals,
        shutdown: &watch::Sender<bool>,
        liveness: &Liveness,
    ) -> anyhow::Result<()> {
        let mut stuck = pin!(liveness.given_up(LOOK_EVERY));
        let mut pod_deleted = self.pod_deleted.fuse();
        // The kubelet's own word for what was heard of already.
        let mut signal_to_come = false;
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    None => break,
                    Some(Ok(())) if *shutdown.borrow() => {}
                    Some(Ok(())) => bail!("a task's loop ended by itself, which is a defect"),
                    // Better to end, and be started again, than to look alive without electing.
                    Some(Err(panicked)) => bail!("a task's loop failed, which is a defect: {panicked}"),
                },
                // A task would wait for ever for a module that nobody looks for any more, and look alive.
                Some(Err(panicked)) = self.modules.join_next() => {
                    bail!("what follows a task's module failed, which is a defect: {panicked}")
                }
                stuck = &mut stuck => bail!("{stuck}, and it has not moved again, which is a defect: ending, to be started anew"),
                name = signals.next() => {
                    if shutdown.send_replace(true) && !std::mem::take(&mut signal_to_come) {
                        bail!("{name} came a second time: ended without waiting for the component; the lease runs out");
                    }
                    tracing::info!(event = "shutdown", signal = name, "ending: the component first, then the lease");
                }
                () = &mut pod_deleted => {
                    signal_to_come = !shutdown.send_replace(true);
                    tracing::info!(event = "pod-deleted", "this Pod is deleted: ending, before the kubelet asks for it");
                }
            }
        }
        // With them goes the last one who could tell the writers of anything.
        self.modules.shutdown().await;
        if tokio::time::timeout(LAST_EVENTS, self.events.join_all()).await.is_err() {
            tracing::warn!(
                event = "event-dropped",
                "the last Kubernetes Events were not written within {LAST_EVENTS:?}"
            );
        }
        // A kubelet that has yet to hear of the deletion would start an ended container again.
        if signal_to_come {
            match tokio::time::timeout(KUBELET_LATE_MAX, signals.next()).await {
                Ok(name) => tracing::info!(event = "shutdown", signal = name, "all has ended already"),
                Err(_) => {
                    let waited = KUBELET_LATE_MAX;
                    tracing::warn!(
                        event = "no-signal",
                        "the kubelet has sent no signal for {waited:?}: ending without it"
                    );
                }
            }
        }
        Ok(())
    }
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::liveness::Pulse;

    fn running() -> Running {
        let pod_deleted = std::future::pending().boxed();
        let mut running =
            Running { tasks: JoinSet::new(), modules: JoinSet::new(), events: JoinSet::new(), pod_deleted };
        running.tasks.spawn(std::future::pending());
        running.modules.spawn(std::future::pending());
        running
    }

    /// What the host ends with, unasked.
    async fn ended(running: Running) -> String {
        let signals = Signals::listen().expect("signals");
        let liveness = Liveness::new(Pulse::default());
        let ended = running.until_ended(signals, &watch::Sender::new(false), &liveness).await;
        ended.expect_err("nobody has asked it to end").to_string()
    }

    /// kubert's renewing task died, and its process stayed ready (linkerd/linkerd2 15506).
    #[tokio::test]
    async fn a_tasks_loop_that_fails_ends_the_host_with_words_and_so_does_what_follows_its_module() {
        let mut of_loop = running();
        of_loop.tasks.spawn(async { panic!("out of luck") });
        let why = ended(of_loop).await;
        assert!(why.contains("a task's loop failed") && why.contains("out of luck"), "{why}");

        let mut by_itself = running();
        by_itself.tasks.spawn(async {});
        let why = ended(by_itself).await;
        assert!(why.contains("ended by itself"), "{why}");

        let mut of_module = running();
        of_module.modules.spawn(async { panic!("out of luck") });
        let why = ended(of_module).await;
        assert!(why.contains("follows a task's module") && why.contains("out of luck"), "{why}");
    }
}
