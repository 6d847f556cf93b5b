//! A module built from a folder of Rust, for `leasehold dev`.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use cargo_metadata::{CrateType, Message, MetadataCommand};
use futures_util::{StreamExt, stream};
use notify::RecursiveMode;

use super::{Changes, ReadError, changed::Changed, file, off_thread};

const TARGET: &str = "wasm32-wasip2";

/// A cargo package that builds a component.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Where cargo puts what it builds; never watched.
    pub target_folder: PathBuf,
    pub(super) folder: PathBuf,
    manifest: PathBuf,
}

impl Package {
    /// Looks at `folder/Cargo.toml`.
    ///
    /// # Errors
    /// There is none, cargo does not take it, or it does not build a `cdylib`.
    pub fn find(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            bail!("{} has no Cargo.toml: give the folder of a guest, like guest-examples/heartbeat", folder.display());
        }
        // Without symlinks, as macOS tells of changed files, too; cargo's own paths follow from it.
        let folder = folder.canonicalize()?;
        let metadata = MetadataCommand::new()
            .manifest_path(folder.join("Cargo.toml"))
            .no_deps()
            .exec()
            .with_context(|| format!("cargo does not take {}", manifest.display()))?;
        let package = metadata
            .packages
            .iter()
            .find(|package| package.manifest_path.parent().is_some_and(|parent| parent.as_std_path() == folder))
            .with_context(|| format!("{} is not a package of its own", folder.display()))?;
        if !package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib)) {
            bail!(
                "package {} does not build a component: it needs `crate-type = [\"cdylib\"]` under `[lib]`",
                package.name
            );
        }
        Ok(Self {
            name: package.name.to_string(),
            target_folder: metadata.target_directory.into_std_path_buf(),
            manifest: package.manifest_path.clone().into_std_path_buf(),
            folder,
        })
    }

    /// Builds it, with cargo's words on stderr, and returns the component's bytes. Takes as long
    /// as cargo takes: call it where blocking is fine.
    ///
    /// # Errors
    /// The build failed.
    pub(super) fn build(&self) -> Result<Vec<u8>, ReadError> {
        let failed = |error| ReadError::Io { path: self.manifest.clone(), error };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo)
            .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
            .arg("--manifest-path")
            .arg(&self.manifest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut component = None;
        if let Some(stdout) = build.stdout.take() {
            for message in Message::parse_stream(BufReader::new(stdout)) {
                if let Message::CompilerArtifact(artifact) = message.map_err(failed)?
                    && artifact.manifest_path == self.manifest
                {
                    let wasm = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm"));
                    component = wasm.or(component);
                }
            }
        }
        let built = build.wait().map_err(failed)?.success();
        match component {
            Some(component) if built => file::read(component.as_std_path()),
            _ => Err(ReadError::Build),
        }
    }

    /// The component built anew, whenever a file in the folder was saved.
    ///
    /// # Errors
    /// The system does not tell of changes in the folder.
    pub(super) fn changes(self) -> notify::Result<Changes> {
        // One that the environment names may lie behind a symlink. Where nothing was built yet, there is none.
        let target = self.target_folder.canonicalize().unwrap_or_else(|_| self.target_folder.clone());
        let lock = self.folder.join("Cargo.lock");
        let is_source = move |path: &Path| !path.starts_with(&target) && path != lock;
        let changed = Changed::watch(&self.folder, RecursiveMode::Recursive, is_source)?;
        let builds = stream::unfold((changed, self), |(mut changed, package)| async move {
            changed.settled().await?;
            let builder = package.clone();
            Some((off_thread(move || builder.build()).await, (changed, package)))
        });
        Ok(builds.boxed())
    }
}
