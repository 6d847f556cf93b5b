//! Leases in a folder, for one machine: development, tests, and the first try without a cluster.
//!
//! `<namespace>.<lease>.json` holds the record; it is replaced atomically, so that a reader needs
//! no lock. `<namespace>.<lease>.lock` is what writers lock, and it holds the last version given
//! out, so that versions, and so fencing tokens, go on growing when the Lease is deleted.
//!
//! A process that is suspended while it holds the lock keeps others from taking over until it
//! goes on or ends; nobody leads then, never two.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use leasehold_core::{
    lease::{LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure, WatchUpdate},
    time::WallTime,
};
use notify::{RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How often a lock is tried that another process has.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// How often before it counts as unavailable; a writer holds it for well under a millisecond.
const LOCK_TRIES: u32 = 500;
/// How long to wait before a broken watch is tried again.
const REWATCH_DELAY: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: Arc<Path>,
    name: Arc<str>,
}

/// The file's content: the fields of `LeaseSpec` and our annotations, and the version.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u64,
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    acquire_time_micros: Option<i64>,
    renew_time_micros: Option<i64>,
    lease_transitions: u32,
    task: Option<String>,
    token: Option<u64>,
}

impl FileStore {
    /// The Lease `namespace/name` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, or no file can be made in it.
    pub fn open(folder: &Path, namespace: &str, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        tempfile::tempfile_in(folder)?;
        Ok(Self { folder: folder.into(), name: format!("{namespace}.{name}").into() })
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.name))
    }

    fn error(&self, verb: &str, error: Failed) -> StoreError {
        let failure = match &error {
            Failed::Conflict => StoreFailure::Conflict,
            Failed::Missing => StoreFailure::Missing,
            Failed::Damaged(_) => StoreFailure::Rejected,
            Failed::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => StoreFailure::Denied,
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
        let given_out = match fs::read_to_string(self.path("lock")) {
            Ok(text) => parse_counter(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(match self.read_file()? {
            Some(stored) => Observation::Present { version: Version(stored.version), record: stored.into() },
            None => Observation::Missing { deleted_at: Some(Version(given_out)) },
        })
    }

    fn replace(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, Failed> {
        let mut lock = Lock::take(&self.path("lock"))?;
        let current = self.read_file()?;
        let current_version = current.map(|stored| stored.version);
        match (based_on, current_version) {
            (None, None) => {}
            (Some(based_on), Some(current)) if based_on.0 == current => {}
            (Some(_), None) => return Err(Failed::Missing),
            _ => return Err(Failed::Conflict),
        }
        let version = lock.last_version()?.max(current_version.unwrap_or(0)) + 1;
        let stored = Stored { version, ..record.clone().into() };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer_pretty(&mut file, &stored).map_err(io::Error::from)?;
        file.as_file().sync_data()?;
        file.persist(self.path("json")).map_err(|error| error.error)?;
        // After the record: see `observe`. Where it fails, the record's own version still counts.
        lock.set_last_version(version)?;
        Ok(Version(version))
    }
}

/// The lock file, locked until this is dropped.
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> Result<Self, Failed> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        Err(Failed::Locked)
    }

    fn last_version(&mut self) -> Result<u64, Failed> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        Ok(parse_counter(&text))
    }

    fn set_last_version(&mut self, version: u64) -> Result<(), Failed> {
        self.0.rewind()?;
        // Of fixed width, so that a shorter number never leaves digits of a longer one behind.
        writeln!(self.0, "{version:020}")?;
        self.0.sync_data()?;
        Ok(())
    }
}

/// The lock file's content: empty when it was just made.
fn parse_counter(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
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
                            let error = store.error("watch", Failed::Watch(error));
                            tokio::time::sleep(REWATCH_DELAY).await;
                            break WatchUpdate::Broken(error);
                        }
                    },
                    Some(watching) => {
                        watching.changed.notified().await;
                        break match store.read().await {
                            Ok(seen) if watching.last.as_ref() == Some(&seen) => continue,
                            Ok(seen) => {
                                watching.last = Some(seen.clone());
                                WatchUpdate::Seen(seen)
                            }
                            Err(error) => WatchUpdate::Broken(error),
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
struct Watching {
    changed: Arc<Notify>,
    last: Option<Observation>,
    _watcher: notify::RecommendedWatcher,
}

impl Watching {
    fn begin(folder: &Path) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error (an overflow, say) may stand for a change. Being read is none.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            tell.notify_one();
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        // The first look comes after the watch is set up: nothing falls in between.
        changed.notify_one();
        Ok(Self { changed, last: None, _watcher: watcher })
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
        }
    }
}
