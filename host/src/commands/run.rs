//! `leasehold run`

use super::{host::host, source::source};
use crate::{
    args::RunArgs,
    config::{self, Config, ConfigError, Environment},
    log,
};

/// Runs the tasks until the host is asked to end.
///
/// # Errors
/// A [`ConfigError`] or a rejected module is the caller's mistake; anything else kept the host from starting.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    let environment = Environment::from(|name| std::env::var(name).ok());
    let log_level = args.log_level;
    let config = match &args.config {
        None => Config::from_flags(args, &environment)?,
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("cannot read the config file {name}: {error}")))?;
            config::parse_file(&name, &text, args.log_format, &environment)?
        }
    };
    log::init(config.log_format, log_level)?;
    host(config, async |task, cluster| source(&task.module, task.namespace.as_ref(), &task.origin, cluster).await)
}
