//! `leasehold run`

use anyhow::Context;
use bytesize::ByteSize;

use super::host::{Prepared, host};
use crate::{
    args::RunArgs,
    config::{self, Config, ConfigError, Environment, TaskSpec},
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
    let environment = Environment::from(|name| std::env::var(name).ok());
    let config = match &args.config {
        None => Config::from_flags(args, &environment)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("cannot read the config file {name}: {error}")))?;
            config::parse_file(&name, &text, args.log_format, &environment)?
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
    let prepare = |bytes: Vec<u8>| {
        // A large one takes many seconds, and whoever waits should know for what.
        let size = ByteSize(bytes.len() as u64);
        tracing::info!(event = "module-loading", task = spec.name.as_str(), "compiling {} ({size})", path.display());
        modules::prepare(guests, &bytes, spec.digest.as_ref())
    };
    let module = file::read(path)
        .map_err(Rejected::from)
        .and_then(prepare)
        .with_context(|| format!("task {}: module {} cannot be run", spec.name, path.display()))?;
    let changes =
        file::changes(path.clone()).with_context(|| format!("cannot notice changes of {}", path.display()))?;
    Ok(Prepared { module, changes, spec })
}
