//! `leasehold run`

use anyhow::Context;

use super::host::{Prepared, host};
use crate::{
    args::RunArgs,
    config::{self, Config, ConfigError, TaskSpec},
    guest::runtime::GuestRuntime,
    log,
    module::file,
    supervisor::modules::{self, Rejected},
};

/// Runs the tasks until the host is asked to end.
///
/// # Errors
/// A [`ConfigError`] or a [`Rejected`] module is the caller's mistake; anything else kept the host from starting.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        None => Config::try_from(args)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("cannot read the config file {name}: {error}")))?;
            config::parse_file(&name, &text, args.log_format)?
        }
    };
    log::init(config.log_format)?;
    host(config, prepare)
}

fn prepare(guests: &GuestRuntime, tasks: Vec<TaskSpec>) -> anyhow::Result<Vec<Prepared>> {
    tasks.into_iter().map(|spec| prepare_one(guests, spec)).collect()
}

fn prepare_one(guests: &GuestRuntime, spec: TaskSpec) -> anyhow::Result<Prepared> {
    let path = &spec.module;
    let module = file::read(path)
        .map_err(Rejected::from)
        .and_then(|bytes| modules::prepare(guests, &bytes, spec.digest.as_ref()))
        .with_context(|| format!("task {}: module {} cannot be run", spec.name, path.display()))?;
    let changes =
        file::changes(path.clone()).with_context(|| format!("cannot notice changes of {}", path.display()))?;
    Ok(Prepared { module, changes, spec })
}
