//! What the host process has started, until it has ended: signals, and the end of all.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::Instant,
};

use crate::report::{
    farewell::Farewell,
    liveness::{LOOK_EVERY, Liveness},
};

/// How long an end may take before people are told what it waits for; most do not take that long.
const TELL_FIRST: Duration = Duration::from_secs(1);
/// And again each time.
const TELL_AGAIN: Duration = Duration::from_secs(5);

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

/// How a host comes to its end.
pub(super) struct Ending<'a> {
    /// Becomes true when it was asked to.
    pub(super) shutdown: &'a watch::Sender<bool>,
    /// Whether it still can do its work.
    pub(super) liveness: Arc<Liveness>,
    /// What its tasks wait for.
    pub(super) farewell: &'a Farewell,
    /// How long it may take when it was asked to.
    pub(super) timeout: Duration,
}

impl Running {
    /// Until the host was asked to end, and all that was started has ended.
    ///
    /// # Errors
    /// A defect; or it was asked twice; or it has not ended in time.
    pub(super) async fn until_ended(mut self, mut signals: Signals, ending: Ending<'_>) -> anyhow::Result<()> {
        let Ending { shutdown, liveness, farewell, timeout } = ending;
        let mut stuck = liveness.given_up(LOOK_EVERY);
        let mut pod_deleted = self.pod_deleted.fuse();
        // The kubelet's own word for what was heard of already.
        let mut signal_to_come = false;
        let mut asked: Option<Asked> = None;
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
                stuck = &mut stuck => {
                    let stuck = stuck.context("what looks whether this host moves failed, which is a defect")?;
                    bail!("{stuck}, and it has not moved again, which is a defect: ending, to be started anew")
                }
                name = signals.next() => {
                    if shutdown.send_replace(true) && !std::mem::take(&mut signal_to_come) {
                        bail!("{name} came a second time: ended without waiting for {farewell}; the lease runs out");
                    }
                    asked.get_or_insert_with(|| Asked::now(timeout));
                    tracing::info!(
                        event = "shutdown",
                        signal = name,
                        "ending: the component first, then the lease, in {timeout:?} at most"
                    );
                }
                () = &mut pod_deleted => {
                    signal_to_come = !shutdown.send_replace(true);
                    asked.get_or_insert_with(|| Asked::now(timeout));
                    tracing::info!(event = "pod-deleted", "this Pod is deleted: ending, before the kubelet asks for it");
                }
                next = Asked::next(asked.as_mut()) => match next {
                    Next::Tell => tracing::info!(event = "shutdown-waits", "ending: waiting for {farewell}"),
                    Next::GiveUp => bail!(
                        "it has not ended within {timeout:?}: ended without waiting for {farewell}; the lease runs out"
                    ),
                },
            }
        }
        // With them goes the last one who could tell the writers of anything.
        self.modules.shutdown().await;
        let left = asked.map_or(LAST_EVENTS, |asked| asked.give_up_at.saturating_duration_since(Instant::now()));
        tokio::select! {
            written = tokio::time::timeout(LAST_EVENTS.min(left), self.events.join_all()) => if written.is_err() {
                tracing::warn!(
                    event = "event-dropped",
                    "the last Kubernetes Events were not written within {:?}", LAST_EVENTS.min(left)
                );
            },
            name = signals.next(), if !signal_to_come => {
                bail!("{name} came a second time: ended without waiting for the last Kubernetes Events")
            }
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

/// Since when the host is to end.
struct Asked {
    give_up_at: Instant,
    /// When people are told again what is waited for.
    tell_at: Instant,
}

enum Next {
    Tell,
    GiveUp,
}

impl Asked {
    fn now(timeout: Duration) -> Self {
        let now = Instant::now();
        Self { give_up_at: now + timeout, tell_at: now + TELL_FIRST }
    }

    /// What time says next; nothing while nobody has asked.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    async fn next(asked: Option<&mut Self>) -> Next {
        let Some(asked) = asked else { return std::future::pending().await };
        tokio::time::sleep_until(asked.tell_at.min(asked.give_up_at)).await;
        if Instant::now() >= asked.give_up_at {
            return Next::GiveUp;
        }
        asked.tell_at = Instant::now() + TELL_AGAIN;
        Next::Tell
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
    use leasehold_core::time::BootTime;

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
        ended_with(running, Pulse::default()).await
    }

    /// The same, with this epoch ticker.
    async fn ended_with(running: Running, ticker: Pulse) -> String {
        let signals = Signals::listen().expect("signals");
        let liveness = Arc::new(Liveness::new(ticker));
        let (shutdown, farewell) = (watch::Sender::new(false), Farewell::default());
        let ending = Ending { shutdown: &shutdown, liveness, farewell: &farewell, timeout: Duration::MAX };
        let ended = running.until_ended(signals, ending).await;
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

    /// It takes all the looks there are, in real time.
    #[tokio::test]
    async fn what_does_not_move_any_more_ends_the_host_with_words() {
        let ticker = Pulse::default();
        ticker.due(Some(BootTime::from_nanos(1)));
        let why = ended_with(running(), ticker).await;
        assert!(why.contains("the epoch ticker is ") && why.contains("it has not moved again"), "{why}");
    }
}
