//! Leases in a folder, for one machine: development, tests, and the first try without a cluster.
//!
//! `<namespace>.<lease>.json` holds the record; it is replaced atomically, so that a reader needs
//! no lock. Whoever edits it by hand raises its `version`, or nobody takes the edit for news.
//! `<namespace>.<lease>.lock` is what writers lock, and it holds the last version given out, so
//! that versions, and so fencing tokens, go on growing when the Lease is deleted: see [`Counter`].
//!
//! A process that is suspended while it holds the lock keeps others from taking over until it
//! goes on or ends; nobody leads then, never two.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use leasehold_core::{
    lease::{LeaseModules, LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure, WatchUpdate},
    time::WallTime,
};
use notify::{RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{checkpoint, modules};

/// How often a lock is tried that another process has.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// How often before it counts as unavailable; a writer holds it for well under a millisecond.
const LOCK_TRIES: u32 = 500;
/// How long to wait before a broken watch is tried again.
pub(super) const REWATCH_DELAY: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: Arc<Path>,
    name: Arc<str>,
}

/// The file's content: the fields of `LeaseSpec` and our annotations, the version, and what
/// others (a newer Leasehold, say) have written beside them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    version: u64,
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    acquire_time_micros: Option<i64>,
    renew_time_micros: Option<i64>,
    lease_transitions: u32,
    task: Option<String>,
    token: Option<u64>,
    step_down: Option<String>,
    /// In base64.
    checkpoint: Option<String>,
    module: Option<String>,
    waiting_module: Option<String>,
    good_module: Option<String>,
    refused_module: Option<String>,
    #[serde(flatten)]
    beside: serde_json::Map<String, serde_json::Value>,
}

impl FileStore {
    /// The Lease `namespace/name` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, or no file can be made in it.
    pub fn open(folder: &Path, namespace: &str, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        tempfile::tempfile_in(folder)?;
        let store = Self::at(folder, namespace, name);
        // From here on "not there" has a version, and cannot be taken for news when it is told late.
        open_lock(&store.path("lock"))?;
        Ok(store)
    }

    /// The Lease `namespace/name` in `folder`, for somebody who does not compete for it: nothing is made.
    pub fn at(folder: &Path, namespace: &str, name: &str) -> Self {
        Self { folder: folder.into(), name: format!("{namespace}.{name}").into() }
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }

    fn error(&self, verb: &str, error: Failed) -> StoreError {
        let failure = match &error {
            Failed::Conflict => StoreFailure::Conflict,
            Failed::Missing => StoreFailure::Missing,
            Failed::Damaged(_) => StoreFailure::Rejected,
            Failed::Io(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                StoreFailure::Denied
            }
            Failed::Locked | Failed::Io(_) | Failed::Watch(_) | Failed::Ended(_) => StoreFailure::Unavailable,
        };
        let step = format!("{verb} lease file {}", self.path("json").display());
        StoreError { failure, step, source: error.into() }
    }

    fn read_file(&self) -> Result<Option<Stored>, Failed> {
        match fs::read(self.path("json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(Failed::Damaged)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn observe(&self) -> Result<Observation, Failed> {
        // First the counter: a Lease that is made after this look has a greater version.
        let deleted_at = match fs::read_to_string(self.path("lock")) {
            Ok(text) => Some(Counter::parse(&text).deletion()),
            // Somebody has removed that, too: how far versions had come is not known any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Ok(match self.read_file()? {
            Some(stored) => Observation::Present { version: Version(stored.version), record: stored.into() },
            None => Observation::Missing { deleted_at },
        })
    }

    fn replace(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, Failed> {
        let mut lock = Lock::take(&self.path("lock"))?;
        let (current_version, beside) = match (based_on, self.read_file()?) {
            (None, None) => Default::default(),
            (Some(based_on), Some(current)) if based_on.0 == current.version => (current.version, current.beside),
            (Some(_), None) => return Err(Failed::Missing),
            _ => return Err(Failed::Conflict),
        };
        let next = lock.counter()?.at_least(current_version).next();
        let stored = Stored { version: next.0, beside, ..record.clone().into() };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer_pretty(&mut file, &stored).map_err(io::Error::from)?;
        file.as_file().sync_data()?;
        lock.set(next.announced())?;
        file.persist(self.path("json")).map_err(|error| error.error)?;
        lock.set(next)?;
        Ok(Version(next.0))
    }
}

/// The lock file, locked until this is dropped.
struct Lock(File);

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

impl Lock {
    fn take(path: &Path) -> Result<Self, Failed> {
        let file = open_lock(path)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        Err(Failed::Locked)
    }

    fn counter(&mut self) -> Result<Counter, Failed> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        Ok(Counter::parse(&text))
    }

    fn set(&mut self, counter: Counter) -> Result<(), Failed> {
        self.0.rewind()?;
        // Of fixed width, and in one write: nobody reads digits of two numbers.
        self.0.write_all(format!("{:020}\n", counter.0).as_bytes())?;
        self.0.sync_data()?;
        Ok(())
    }
}

/// The last version given out, which is even. The odd ones between are those of deletions, which
/// nobody counts: a deletion so is newer than the record that is gone, and older than the next.
///
/// A version is announced here, as the odd number before it, before its record is written, and
/// stands here after. A writer that dies in between so has used it up; and a reader in between
/// that finds no record takes this for the older deletion, and never for one of a record to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter(u64);

impl Counter {
    /// The lock file's content: empty when it was just made.
    fn parse(text: &str) -> Self {
        Self(text.trim().parse().unwrap_or(0))
    }

    fn at_least(self, version: u64) -> Self {
        Self(self.0.max(version))
    }

    /// The version of the next write. What was only announced may have been written.
    fn next(self) -> Self {
        Self(((self.0 + 1) | 1) + 1)
    }

    fn announced(self) -> Self {
        Self(self.0 - 1)
    }

    /// Where in the Lease's history a deletion stands that is seen now.
    fn deletion(self) -> Version {
        Version(self.0 | 1)
    }
}

impl LeaseStore for FileStore {
    async fn read(&self) -> Result<Observation, StoreError> {
        let store = self.clone();
        let read = tokio::task::spawn_blocking(move || store.observe()).await;
        read.unwrap_or_else(|error| Err(Failed::Ended(error))).map_err(|error| self.error("read", error))
    }

    async fn write(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, StoreError> {
        let (store, record) = (self.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || store.replace(based_on, &record)).await;
        written.unwrap_or_else(|error| Err(Failed::Ended(error))).map_err(|error| self.error("write", error))
    }

    fn watch(&self) -> BoxStream<'static, WatchUpdate> {
        let updates = stream::unfold((self.clone(), None), |(store, watching)| async move {
            let mut watching: Option<Watching> = watching;
            let update = loop {
                match &mut watching {
                    None => match Watching::begin(&store.folder) {
                        Ok(begun) => watching = Some(begun),
                        Err(error) => {
                            tokio::time::sleep(REWATCH_DELAY).await;
                            break WatchUpdate::Broken(store.error("watch", Failed::Watch(error)));
                        }
                    },
                    Some(begun) if begun.folder_changed.load(Ordering::Relaxed) => watching = None,
                    Some(watching) => {
                        watching.changed.notified().await;
                        break match store.read().await {
                            Ok(seen) if watching.last.as_ref() == Some(&seen) => continue,
                            Ok(seen) => {
                                watching.last = Some(seen.clone());
                                WatchUpdate::Seen(seen)
                            }
                            Err(error) => {
                                // Whatever is there next is told, also if it is what was there before.
                                watching.last = None;
                                WatchUpdate::Broken(error)
                            }
                        };
                    }
                }
            };
            Some((update, (store, watching)))
        });
        updates.boxed()
    }
}

/// The system tells `changed` when something in the folder did.
pub(super) struct Watching {
    pub(super) changed: Arc<Notify>,
    /// What is watched may not be what is under the folder's name any more: it was removed, or renamed.
    pub(super) folder_changed: Arc<AtomicBool>,
    last: Option<Observation>,
    _watcher: notify::RecommendedWatcher,
}

impl Watching {
    pub(super) fn begin(folder: &Path) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let folder_changed = Arc::new(AtomicBool::new(false));
        let (tell, tell_folder) = (changed.clone(), folder_changed.clone());
        // macOS tells of the path without symlinks, Linux of the one that was asked for.
        let itself = [folder.to_owned(), folder.canonicalize()?];
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error (an overflow, say) may stand for a change. Being read is none.
            match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(event) if event.paths.iter().any(|path| itself.contains(path)) => {
                    tell_folder.store(true, Ordering::Relaxed)
                }
                _ => {}
            }
            tell.notify_one();
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        // The first look comes after the watch is set up: nothing falls in between.
        changed.notify_one();
        Ok(Self { changed, folder_changed, last: None, _watcher: watcher })
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it was changed in the meantime")]
    Conflict,
    #[error("it is not there")]
    Missing,
    #[error("another process has had it locked for {:?}", LOCK_RETRY * LOCK_TRIES)]
    Locked,
    #[error("it does not hold a lease: {0}")]
    Damaged(serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Watch(notify::Error),
    #[error("the thread for it ended: {0}")]
    Ended(tokio::task::JoinError),
}

impl From<Stored> for LeaseRecord {
    fn from(stored: Stored) -> Self {
        Self {
            holder: stored.holder_identity.filter(|holder| !holder.is_empty()),
            duration: stored.lease_duration_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            acquired: stored.acquire_time_micros.map(WallTime::from_micros),
            renewed: stored.renew_time_micros.map(WallTime::from_micros),
            transitions: stored.lease_transitions,
            task: stored.task,
            token: stored.token,
            step_down: stored.step_down,
            // No API server picks anybody here.
            coordination: None,
            checkpoint: stored.checkpoint.as_deref().map(checkpoint::read),
            modules: Box::new(LeaseModules {
                module: modules::read(stored.module.as_deref()),
                waiting: modules::read(stored.waiting_module.as_deref()),
                good: modules::read(stored.good_module.as_deref()),
                refused: modules::read(stored.refused_module.as_deref()),
            }),
        }
    }
}

impl From<LeaseRecord> for Stored {
    fn from(record: LeaseRecord) -> Self {
        Self {
            version: 0,
            holder_identity: record.holder,
            lease_duration_seconds: record.duration.map(|duration| duration.as_secs()),
            acquire_time_micros: record.acquired.map(WallTime::as_micros),
            renew_time_micros: record.renewed.map(WallTime::as_micros),
            lease_transitions: record.transitions,
            task: record.task,
            token: record.token,
            step_down: record.step_down,
            checkpoint: record.checkpoint.as_ref().map(checkpoint::text),
            module: modules::text(record.modules.module.as_ref()),
            waiting_module: modules::text(record.modules.waiting.as_ref()),
            good_module: modules::text(record.modules.good.as_ref()),
            refused_module: modules::text(record.modules.refused.as_ref()),
            beside: serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_never_given_out_twice_and_deletions_lie_between() {
        for counter in (0..10).map(Counter) {
            let next = counter.next();
            let after_a_crash = next.announced().next();
            assert!(counter.deletion().0 < next.0 && counter.0 < next.announced().0 + 1);
            assert!(next.0 < next.deletion().0 && next.deletion().0 < next.next().0);
            assert!(next.0 < after_a_crash.0, "{next:?} may have been written");
            assert!(next.announced().deletion().0 < next.0, "{next:?} may yet be written");
        }
    }
}
