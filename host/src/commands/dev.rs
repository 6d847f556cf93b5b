//! `leasehold dev`

use anyhow::Context;
use leasehold_core::{task::TaskConfig, timing::Timing};

use super::host::{Prepared, host};
use crate::{
    args::DevArgs,
    config::{Config, ConfigError, EnvVar, StoreChoice, TaskSpec},
    guest::runtime::GuestConfig,
    log,
    module::cargo::Package,
    supervisor::modules,
};

/// Builds the guest, runs it under a Lease in cargo's target folder, and swaps it on save.
///
/// # Errors
/// The folder is no guest's, or the first build fails.
pub fn dev(args: DevArgs) -> anyhow::Result<()> {
    let DevArgs { folder, lease_duration, env, log_format } = args;
    log::init(log_format)?;
    let package = Package::find(&folder).map_err(|error| ConfigError(format!("{error:#}")))?;
    let lease = lease_duration.into();
    let timing = Timing::new(lease, lease * 2 / 3, lease / 6)
        .map_err(|error| ConfigError(format!("--lease-duration: {error}")))?;
    let name: crate::config::Name = package.name.replace('_', "-").parse().map_err(ConfigError)?;
    eprintln!("Building {name} for wasm32-wasip2 (the first time takes a minute) ...");
    let bytes = package.build().map_err(|error| {
        ConfigError(format!("{error}\n(is the target missing? `rustup target add wasm32-wasip2` installs it)"))
    })?;
    let leases = package.target_folder.join("leasehold-dev");
    eprintln!(
        "Built. Saving a file of {folder} builds and swaps it. Start the same command in a second terminal for a \
         standby; end one in any way.\nThe lease is in {leases}.",
        folder = folder.display(),
        leases = leases.display(),
    );
    let spec = TaskSpec {
        lease: name.clone(),
        name,
        module: folder,
        digest: None,
        namespace: None,
        adopt: false,
        timing,
        policy: TaskConfig::default(),
        guest: GuestConfig {
            args: Vec::new(),
            env: env.into_iter().map(|EnvVar(name, value)| (name, value)).collect(),
            memory: GuestConfig::MEMORY_DEFAULT,
        },
    };
    let config = Config { store: StoreChoice::Folder(leases), identity: None, log_format, tasks: vec![spec] };
    host(config, |guests, tasks| {
        let module = modules::prepare(guests, &bytes, None).context("what was built cannot be run")?;
        let changes = package.changes().context("cannot notice changes of the guest's folder")?;
        let spec = tasks.into_iter().next().context("the task")?;
        Ok(vec![Prepared { spec, module, changes }])
    })
}
