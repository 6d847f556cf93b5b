//! WASI's own interfaces to files, where the standard library hides what is to be seen.

use std::io;

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package leasehold:probe;
        world probe {
            import wasi:filesystem/types@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
        }
    ",
    world: "leasehold:probe/probe",
    generate_all,
});

use wasi::filesystem::{
    preopens,
    types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags},
};

/// The folder that a path is in, and the rest of the path.
fn folder(path: &str) -> io::Result<(Descriptor, String)> {
    preopens::get_directories()
        .into_iter()
        .find_map(|(folder, at)| Some((folder, path.strip_prefix(&at)?.trim_start_matches('/').to_owned())))
        .ok_or_else(|| io::Error::other("in no folder of this program"))
}

/// A symbolic link with any target, which the standard library has no function for.
pub(crate) fn symlink(target: &str, path: &str) -> io::Result<String> {
    let (folder, rest) = folder(path)?;
    folder.symlink_at(target, &rest).map_err(|code| io::Error::other(code.to_string()))?;
    Ok("linked".into())
}

/// Writes pieces of 4 KiB by the call that does not wait, and looks after each whether it is in the file.
pub(crate) fn write_without_waiting(path: &str, bytes: u64) -> io::Result<String> {
    const PIECE: usize = 4096;
    let other = |error: &dyn std::fmt::Debug| io::Error::other(format!("{error:?}"));
    let (folder, rest) = folder(path)?;
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = folder
        .open_at(PathFlags::empty(), &rest, flags, DescriptorFlags::READ | DescriptorFlags::WRITE)
        .map_err(|code| other(&code))?;
    let stream = file.write_via_stream(0).map_err(|code| other(&code))?;
    let mut written = 0;
    while written < bytes {
        let allowed = stream.check_write().map_err(|error| other(&error))?;
        if allowed < PIECE as u64 {
            return Ok(format!("{written} bytes, and then the last was not done yet"));
        }
        stream.write(&[b'x'; PIECE]).map_err(|error| other(&error))?;
        written += PIECE as u64;
        let size = file.stat().map_err(|code| other(&code))?.size;
        if size != written {
            return Ok(format!("{written} bytes, of which {size} were in the file"));
        }
    }
    Ok(format!("{written} bytes, each in the file when its call had returned"))
}
