//! The images that Pods run, as archives for [`Cluster::load`](super::Cluster::load).

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::build;

/// What deploy/archive calls Leasehold's image.
pub const LEASEHOLD: &str = concat!("leasehold:", env!("CARGO_PKG_VERSION"));
/// The elector made with client-go.
pub const CLIENT_GO: &str = "leasehold.test/client-go:1";

/// Leasehold's own image, made as a person makes it; or the one that `LEASEHOLD_TEST_IMAGE` names.
///
/// # Errors
/// It is not built; why is said on stderr.
pub fn leasehold() -> Result<PathBuf> {
    if let Some(archive) = std::env::var_os("LEASEHOLD_TEST_IMAGE") {
        let archive = PathBuf::from(archive);
        ensure!(archive.is_file(), "LEASEHOLD_TEST_IMAGE={} is no file", archive.display());
        return Ok(archive);
    }
    let archive = build::of_tests("leasehold.tar");
    run("tests/stories/image", &[path(&archive)?])?;
    Ok(archive)
}

/// client-go's elector.
///
/// # Errors
/// The image is not built; why is said on stderr.
pub fn client_go() -> Result<PathBuf> {
    let archive = build::of_tests("client-go.tar");
    run("tests/cluster/image", &[CLIENT_GO, path(&archive)?, path(build::client_go())?])?;
    Ok(archive)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn run(command: &str, args: &[&str]) -> Result<()> {
    let status = build::apart_from_this_cargo(&mut Command::new(build::root().join(command)))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{command} does not start"))?;
    ensure!(status.success(), "{command} has failed; its words are above");
    Ok(())
}
