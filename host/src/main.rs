//! The command `leasehold`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use leasehold::{
    args::{Args, Command},
    commands,
    config::ConfigError,
    log,
    supervisor::modules::Rejected,
    termination,
};

/// A mistake in the call, the config or the module.
const EXIT_MISTAKE: u8 = 2;
/// Anything else that kept the host from doing its work.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run(args) => commands::run(*args),
        Command::Dev(args) => commands::dev(args),
        Command::New(args) => commands::new(&args),
        Command::Check { module, registry } => commands::check(&module, registry),
        Command::Push(args) => commands::push(args),
        Command::StepDown(args) => commands::step_down(args),
        Command::Explain(args) => commands::explain(args),
        Command::Wit => commands::wit().map_err(Into::into),
        Command::Status(args) => return ended(commands::status(args)),
    };
    ended(done.map(|()| ExitCode::SUCCESS))
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    log::flush();
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    let reason = format!("error: {error:#}");
    eprintln!("{reason}");
    termination::write_reason(&reason);
    let mistake = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<Rejected>());
    ExitCode::from(if mistake { EXIT_MISTAKE } else { EXIT_FAILED })
}
