//! A module in a file, replaced in any way: written in place, renamed over, removed and made
//! again, or by the kubelet's swap of a mounted ConfigMap's `..data` symlink.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use futures_util::{StreamExt, stream};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Changes, MODULE_BYTES_MAX, ReadError, off_thread};

/// A file is read when it has been left alone for this long: a writer may need several steps.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

pub(super) fn in_plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::IsADirectory => "it is a folder; give the `.wasm` file in it".into(),
        _ => error.to_string(),
    }
}

/// The file's bytes.
///
/// # Errors
/// It cannot be read, or is larger than any task.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let failed = |error| ReadError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let size = ByteSize(file.metadata().map_err(failed)?.len());
    if size > MODULE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned(), size });
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MODULE_BYTES_MAX.as_u64()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The file's bytes again, whenever something about it may have changed.
///
/// # Errors
/// The system does not tell of changes in the file's folder.
pub(super) fn changes(path: PathBuf) -> notify::Result<Changes> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let changed = Changed::watch(&folder, RecursiveMode::NonRecursive, |_| true)?;
    let contents = stream::unfold((changed, path), |(mut changed, path)| async move {
        changed.settled().await?;
        let reading = path.clone();
        Some((off_thread(move || read(&reading)).await, (changed, path)))
    });
    Ok(contents.boxed())
}

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
