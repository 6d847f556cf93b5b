//! A module in a file, replaced in any way: renamed over, written in place however slowly, removed and made again,
//! its folder as well, or by the kubelet's swap of a mounted ConfigMap's `..data` symlink.
//!
//! Two things tell of a change. The system does, of what happens in the file's folder, at once ([`notify`]). And the
//! file is looked at now and then, which sees what the system does not tell of: a folder that was replaced, or comes only
//! later; a link that leads elsewhere; a file system that another machine writes to; a system that has no watches left.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

use super::{
    Changes, ReadError,
    file::{self, Stamp},
    off_thread,
};

/// A file is read when it has been left alone for this long: a writer may need several steps.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// How often the file is looked at. What only this notices has to look the same twice.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whoever has written to the file, still has it open, and has not written for this long, has forgotten to close it.
const WRITER_SILENT_MAX: Duration = Duration::from_secs(30);

/// Whether it is told when a writer closes a file.
const CLOSING_IS_TOLD: bool = cfg!(target_os = "linux");

/// The file's bytes again, whenever something about it may have changed from now on.
pub(super) fn changes(path: PathBuf) -> Changes {
    follow(path, LOOK_EVERY, true)
}

fn follow(path: PathBuf, look_every: Duration, watched: bool) -> Changes {
    let seen = file::stamp(&path);
    let following = Following { folder: Folder::new(&path, watched), path, look_every, read: seen.clone(), seen };
    stream::unfold(following, |mut following| async move { Some((following.next().await, following)) }).boxed()
}

struct Following {
    path: PathBuf,
    folder: Folder,
    look_every: Duration,
    /// What the file was like when it was last looked at.
    seen: Option<Stamp>,
    /// And when it was last read.
    read: Option<Stamp>,
}

impl Following {
    async fn next(&mut self) -> Result<Vec<u8>, ReadError> {
        loop {
            self.folder.watch().await;
            let told = tokio::time::timeout(self.look_every, self.folder.told()).await.is_ok();
            if told {
                self.folder.settled().await;
            }
            let now = look(&self.path).await;
            let before = std::mem::replace(&mut self.seen, now.clone());
            // What is told may have happened within one tick of the file system's clock.
            let is_new = told || (now == before && now != self.read);
            if is_new {
                let path = self.path.clone();
                let content = off_thread(move || file::read(&path)).await;
                if matches!(content, Err(ReadError::BeingWritten(_))) {
                    // It is told again, or looks different.
                    self.read = None;
                    continue;
                }
                self.read = now;
                return content;
            }
        }
    }
}

/// Not on the control thread: a file system may hang.
async fn look(path: &Path) -> Option<Stamp> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || file::stamp(&path)).await.ok().flatten()
}

/// The file's folder, watched as far as that is possible.
struct Folder {
    path: PathBuf,
    file: PathBuf,
    wanted: bool,
    watch: Option<(Place, Watch)>,
    /// Why it cannot be, as told.
    unwatched: Option<String>,
}

/// Device and inode.
type Place = (u64, u64);

fn place(folder: &Path) -> Option<Place> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|folder| (folder.dev(), folder.ino()))
}

struct Watch {
    events: mpsc::Receiver<()>,
    writer: Arc<Mutex<Writer>>,
    _watcher: notify::RecommendedWatcher,
}

/// Who writes to the file, as far as it is told.
#[derive(Clone, Copy, Debug, Default)]
enum Writer {
    #[default]
    None,
    /// Has written, then, and has not closed the file since.
    At(Instant),
    /// The folder itself has gone: this watch tells nothing any more.
    FolderGone,
}

impl Folder {
    fn new(file: &Path, wanted: bool) -> Self {
        let path = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut this = Self { path, file: file.to_owned(), wanted, watch: None, unwatched: None };
        if let Some(place) = place(&this.path).filter(|_| wanted) {
            let begun = Watch::new(&this.path, &this.file);
            this.begun(place, begun);
        }
        this
    }

    /// Sees to it that the folder that is there now is the one that is watched. Not on the control thread, as
    /// [`look`].
    async fn watch(&mut self) {
        let path = self.path.clone();
        let now = tokio::task::spawn_blocking(move || place(&path)).await.ok().flatten();
        let gone = self.watch.as_ref().is_some_and(|(_, watch)| matches!(watch.writer(), Writer::FolderGone));
        if !gone && self.watch.as_ref().map(|(place, _)| *place) == now {
            return;
        }
        self.watch = None;
        if let Some(place) = now.filter(|_| self.wanted) {
            let (path, file) = (self.path.clone(), self.file.clone());
            if let Ok(begun) = tokio::task::spawn_blocking(move || Watch::new(&path, &file)).await {
                self.begun(place, begun);
            }
        }
    }

    fn begun(&mut self, place: Place, begun: notify::Result<Watch>) {
        match begun {
            Ok(watch) => {
                self.watch = Some((place, watch));
                self.unwatched = None;
            }
            Err(error) => {
                let why = error.to_string();
                if self.unwatched.as_ref() != Some(&why) {
                    let (path, every) = (self.path.display(), LOOK_EVERY);
                    tracing::warn!(
                        event = "module-polled",
                        "the system does not tell of changes in {path}, so that it is looked at every {every:?}: {why}"
                    );
                }
                self.unwatched = Some(why);
            }
        }
    }

    /// Waits until the system tells of a change.
    async fn told(&mut self) {
        if let Some((_, watch)) = &mut self.watch
            && watch.events.recv().await.is_some()
        {
            return;
        }
        // A watcher that has ended tells nothing any more.
        std::future::pending().await
    }

    /// Waits until nothing has changed for a moment, and nobody is about to write more.
    async fn settled(&mut self) {
        let Some((_, watch)) = &mut self.watch else { return };
        loop {
            match tokio::time::timeout(SETTLE, watch.events.recv()).await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(_) => match watch.writer() {
                    Writer::At(last) if CLOSING_IS_TOLD && last.elapsed() < WRITER_SILENT_MAX => {
                        let left = WRITER_SILENT_MAX - last.elapsed().min(WRITER_SILENT_MAX);
                        // More of the same, the end of it, or neither in all that time.
                        let _ = tokio::time::timeout(left, watch.events.recv()).await;
                    }
                    _ => return,
                },
            }
        }
    }
}

impl Watch {
    fn new(folder: &Path, file: &Path) -> notify::Result<Self> {
        let (tell, events) = mpsc::channel(1);
        let writer = Arc::new(Mutex::new(Writer::None));
        let (of_watcher, folder_itself) = (writer.clone(), folder.to_owned());
        let name = file.file_name().map(ToOwned::to_owned);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else {
                // An overflow, say: it may stand for a change.
                let _ = tell.try_send(());
                return;
            };
            let of_file = event.paths.iter().any(|path| path.file_name() == name.as_deref());
            let of_folder = event.paths.contains(&folder_itself);
            // Of a mounted ConfigMap, only `..data` and what it leads to are replaced.
            let is_volumes =
                |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
            let mut writer = of_watcher.lock().unwrap_or_else(PoisonError::into_inner);
            match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
                EventKind::Access(_) => return,
                _ => {}
            }
            match event.kind {
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) if of_folder => {
                    *writer = Writer::FolderGone
                }
                EventKind::Modify(ModifyKind::Data(_)) if of_file => *writer = Writer::At(Instant::now()),
                EventKind::Access(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) if of_file => {
                    *writer = Writer::None;
                }
                _ => {}
            }
            if of_file || of_folder || event.paths.is_empty() || event.paths.iter().any(is_volumes) {
                // Full means that a change is already waiting to be seen.
                let _ = tell.try_send(());
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { events, writer, _watcher: watcher })
    }

    fn writer(&self) -> Writer {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "file_changes_tests.rs"]
mod tests;
