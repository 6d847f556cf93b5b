//! From what a source has to a module that only has to be instantiated: compiled, linked and checked, beside whatever
//! runs. ([`super::ready`] keeps a task's module ready with it.)
//!
//! However many tasks run one module, it is read, hashed and compiled once: a source is followed once
//! for all tasks that name it ([`Modules::follow`]), and what has the same digest is the same [`ReadyModule`],
//! wherever it came from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use bytesize::ByteSize;
use futures_util::{StreamExt, stream};
use leasehold_core::task::Digest;
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::{
    guest::{
        compile::COMPILED_AT_ONCE_MAX,
        module::{ModuleError, ReadyModule, digest},
        runtime::GuestRuntime,
    },
    module::{Changes, ModuleSource, ReadError},
};

/// Why a module is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Rejected {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Read(Arc<ReadError>),
    /// It cannot be a task.
    #[error(transparent)]
    Module(Arc<ModuleError>),
    /// It is not the pinned one.
    #[error(
        "its digest is {found}, but the task is pinned to {pinned}: change the pin, or give the file that it names"
    )]
    Pinned {
        /// Of the bytes.
        found: Digest,
        /// Of the config.
        pinned: Digest,
    },
    /// What compiled it panicked.
    #[error("compiling it failed, which is a defect: {0}")]
    Defect(Arc<str>),
}

impl From<ReadError> for Rejected {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}

/// What is made of bytes with one digest, by whoever needs it first.
type Ready = OnceCell<Result<Arc<ReadyModule>, Rejected>>;

/// What a source had at some time.
pub struct Found {
    /// Of the bytes.
    pub digest: Digest,
    /// How many bytes there are.
    pub bytes_len: usize,
    /// Until they are compiled.
    bytes: Mutex<Bytes>,
    ready: Arc<Ready>,
    /// Under this name it is to be kept that this is what the source has, as soon as it is ready.
    to_remember: Mutex<Option<Arc<str>>>,
}

/// What a source has, as far as it can be had; `None` until it was read for the first time.
pub type Version = Option<Result<Arc<Found>, Arc<ReadError>>>;

/// Makes modules ready, each once.
pub struct Modules {
    guests: Arc<GuestRuntime>,
    compiling: Semaphore,
    by_digest: Mutex<HashMap<Digest, Weak<Ready>>>,
}

impl Modules {
    /// For guests that run on `guests`.
    pub fn new(guests: Arc<GuestRuntime>) -> Self {
        Self { guests, compiling: Semaphore::new(COMPILED_AT_ONCE_MAX), by_digest: Mutex::default() }
    }

    /// What `source` has as soon as it was read, and from then on the newest of what it has; nobody waits for that
    /// here. Nothing more is told where changes cannot be noticed any more.
    ///
    /// # Errors
    /// The system does not tell of changes.
    pub fn follow(self: &Arc<Self>, source: ModuleSource) -> Result<watch::Receiver<Version>, ReadError> {
        // First, so that no change is missed while the bytes of now are read.
        let changes = source.changes()?;
        let (newest, versions) = watch::channel(None);
        tokio::spawn(self.clone().tell_changes(source, changes, newest));
        Ok(versions)
    }

    async fn tell_changes(self: Arc<Self>, source: ModuleSource, changes: Changes, newest: watch::Sender<Version>) {
        let name: Option<Arc<str>> = source.remembered_as().map(Arc::from);
        let mut reads = stream::once(async { source.read().await }).boxed().chain(changes);
        loop {
            tokio::select! {
                read = reads.next() => match read {
                    Some(read) => {
                        let mut found = self.found(read, name.clone()).await;
                        let first = newest.borrow().is_none();
                        if let (true, Err(error), Some(name)) = (first, &found, &name)
                            && error.is_of_the_source()
                            && let Some(last_known) = self.last_known(name, error).await
                        {
                            found = Ok(last_known);
                        }
                        if newest.send(Some(found)).is_err() {
                            return;
                        }
                    }
                    None => return,
                },
                () = newest.closed() => return,
            }
        }
    }

    /// Not hashed here: this is the control thread, and a large module takes its time.
    async fn found(
        &self,
        read: Result<Vec<u8>, ReadError>,
        to_remember: Option<Arc<str>>,
    ) -> Result<Arc<Found>, Arc<ReadError>> {
        let bytes = read.map_err(Arc::new)?;
        let hashed = tokio::task::spawn_blocking(move || (digest(&bytes), bytes)).await;
        let (digest, bytes) = hashed.map_err(|panicked| Arc::new(ReadError::Defect(panicked.to_string())))?;
        let ready = self.ready_of(&digest);
        let (bytes_len, to_remember) = (bytes.len(), Mutex::new(to_remember));
        Ok(Arc::new(Found { digest, bytes_len, bytes: Mutex::new(bytes.into()), ready, to_remember }))
    }

    /// What the cache has of a source that cannot be reached.
    async fn last_known(&self, name: &Arc<str>, error: &ReadError) -> Option<Arc<Found>> {
        let (guests, source) = (self.guests.clone(), name.clone());
        let read = tokio::task::spawn_blocking(move || guests.last_known(&source)).await;
        let module = Arc::new(read.ok().flatten()?);
        let digest = module.digest.clone();
        tracing::warn!(event = "module-last-known", digest = &*digest, "the module that it had last is used: {error}");
        let ready = self.ready_of(&digest);
        let module = ready.get_or_init(|| async { Ok(module) }).await.as_ref().ok()?;
        let bytes_len = usize::try_from(module.size.as_u64()).ok()?;
        let (bytes, to_remember) = (Mutex::default(), Mutex::default());
        Some(Arc::new(Found { digest, bytes_len, bytes, ready: ready.clone(), to_remember }))
    }

    fn ready_of(&self, digest: &Digest) -> Arc<Ready> {
        let mut by_digest = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = by_digest.get(digest).and_then(Weak::upgrade) {
            return ready;
        }
        // Of the modules that nobody has any more, nothing is kept.
        by_digest.retain(|_, ready| ready.strong_count() > 0);
        let ready = Arc::new(Ready::new());
        by_digest.insert(digest.clone(), Arc::downgrade(&ready));
        ready
    }

    /// Compiles, links and checks what was found, where nobody has done so before.
    ///
    /// # Errors
    /// Why it is not taken.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn prepare(&self, found: &Found, pinned: Option<&Digest>) -> Result<Arc<ReadyModule>, Rejected> {
        if let Some(pinned) = pinned.filter(|pinned| **pinned != found.digest) {
            return Err(Rejected::Pinned { found: found.digest.clone(), pinned: pinned.clone() });
        }
        let compile = || async {
            // It is never closed.
            let _turn = self.compiling.acquire().await;
            // A large one takes many seconds, and whoever waits should know for what.
            let size = ByteSize(found.bytes_len as u64);
            tracing::info!(event = "module-loading", digest = &*found.digest, "making a module of {size} ready");
            let bytes = found.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let guests = self.guests.clone();
            let compiled = tokio::task::spawn_blocking(move || guests.prepare(&bytes)).await;
            match compiled {
                Ok(Ok(module)) => Ok(Arc::new(module)),
                Ok(Err(error)) => Err(Rejected::Module(Arc::new(error))),
                Err(panicked) => Err(Rejected::Defect(panicked.to_string().into())),
            }
        };
        let ready = found.ready.get_or_init(compile).await.clone();
        // There may be many megabytes of them, and they have done what they were read for.
        std::mem::take(&mut *found.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        let to_remember = found.to_remember.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Ok(module), Some(source)) = (&ready, to_remember) {
            let (guests, module) = (self.guests.clone(), module.clone());
            // Nobody waits for it: whether it is kept is told by the cache.
            tokio::task::spawn_blocking(move || guests.remember(&source, &module));
        }
        ready
    }
}
