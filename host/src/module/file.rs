//! A module in a file: its bytes, and what tells that they may be others. ([`super::file_changes`] follows it.)

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use bytesize::ByteSize;

use super::{MODULE_BYTES_MAX, ReadError};

pub(super) fn in_plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::IsADirectory => "it is a folder; give the `.wasm` file in it".into(),
        _ => error.to_string(),
    }
}

/// What a file is known by, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// As well when its time was set back, as `cp --preserve` and `tar` do.
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(file: Metadata) -> Self {
        Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// `None` where there is no file now, or none that can be looked at.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(Stamp::from)
}

/// The file's bytes. Not some of what was there before with some of what is there now: where it is written to at
/// the same time, that is an error. (Who writes it in pieces may be between two of them; that is not seen here.)
///
/// # Errors
/// It cannot be read, is larger than any task, or is being written.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let failed = |error| ReadError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    let size = ByteSize(before.len());
    if size > MODULE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned(), size });
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.by_ref().take(MODULE_BYTES_MAX.as_u64()).read_to_end(&mut bytes).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    if (before.size(), before.modified().ok()) != (after.size(), after.modified().ok()) {
        return Err(ReadError::BeingWritten(path.to_owned()));
    }
    Ok(bytes)
}
