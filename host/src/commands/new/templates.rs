//! What `leasehold new` writes: for each language the files of `host/templates`, what they need of the WIT package, and
//! what they share with the examples.

use std::borrow::Cow;

use clap::ValueEnum;

use crate::commands::wit::wit_files;

/// A language that a task can be begun in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust: the smallest, and what `leasehold dev` builds
    #[default]
    Rust,
    /// JavaScript, with an engine of its own (14 MB)
    Js,
    /// Python, with an interpreter of its own (18 MB)
    Python,
    /// Go, by its own compiler (3 MB)
    Go,
    /// C, by clang
    C,
}

/// A path below the project's folder, and what stands there.
type File = (String, Cow<'static, [u8]>);

/// A file as it is embedded.
type Embedded = (&'static str, &'static [u8]);

macro_rules! template {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../templates/", $folder, "/", $path)) as &[u8])),*]
    };
}

/// Files of guest-examples, by the names they have in a project.
macro_rules! examples {
    ($folder:literal as $place:literal: $($path:literal),* $(,)?) => {
        &[$((
            concat!($place, $path),
            include_bytes!(concat!("../../../../guest-examples/", $folder, "/", $path)) as &[u8],
        )),*]
    };
}

/// The part of each README that is the same.
const RUN: &str = include_str!("../../../templates/run.md");

impl Language {
    /// All files of a project.
    pub(super) fn files(self) -> Vec<File> {
        let (ignored, own, shared): (_, &[Embedded], &[Embedded]) = match self {
            Self::Rust => ("/target/\n", template!["rust": "Cargo.lock", "Cargo.toml", "README.md", "src/lib.rs"], &[]),
            Self::Js => (
                "/node_modules/\n",
                template!["js": "README.md", "task.js"],
                examples!["webhook-relay" as "": "package.json", "package-lock.json"],
            ),
            Self::Python => (
                "/.venv/\n__pycache__/\n",
                template!["python": "README.md", "task.py"],
                examples!["periodic-report" as "": "requirements.in", "requirements.txt"],
            ),
            Self::Go => (
                "",
                template!["go": "README.md", "go.mod", "main.go"],
                examples!["bindings/go" as "leasehold/":
                    "client/client.go",
                    "component-type.section",
                    "exports/export_wit_world/start.go",
                    "exports/wit_exports/wit_exports.go",
                    "go.mod",
                    "go.sum",
                    "imports/leasehold_task_checkpoint/empty.s",
                    "imports/leasehold_task_checkpoint/wit_bindings.go",
                    "imports/leasehold_task_leadership/empty.s",
                    "imports/leasehold_task_leadership/wit_bindings.go",
                    "imports/leasehold_task_progress/empty.s",
                    "imports/leasehold_task_progress/wit_bindings.go",
                    "imports/leasehold_task_types/empty.s",
                    "imports/leasehold_task_types/wit_bindings.go",
                    "imports/wasi_clocks_monotonic_clock/empty.s",
                    "imports/wasi_clocks_monotonic_clock/wit_bindings.go",
                    "imports/wasi_http_outgoing_handler/empty.s",
                    "imports/wasi_http_outgoing_handler/wit_bindings.go",
                    "imports/wasi_http_types/empty.s",
                    "imports/wasi_http_types/wit_bindings.go",
                    "imports/wasi_io_error/empty.s",
                    "imports/wasi_io_error/wit_bindings.go",
                    "imports/wasi_io_poll/empty.s",
                    "imports/wasi_io_poll/wit_bindings.go",
                    "imports/wasi_io_streams/empty.s",
                    "imports/wasi_io_streams/wit_bindings.go",
                    "imports/wasi_sockets_instance_network/empty.s",
                    "imports/wasi_sockets_instance_network/wit_bindings.go",
                    "imports/wasi_sockets_ip_name_lookup/empty.s",
                    "imports/wasi_sockets_ip_name_lookup/wit_bindings.go",
                    "imports/wasi_sockets_network/empty.s",
                    "imports/wasi_sockets_network/wit_bindings.go",
                    "imports/wasi_sockets_tcp/empty.s",
                    "imports/wasi_sockets_tcp/wit_bindings.go",
                    "imports/wasi_sockets_tcp_create_socket/empty.s",
                    "imports/wasi_sockets_tcp_create_socket/wit_bindings.go",
                    "imports/wit_world/empty.s",
                    "imports/wit_world/wit_bindings.go",
                    "leasehold.go",
                    "state.go",
                ],
            ),
            Self::C => (
                "",
                template!["c": "README.md", "task.c"],
                examples!["bindings/c" as "leasehold/": "leasehold.c", "leasehold.h", "leasehold_component_type.o"],
            ),
        };
        let mut files: Vec<File> =
            own.iter().chain(shared).map(|&(path, contents)| (path.to_owned(), Cow::Borrowed(contents))).collect();
        for (path, contents) in &mut files {
            if path == "README.md" {
                *contents = String::from_utf8_lossy(contents).replace("@RUN@\n", RUN).into_bytes().into();
            }
        }
        if self == Self::Go {
            // The same dependency, at the same version.
            let sums = files.iter().find(|(path, _)| path == "leasehold/go.sum").map(|(_, sums)| sums.clone());
            files.extend(sums.map(|sums| ("go.sum".to_owned(), sums)));
        }
        if matches!(self, Self::Rust | Self::Js | Self::Python) {
            files.extend(wit_files().map(|(path, text)| (format!("wit/{path}"), text.as_bytes().into())));
        }
        files.push((".gitignore".into(), format!("{ignored}/leases/\n*.wasm\n").into_bytes().into()));
        files
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn all_below(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                all_below(&path, found);
            } else {
                found.insert(path);
            }
        }
    }

    /// Files of `folder` that a project in `lang` has not got below `place`.
    fn left_out(lang: Language, folder: &str, place: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut there = BTreeSet::new();
        all_below(&folder, &mut there);
        let has: BTreeSet<_> = lang.files().into_iter().map(|(path, _)| path).collect();
        there.retain(|path| {
            let path = path.strip_prefix(&folder).expect("it is below").to_str().expect("it is UTF-8");
            !has.contains(&format!("{place}{path}"))
        });
        there.into_iter().collect()
    }

    #[test]
    fn no_file_of_the_templates_and_the_bindings_is_left_out() {
        for (lang, folder, place) in [
            (Language::Rust, "templates/rust", ""),
            (Language::Js, "templates/js", ""),
            (Language::Python, "templates/python", ""),
            (Language::Go, "templates/go", ""),
            (Language::C, "templates/c", ""),
            (Language::Go, "../guest-examples/bindings/go", "leasehold/"),
            (Language::C, "../guest-examples/bindings/c", "leasehold/"),
        ] {
            assert_eq!(left_out(lang, folder, place), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn every_project_has_a_readme_with_the_commands_and_no_file_twice() {
        for &lang in Language::value_variants() {
            let files = lang.files();
            let paths: BTreeSet<_> = files.iter().map(|(path, _)| path).collect();
            assert_eq!(paths.len(), files.len(), "{lang:?}");
            let readme = files.iter().find(|(path, _)| path == "README.md").expect("a README");
            let text = std::str::from_utf8(&readme.1).expect("UTF-8");
            assert!(text.contains("## Build\n") && text.contains("leasehold run task.wasm"), "{text}");
            assert!(!text.contains('@'), "{text}");
        }
    }
}
