//! `leasehold wit`

use std::io::{self, Write};

/// A file's path below `wit/`, and its text.
pub(super) type WitFile = (&'static str, &'static str);

macro_rules! wit_files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../wit/", $path)))),*] };
}

/// The package `leasehold:task`.
const PACKAGE: &[WitFile] = wit_files!["world.wit", "leadership.wit", "checkpoint.wit", "progress.wit"];

/// What it needs of WASI.
const DEPS: &[WitFile] = wit_files![
    "deps/cli.wit",
    "deps/clocks.wit",
    "deps/filesystem.wit",
    "deps/http.wit",
    "deps/io.wit",
    "deps/random.wit",
    "deps/sockets.wit",
];

/// Prints the package's own files; what they need of WASI is in the folder `deps` beside them.
///
/// # Errors
/// stdout is closed.
pub fn wit() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (index, (_, text)) in PACKAGE.iter().enumerate() {
        write!(out, "{}{text}", if index == 0 { "" } else { "\n" })?;
    }
    Ok(())
}

/// All of `wit/`, as a folder that a bindings generator takes.
pub(super) fn wit_files() -> impl Iterator<Item = WitFile> {
    PACKAGE.iter().chain(DEPS).copied()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn no_file_of_the_package_is_left_out() {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let mut there = BTreeSet::new();
        for folder in ["", "deps/"] {
            for entry in fs::read_dir(wit.join(folder)).expect("the folder can be read") {
                let name = entry.expect("the folder can be read").file_name().into_string().expect("it is UTF-8");
                if name.ends_with(".wit") {
                    there.insert(format!("{folder}{name}"));
                }
            }
        }
        assert_eq!(wit_files().map(|(path, _)| path.to_owned()).collect::<BTreeSet<_>>(), there);
    }
}
