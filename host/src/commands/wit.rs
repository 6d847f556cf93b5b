//! `leasehold wit`

use std::io::{self, Write};

/// Prints the package's own files; what they need of WASI is in the folder `deps` beside them.
///
/// # Errors
/// stdout is closed.
pub fn wit() -> io::Result<()> {
    let world = include_str!("../../../wit/world.wit");
    let leadership = include_str!("../../../wit/leadership.wit");
    let checkpoint = include_str!("../../../wit/checkpoint.wit");
    let progress = include_str!("../../../wit/progress.wit");
    write!(io::stdout(), "{world}\n{leadership}\n{checkpoint}\n{progress}")
}
