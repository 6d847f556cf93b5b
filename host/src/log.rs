//! Log lines: a message for people, and beside it fields for machines, the same in text and JSON.
//!
//! Every line about a task carries `event` (a word that stays the same from version to version),
//! `task`, `lease` and `identity`, and within a term `token`.

use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes log lines to stdout from now on; `RUST_LOG` sets what is written.
///
/// # Errors
/// `RUST_LOG` does not parse.
pub fn init(format: LogFormat) -> anyhow::Result<()> {
    use std::io::IsTerminal;

    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(&directives)
            .map_err(|error| anyhow::anyhow!("RUST_LOG={directives:?} is not a log filter: {error}"))?,
        // What kube's client meets is told by the stores, once, with what was being done.
        Err(_) => EnvFilter::new("warn,leasehold=info,kube_client=off"),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stdout().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    Ok(())
}

/// Whom a log line is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The task's name.
    pub task: Arc<str>,
    /// `namespace/name` of the Lease.
    pub lease: Arc<str>,
    /// What this replica calls itself on the Lease.
    pub identity: Arc<str>,
}

/// One log line about a task: level, [`Subject`], event, then further fields in braces if there
/// are any, `;`, and the message.
macro_rules! say {
    ($level:ident, $subject:expr, $event:literal $(, { $($fields:tt)+ })?; $($message:tt)+) => {
        tracing::$level!(
            event = $event,
            task = &*$subject.task,
            lease = &*$subject.lease,
            identity = &*$subject.identity,
            $($($fields)+,)?
            $($message)+
        )
    };
}
pub(crate) use say;
