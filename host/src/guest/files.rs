//! Folders of the host that a task's components may use, and nothing outside of them: no `..`, and no symbolic link that
//! leads out, gets anywhere.
//!
//! Where a folder may be written, each operation on files is done within the guest's call, on its thread: when the call
//! has returned, or the run has ended, nothing of it is left to be written. (WASI's own, of wasmtime, writes on another
//! thread, which the end of the run does not wait for.) A disk that does not answer then holds one of the guests' threads.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use bytes::Bytes;
use futures_util::FutureExt;
use serde::Deserialize;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    FsPerms, WasiCtxBuilder,
    filesystem::WasiFilesystemView,
    p2::{
        DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult,
        bindings::filesystem::types::{Descriptor, ErrorCode, HostDescriptor},
    },
};

use super::state::State;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it is for the guest.
    pub guest: GuestPath,
    /// What may be done there.
    pub access: Access,
}

/// What may be done in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// No file is changed.
    #[default]
    Read,
    /// Everything.
    Write,
}

/// An absolute path, as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct GuestPath(String);

impl GuestPath {
    /// The same place as on the host.
    ///
    /// # Errors
    /// The host's is not a path that a guest could have.
    pub fn same_as(host: &Path) -> Result<Self, String> {
        let path =
            host.to_str().ok_or_else(|| format!("{} is not UTF-8: say where it is for the guest", host.display()))?;
        path.parse()
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GuestPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = if text == "/" { text } else { text.trim_end_matches('/') };
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        match path.strip_prefix('/') {
            Some("") => Ok(Self(path.into())),
            Some(rest) if rest.split('/').all(plain) => Ok(Self(path.into())),
            _ => Err(format!("{text:?} is not an absolute path without `.` and `..`, such as /reports")),
        }
    }
}

impl TryFrom<String> for GuestPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `HOST[:GUEST][:rw]`
impl FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected FOLDER, FOLDER:PATH_FOR_THE_GUEST, or either with :rw after it";
        let (rest, access) = match text.rsplit_once(':') {
            Some((rest, "rw")) => (rest, Access::Write),
            Some((rest, "ro")) => (rest, Access::Read),
            _ => (text, Access::Read),
        };
        let (host, guest) = match rest.split_once(':') {
            Some((_, guest)) if guest.contains(':') => return Err(expected.into()),
            Some((host, guest)) => (host, guest.parse()?),
            None => (rest, GuestPath::same_as(Path::new(rest))?),
        };
        if host.is_empty() {
            return Err(expected.into());
        }
        Ok(Self { host: host.into(), guest, access })
    }
}

/// Lets the guest have these.
///
/// # Errors
/// One of them cannot be opened.
pub(super) fn open(folders: &[Folder], wasi: &mut WasiCtxBuilder) -> Result<(), String> {
    // Before any is opened: each takes it with it.
    wasi.allow_blocking_current_thread(folders.iter().any(|folder| folder.access == Access::Write));
    for Folder { host, guest, access } in folders {
        let access = match access {
            Access::Read => FsPerms::ReadOnly,
            Access::Write => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(host, guest.as_str(), access)
            .map_err(|error| format!("the folder {} (allow.files) cannot be opened: {error}", host.display()))?;
    }
    Ok(())
}

/// The WASI that is linked.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Puts streams that write within the guest's call in the place of those that write later.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Opened = (Result<Resource<DynOutputStream>, ErrorCode>,);
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, State>,
         (file, offset): (Resource<Descriptor>, u64)|
         -> wasmtime::Result<Opened> {
            let state = store.data_mut();
            let opened = state.filesystem().write_via_stream(file, offset);
            within_calls(state, opened)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, State>, (file,): (Resource<Descriptor>,)| -> wasmtime::Result<Opened> {
            let state = store.data_mut();
            let opened = state.filesystem().append_via_stream(file);
            within_calls(state, opened)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn within_calls(
    state: &mut State,
    opened: FsResult<Resource<DynOutputStream>>,
) -> wasmtime::Result<(Result<Resource<DynOutputStream>, ErrorCode>,)> {
    match opened {
        Ok(stream) => {
            let theirs: DynOutputStream = state.table.delete(stream)?;
            Ok((Ok(state.table.push(Box::new(WithinCalls(theirs)) as DynOutputStream)?),))
        }
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// A file's stream whose writes are done when they return.
struct WithinCalls(DynOutputStream);

#[wasmtime_wasi::async_trait]
impl Pollable for WithinCalls {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for WithinCalls {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // With leave to block the thread (`open`), it is not suspended.
        self.0.blocking_write_and_flush(bytes).now_or_never().unwrap_or_else(|| {
            Err(StreamError::Trap(wasmtime::format_err!(
                "a file was written on another thread, which is a defect of the host"
            )))
        })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.blocking_write_and_flush(bytes).await
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.check_write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> Folder {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_folder_is_for_reading_unless_it_says_otherwise() {
        let reports =
            |access| Folder { host: "/data/reports".into(), guest: "/reports".parse().expect("a path"), access };
        assert_eq!(folder("/data/reports:/reports"), reports(Access::Read));
        assert_eq!(folder("/data/reports:/reports/:ro"), reports(Access::Read));
        assert_eq!(folder("/data/reports:/reports:rw"), reports(Access::Write));
        assert_eq!(folder("/data:rw").guest.as_str(), "/data");
        assert_eq!(folder("here:/there").host, Path::new("here"));
    }

    #[test]
    fn a_guests_path_is_absolute_and_goes_nowhere_else() {
        for text in ["", ":/a", "data", "/a:b", "/a:/../b", "/a:/b//c", "/a:/./b", "/a:/b:/c"] {
            assert!(text.parse::<Folder>().is_err(), "{text}");
        }
        assert_eq!("/".parse::<GuestPath>().map(|path| path.to_string()), Ok("/".into()));
    }
}
