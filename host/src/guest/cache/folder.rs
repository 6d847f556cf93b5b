//! A folder that only this user writes to, and its files: read whole, replaced in one step.
//!
//! The folder is opened once, checked, and used by its descriptor from then on: who may write in the folder above
//! could put another in its place, but not under this one.

use std::{
    ffi::CString,
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, fstat, fsync, futimens, linkat,
        openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

/// Where files are written before they get their name.
const TEMPORARY: &str = ".new-";

/// A temporary file that is older was left by a process that has ended.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can be neither found nor made.
    #[error("it cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// It is another user's.
    #[error("it belongs to user {owner}, and this process runs as {user}: give a folder of its own")]
    Foreign {
        /// Of the folder.
        owner: u32,
        /// Of this process.
        user: u32,
    },
    /// Others may write there.
    #[error("others may write there (mode {0}): `chmod go-w` it, or give a folder of its own")]
    Writable(String),
}

impl From<Errno> for FolderError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// Whether nobody but this user, and root, can have written it.
fn check(stat: &Stat) -> Result<(), FolderError> {
    let (owner, user) = (stat.st_uid, geteuid().as_raw());
    if owner != user {
        return Err(FolderError::Foreign { owner, user });
    }
    // Where there is an access control list, the group's bits are what it grants to anybody at most.
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(FolderError::Writable(format!("{:03o}", mode.bits())));
    }
    Ok(())
}

impl Folder {
    /// Made where it is missing, for this user alone.
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        check(&fstat(&folder)?)?;
        Ok(Self(folder))
    }

    /// All of a file, which was used now; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, has more than `bytes_max`, or somebody else may have written it.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        // Not to wait for who writes, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => File::from(opened?),
        };
        let stat = fstat(&file)?;
        check(&stat).map_err(io::Error::other)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a file"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > bytes_max {
            return Err(io::Error::other(format!("it has {size} bytes, and {bytes_max} is all there may be")));
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // On a disk that takes no writes it is merely forgotten how lately it was used.
        let _ = futimens(&file, &Timestamps { last_access: now, last_modification: now });
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A file with this content, in place of what has its name: whole or not at all, after a power cut as well.
    pub(super) fn replace(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.written(parts, |temporary| Ok(renameat(&self.0, temporary, &self.0, name)?))
    }

    /// A file with this content, where there is none of its name.
    pub(super) fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.written(&[content], |temporary| {
            let linked = linkat(&self.0, temporary, &self.0, name, AtFlags::empty());
            unlinkat(&self.0, temporary, AtFlags::empty())?;
            if linked != Err(Errno::EXIST) { Ok(linked?) } else { Ok(()) }
        })
    }

    fn written(&self, parts: &[&[u8]], give_name: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
        let temporary = format!("{TEMPORARY}{}-{:016x}", std::process::id(), fastrand::u64(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.0, &*temporary, flags, Mode::RUSR | Mode::WUSR)?);
        let written = (|| {
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            give_name(&temporary)
        })();
        if written.is_err() {
            // What is told is why it could not be written; and it goes with the next eviction, if not now.
            let _ = unlinkat(&self.0, &*temporary, AtFlags::empty());
        }
        written?;
        Ok(fsync(&self.0)?)
    }

    /// Removes what was used least lately of the files whose names end with `suffix`, but `newest`, until the others
    /// have `bytes_max` together; and what was left half written long ago. Returns how many of the former.
    ///
    /// Others may be doing the same, and may be reading what is removed: they have it open.
    pub(super) fn shrink(&self, suffix: &str, newest: &str, bytes_max: u64) -> io::Result<u64> {
        let mut files = Vec::new();
        let mut total = 0;
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_owned();
            let Ok(stat) = statat(&self.0, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let (used, size) = (stat.st_mtime, u64::try_from(stat.st_size).unwrap_or(0));
            if name.to_bytes().starts_with(TEMPORARY.as_bytes()) {
                if seconds_ago(used) > ABANDONED_AFTER.as_secs() {
                    self.remove(&name)?;
                }
            } else if name.to_bytes().ends_with(suffix.as_bytes()) {
                total += size;
                if name.to_bytes() != newest.as_bytes() {
                    files.push((used, stat.st_mtime_nsec, size, name));
                }
            }
        }
        files.sort_unstable();
        let mut removed = 0;
        for (_, _, size, name) in files {
            if total <= bytes_max {
                break;
            }
            self.remove(&name)?;
            total -= size;
            removed += 1;
        }
        Ok(removed)
    }

    /// It may be gone already.
    fn remove(&self, name: &CString) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn seconds_ago(unix: i64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(u64::try_from(unix).unwrap_or(0))
}
