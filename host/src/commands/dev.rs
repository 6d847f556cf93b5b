//! `leasehold dev`

use std::slice;

use leasehold_core::{task::TaskConfig, timing::Timing};

use super::host::host;
use crate::{
    args::DevArgs,
    config::{AtStart, Config, ConfigError, EnvVar, Origin, Reference, StoreChoice, TaskSpec, shutdown_time},
    guest::runtime::GuestConfig,
    log,
    module::{ModuleSource, cargo::Package},
};

/// Builds the guest, runs it under a Lease in cargo's target folder, and swaps it on save.
///
/// # Errors
/// The folder is no guest's, or the first build fails.
pub fn dev(args: DevArgs) -> anyhow::Result<()> {
    let DevArgs { folder, lease_duration, env, allow, log_format, log_level } = args;
    log::init(log_format, log_level)?;
    let package = Package::find(&folder).map_err(|error| ConfigError(format!("{error:#}")))?;
    let lease = lease_duration.into();
    let timing = Timing::new(lease, lease * 2 / 3, lease / 6)
        .map_err(|error| ConfigError(format!("--lease-duration: {error}")))?;
    let name: crate::config::Name = package.name.replace('_', "-").parse().map_err(ConfigError)?;
    let leases = package.target_folder.join("leasehold-dev");
    eprintln!(
        "Building {name} for wasm32-wasip2 (the first time takes a minute). Then, saving a file of {folder} builds and \
         swaps it. Start the same command in a second terminal for a standby; end one in any way.\nThe lease is in \
         {leases}.",
        folder = folder.display(),
        leases = leases.display(),
    );
    let spec = TaskSpec {
        lease: name.clone(),
        name,
        module: Reference::File(folder),
        origin: Origin::default(),
        digest: None,
        namespace: None,
        adopt: false,
        timing,
        early_takeover: true,
        coordinated: None,
        policy: TaskConfig::default(),
        allow: allow.into(),
        leader_label: None,
        env_from: Vec::new(),
        guest: GuestConfig {
            env: env.into_iter().map(|EnvVar(name, value)| (name, value)).collect(),
            ..GuestConfig::default()
        },
    };
    let config = Config {
        store: StoreChoice::Folder(leases),
        identity: None,
        pod: None,
        log_format,
        admin: None,
        leader_address: None,
        shutdown_timeout: shutdown_time(None, slice::from_ref(&spec)).map_err(ConfigError)?,
        traces: None,
        // Each save is another module, and a small one.
        cache: None,
        at_start: AtStart::Required,
        tasks: vec![spec],
    };
    host(config, async |_, _| Ok(ModuleSource::Package(package.clone())))
}
