//! The container's termination message: a file that the kubelet makes for each instance of a
//! container, and copies into the Pod's status when that instance has ended.
//!
//! It gets this process's identity at the start, so that its end, however it comes, can be proven
//! to the others ([`crate::kubernetes::holder`]); and at the end the reason, for people.
//!
//! <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

/// The kubelet's default (`terminationMessagePath`). Elsewhere than in a Pod there is none.
const FILE: &str = "/dev/termination-log";
const PREFIX: &str = "leasehold identity ";

/// The message of a process with this identity.
pub fn message(identity: &str) -> String {
    format!("{PREFIX}{identity}\n")
}

/// The identity in a message.
pub fn identity_in(message: &str) -> Option<&str> {
    message.lines().find_map(|line| line.strip_prefix(PREFIX))
}

/// Writes this process's identity. In a Pod where that fails, the log says what it costs.
pub fn write_identity(identity: &str) {
    match write(Path::new(FILE), &message(identity)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(
                event = "no-termination-message",
                "cannot write {FILE} ({error}): if this container crashes, its lease will be waited out"
            );
        }
        Ok(()) | Err(_) => {}
    }
}

/// Writes why the process ends. It has been said on stderr already.
pub fn write_reason(reason: &str) {
    // Where this fails, the identity could not be written either, and the log has said so.
    let _ = write(Path::new(FILE), &format!("{reason}\n"));
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // Never made: where the kubelet has not, nobody would read it.
    let mut file: File = OpenOptions::new().append(true).open(file)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_found_beside_a_reason_and_nowhere_else() {
        let whole = format!("{}error: the disk is full\n", message("pod-1_0a"));
        assert_eq!(identity_in(&whole), Some("pod-1_0a"));
        assert_eq!(identity_in("error: no leasehold identity pod-1_0a"), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("termination-log");
        assert_eq!(write(&file, "x").expect_err("there is none").kind(), ErrorKind::NotFound);
        std::fs::write(&file, "").expect("made");
        write(&file, &message("a_1")).expect("written");
        write(&file, "error: x\n").expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "leasehold identity a_1\nerror: x\n");
    }
}
