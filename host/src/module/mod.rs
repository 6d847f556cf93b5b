//! Where modules come from: bytes, and every later change of them.

pub mod cargo;
mod changed;
pub mod compressed;
pub mod configmap;
pub mod file;
mod file_changes;
pub mod oci;

use std::path::PathBuf;

use bytesize::ByteSize;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use cargo::Package;
use compressed::CompressedError;
use configmap::ConfigMapKey;
use oci::{OciError, OciModule};

/// The largest module that is read: a Python guest is 20 MB, and nothing sane is three times that.
pub const MODULE_BYTES_MAX: ByteSize = ByteSize::mib(64);

/// A module's bytes now, and every change of them. Ends only where changes cannot be noticed any more.
pub type Changes = BoxStream<'static, Result<Vec<u8>, ReadError>>;

/// Where one module comes from.
#[derive(Clone)]
pub enum ModuleSource {
    /// A file, replaced in any way.
    File(PathBuf),
    /// A key of a ConfigMap, watched through the API.
    ConfigMap(ConfigMapKey),
    /// An artifact in an OCI registry.
    Oci(OciModule),
    /// A cargo package, built anew when it is saved.
    Package(Package),
}

impl ModuleSource {
    /// The bytes as they are now, expanded where they are compressed.
    ///
    /// # Errors
    /// They cannot be had.
    ///
    /// # Cancel safety
    /// May be dropped at any time; a build that runs is not waited for.
    pub async fn read(&self) -> Result<Vec<u8>, ReadError> {
        expanded(self.read_as_it_is().await).await
    }

    async fn read_as_it_is(&self) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                off_thread(move || file::read(&path)).await
            }
            Self::ConfigMap(key) => key.read().await,
            Self::Oci(module) => Ok(module.read().await?),
            Self::Package(package) => {
                let package = package.clone();
                off_thread(move || package.build()).await
            }
        }
    }

    /// Under what name it is remembered what this source had last, where a host is to start without it: by that name
    /// alone it is clear whence the bytes were and who had to have signed them. Not of what is on this machine, nor on
    /// the API server, without which nobody leads anyway.
    pub fn remembered_as(&self) -> Option<String> {
        match self {
            Self::Oci(module) => Some(module.name()),
            Self::File(_) | Self::ConfigMap(_) | Self::Package(_) => None,
        }
    }

    /// The bytes again, whenever they may have changed from this call on.
    ///
    /// # Errors
    /// The system does not tell of changes.
    pub fn changes(&self) -> Result<Changes, ReadError> {
        Ok(self.changes_as_they_are()?.then(expanded).boxed())
    }

    fn changes_as_they_are(&self) -> Result<Changes, ReadError> {
        match self {
            Self::File(path) => Ok(file_changes::changes(path.clone())),
            Self::ConfigMap(key) => Ok(key.changes()),
            Self::Oci(module) => Ok(module.changes().map(|change| Ok(change?)).boxed()),
            Self::Package(package) => {
                let folder = package.folder.clone();
                package.clone().changes().map_err(|error| ReadError::Unwatched { path: folder, error })
            }
        }
    }
}

async fn expanded(read: Result<Vec<u8>, ReadError>) -> Result<Vec<u8>, ReadError> {
    let bytes = read?;
    if compressed::is_compressed(&bytes) { off_thread(move || Ok(compressed::expand(bytes)?)).await } else { Ok(bytes) }
}

/// Reading a large file takes its time, and on the control thread renewals would wait for it.
async fn off_thread(read: impl FnOnce() -> Result<Vec<u8>, ReadError> + Send + 'static) -> Result<Vec<u8>, ReadError> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|panicked| Err(ReadError::Defect(panicked.to_string())))
}

/// Why a module's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{} cannot be read: {}", path.display(), file::in_plain_words(error))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It has more than [`MODULE_BYTES_MAX`].
    #[error("{} has {size}, and more than {MODULE_BYTES_MAX} is not taken for a task", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: ByteSize,
    },
    /// It was another one at the end than at the beginning.
    #[error("{} is being written to, and is read when that is done", _0.display())]
    BeingWritten(PathBuf),
    /// The system does not tell of changes there.
    #[error("cannot notice changes of {}: {error}", path.display())]
    Unwatched {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: notify::Error,
    },
    /// The guest's sources do not build.
    #[error(
        "the build failed: cargo's own words are above (is the target missing? `rustup target add wasm32-wasip2` installs it)"
    )]
    Build,
    /// What it is compressed with does not expand to a module.
    #[error(transparent)]
    Compressed(#[from] CompressedError),
    /// There is no such artifact, or it is not to be run.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// There is no such ConfigMap, or it has no such key.
    #[error("{0}")]
    Missing(String),
    /// The ConfigMap cannot be read for now, or may not be read.
    #[error("{0}")]
    Unavailable(String),
    /// What should have read it panicked.
    #[error("reading it failed, which is a defect: {0}")]
    Defect(String),
}

impl ReadError {
    /// Whether this says nothing about the module: its source cannot be reached.
    pub fn is_of_the_source(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unwatched { .. } | Self::BeingWritten(_) | Self::Defect(_) => true,
            Self::Oci(error) => error.is_of_the_registry(),
            _ => false,
        }
    }
}
