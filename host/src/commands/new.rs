//! `leasehold new`

mod templates;

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::Context;

pub use self::templates::Language;
use crate::{args::NewArgs, config::ConfigError};

/// What stands for the task's name in the templates; they are whole projects of that name.
const NAME: &str = "my-task";

/// Makes a folder with a project that builds, and says what to do with it. The folder comes to be whole,
/// or not at all.
///
/// # Errors
/// The name is none, there is something by that name, or the folder cannot be written.
pub fn new(args: &NewArgs) -> anyhow::Result<()> {
    let NewArgs { folder, lang } = args;
    let name = task_name(folder).map_err(ConfigError)?;
    // A dangling link is something, too.
    if folder.symlink_metadata().is_ok() {
        return Err(ConfigError(format!(
            "{} is there already, and nothing in it was changed: give another name, or remove it",
            folder.display()
        ))
        .into());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(ConfigError(format!("{} is not a folder: make it first", parent.display())).into());
    }
    let readme = write_project(parent, folder, name, *lang)
        .with_context(|| format!("{} cannot be made; nothing was left there", folder.display()))?;
    said(folder, &readme).context("stdout is closed")
}

/// The folder's last part, where all tools take it for a name.
fn task_name(folder: &Path) -> Result<&str, String> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let is_name = |name: &&str| {
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.filter(is_name).ok_or_else(|| {
        format!(
            "{} is not a name for a task: use at most 63 lower-case letters, digits and `-`, beginning with a letter, \
             ending with a letter or digit",
            name.map_or_else(|| folder.display().to_string(), |name| format!("{name:?}"))
        )
    })
}

/// Writes it beside, and renames it. Returns its README.
fn write_project(parent: &Path, folder: &Path, name: &str, lang: Language) -> io::Result<String> {
    let scratch = tempfile::Builder::new()
        .prefix(".leasehold-new-")
        // As any folder that a person makes: less what the umask takes.
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)?;
    let mut readme = String::new();
    for (path, contents) in lang.files() {
        let path = scratch.path().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match std::str::from_utf8(&contents) {
            Ok(text) => {
                let text = text.replace(NAME, name);
                fs::write(&path, &text)?;
                if path.ends_with("README.md") {
                    readme = text;
                }
            }
            Err(_) => fs::write(&path, &contents)?,
        }
    }
    fs::rename(scratch.path(), folder)?;
    // There is nothing left to remove.
    let _ = scratch.keep();
    Ok(readme)
}

/// The commands of the README, which are the ones that the tests run.
fn said(folder: &Path, readme: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} is a task that builds. Next:\n\n  cd {0}", folder.display())?;
    let mut in_block = false;
    for line in readme.lines() {
        match (in_block, line) {
            (false, "```sh") => in_block = true,
            (true, "```") => in_block = false,
            (true, command) => writeln!(out, "  {command}")?,
            (false, _) => {}
        }
    }
    writeln!(out, "\nREADME.md says what they are.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_every_tool() {
        for good in ["nightly", "a", "my-task-2", "some/where/nightly", "./nightly"] {
            assert!(task_name(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "/", "My-Task", "my_task", "2nd", "-x", "x-", "a.b", "a b", "größe"] {
            assert!(task_name(Path::new(bad)).is_err(), "{bad}");
        }
        assert!(task_name(Path::new(&"x".repeat(64))).is_err());
    }
}
