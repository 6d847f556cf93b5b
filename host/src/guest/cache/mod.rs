//! Compiled modules, kept in a folder from one start of the host to the next: a module of many megabytes takes half a
//! minute to compile, and moments to read.
//!
//! A help and never a need: whatever is wrong with the folder costs only that modules are compiled anew. What is taken
//! from it is what a host of the same build has compiled of the same bytes on a machine like this, in this very folder
//! ([`sealed`] says how that is known). Hosts may share a folder; none waits for another.

mod folder;
mod last_known;
mod sealed;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytesize::ByteSize;
use leasehold_core::task::Digest;
use prometheus_client::metrics::counter::Counter;
use ring::rand::{SecureRandom, SystemRandom};
use wasmtime::{Engine, component::Component};

use self::{
    folder::Folder,
    sealed::{KEY_BYTES, Seal},
};

pub use self::folder::FolderError;
pub(super) use self::last_known::LastKnown;

/// The file with the key of the seals.
const KEY: &str = "key";

/// What the names of compiled modules end with.
const SUFFIX: &str = ".compiled";

/// How much a cache has at most, where nothing else is said: some twenty modules in JavaScript, or thousands in Rust.
pub const CACHE_BYTES_DEFAULT: ByteSize = ByteSize::gib(1);

/// Where compiled modules are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Made where it is missing. Nobody but this process's user may write there.
    pub folder: PathBuf,
    /// What all its modules may have together; those go first that were used least lately.
    pub size: ByteSize,
}

/// What became of modules in the cache.
#[derive(Clone, Debug, Default)]
pub struct CacheCounts {
    /// Taken from it.
    pub hits: Counter,
    /// Not in it.
    pub misses: Counter,
    /// In it, but not taken.
    pub refused: Counter,
    /// Put into it.
    pub stored: Counter,
    /// Could not be put into it, or read.
    pub failed: Counter,
    /// Removed, to make room.
    pub evicted: Counter,
}

/// Why a folder cannot be a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Of the folder itself.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its key cannot be read, or made.
    #[error("its file `{KEY}` cannot be used: {0}")]
    Key(#[from] std::io::Error),
    /// Something else is in the key's place.
    #[error("its file `{KEY}` is not one that a host has made: remove the folder, or give another")]
    NotAKey,
}

/// See the module's documentation.
pub(super) struct Cache {
    folder: Folder,
    path: PathBuf,
    seal: Seal,
    sources: last_known::Seal,
    bytes_max: u64,
    counts: CacheCounts,
    /// It was told that it cannot be written.
    told: AtomicBool,
}

impl Cache {
    /// # Errors
    /// The folder cannot be used, and why.
    pub(super) fn open(config: &CacheConfig, engine: &Engine, counts: CacheCounts) -> Result<Self, CacheError> {
        let folder = Folder::open(&config.folder)?;
        let key = key(&folder)?;
        let (seal, sources) = (Seal::new(&key, engine), last_known::Seal::new(&key));
        let (path, bytes_max) = (config.folder.clone(), config.size.as_u64());
        Ok(Self { folder, path, seal, sources, bytes_max, counts, told: AtomicBool::new(false) })
    }

    /// What `module` was compiled to before.
    pub(super) fn load(&self, module: &Digest) -> Option<Component> {
        let name = self.file_name(module);
        let file = match self.folder.read(&name, self.bytes_max) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.counts.misses.inc();
                return None;
            }
            Err(error) => {
                self.refused(module, &name, &error);
                return None;
            }
        };
        match self.seal.take(module, &file) {
            Ok(component) => {
                self.counts.hits.inc();
                Some(component)
            }
            Err(refused) => {
                self.refused(module, &name, &refused);
                None
            }
        }
    }

    /// Keeps what `module` was compiled to.
    pub(super) fn store(&self, module: &Digest, compiled: &Component) {
        let name = self.file_name(module);
        match self.try_store(module, &name, compiled) {
            Ok(evicted) => {
                self.counts.stored.inc();
                self.counts.evicted.inc_by(evicted);
                self.told.store(false, Ordering::Relaxed);
            }
            Err(why) => self.failed(&why),
        }
    }

    /// Keeps which module `source` has now.
    pub(super) fn remember(&self, source: &str, known: &LastKnown) {
        let name = last_known::Seal::file_name(source);
        let written = self.folder.replace(&name, &[&self.sources.put_on(source, known)]);
        let room = || self.folder.shrink(last_known::SUFFIX, &name, last_known::ALL_BYTES_MAX);
        if let Err(error) = written.and_then(|()| room()) {
            self.failed(&error.to_string());
        }
    }

    /// Which module `source` had when somebody last remembered it.
    pub(super) fn last_known(&self, source: &str) -> Option<LastKnown> {
        let name = last_known::Seal::file_name(source);
        let file = self.folder.read(&name, last_known::BYTES_MAX).ok().flatten()?;
        self.sources.take(source, &file)
    }

    fn failed(&self, why: &str) {
        self.counts.failed.inc();
        // A full disk stays full for a while.
        if !self.told.swap(true, Ordering::Relaxed) {
            let folder = self.path.display();
            tracing::warn!(
                event = "module-cache-failed",
                "compiled modules cannot be kept in {folder} for now, and are compiled again at the next start: {why}"
            );
        }
    }

    /// How many others had to go.
    fn try_store(&self, module: &Digest, name: &str, compiled: &Component) -> Result<u64, String> {
        let sealed = self.seal.put_on(module, compiled).map_err(|error| format!("{error:#}"))?;
        let size = (sealed.head.len() + sealed.code.len()) as u64;
        if size > self.bytes_max {
            let (size, all) = (ByteSize(size), ByteSize(self.bytes_max));
            return Err(format!("{module} has {size}, and all of them together may have {all}"));
        }
        let written = self.folder.replace(name, &[&sealed.head, &sealed.code]);
        written.and_then(|()| self.folder.shrink(SUFFIX, name, self.bytes_max)).map_err(|error| error.to_string())
    }

    fn refused(&self, module: &Digest, name: &str, why: &dyn std::fmt::Display) {
        self.counts.refused.inc();
        let file = self.path.join(name);
        tracing::warn!(
            event = "module-cache-refused",
            digest = &**module,
            "{} is not taken, and the module is compiled: {why}",
            file.display()
        );
    }

    fn file_name(&self, module: &Digest) -> String {
        format!("{}{SUFFIX}", self.seal.file_stem(module))
    }
}

/// The folder's key, made by the first host that needs it.
fn key(folder: &Folder) -> Result<[u8; KEY_BYTES], CacheError> {
    let read = || folder.read(KEY, KEY_BYTES as u64);
    let bytes = match read()? {
        Some(bytes) => bytes,
        None => {
            let mut new = [0; KEY_BYTES];
            let random = SystemRandom::new().fill(&mut new);
            random.map_err(|ring::error::Unspecified| std::io::Error::other("the system has no random numbers"))?;
            folder.create(KEY, &new)?;
            // Another host may have been first.
            read()?.ok_or(CacheError::NotAKey)?
        }
    };
    bytes.try_into().map_err(|_| CacheError::NotAKey)
}

/// Says that compiled modules are kept, or why they are not.
pub(super) fn tell(folder: &Path, opened: &Result<Cache, CacheError>) {
    let folder = folder.display();
    match opened {
        Ok(_) => tracing::info!(event = "module-cache", "compiled modules are kept in {folder}"),
        Err(error) => tracing::warn!(
            event = "module-cache-off",
            "compiled modules are not kept in {folder}, so that each start compiles them anew: {error}"
        ),
    }
}

#[cfg(test)]
mod tests;
