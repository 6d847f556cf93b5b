//! Changes of anything in a folder, for sources that are built.

use std::path::Path;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::file_changes::SETTLE;

/// Tells that something in a folder changed.
pub(super) struct Changed {
    events: mpsc::Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Changed {
    /// Only paths that `concerns` takes count.
    pub(super) fn watch(
        folder: &Path,
        mode: RecursiveMode,
        concerns: impl Fn(&Path) -> bool + Send + 'static,
    ) -> notify::Result<Self> {
        let (tell, events) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error (an overflow, say) may stand for a change. Being read is none.
            let counts = match &event {
                Ok(event) if event.kind.is_access() => false,
                Ok(event) => event.paths.is_empty() || event.paths.iter().any(|path| concerns(path)),
                Err(_) => true,
            };
            if counts {
                // Full means that a change is already waiting to be seen.
                let _ = tell.try_send(());
            }
        })?;
        watcher.watch(folder, mode)?;
        Ok(Self { events, _watcher: watcher })
    }

    /// Waits for a change, and then until nothing has changed for a moment.
    pub(super) async fn settled(&mut self) -> Option<()> {
        self.events.recv().await?;
        while let Ok(event) = tokio::time::timeout(SETTLE, self.events.recv()).await {
            event?;
        }
        Some(())
    }
}
