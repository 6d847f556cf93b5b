//! Log lines: a message for people, and beside it fields for machines, the same in text and JSON.
//!
//! Every line about a task carries `event` (a word that stays the same from version to version),
//! `task`, `lease` and `identity`, and within a term `token`.

mod lines;
mod text;

use std::{
    fs::File,
    io::IsTerminal,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use clap::ValueEnum;
use lines::Lines;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; at a terminal in colours, unless NO_COLOR is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum LogLevel {
    /// What keeps a task from running.
    Error,
    /// And what somebody should look at.
    Warn,
    /// And what happens: who leads, what starts and ends, what the components print.
    Info,
    /// And what helps to find out why.
    Debug,
    /// And all else.
    Trace,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

pub use self::lines::dropped;

/// Where they go.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Writes log lines to stdout from now on. `level` is of the host's own; where it is not given, `RUST_LOG` sets what is
/// written, and where that is not set either, it is [`LogLevel::Info`].
///
/// # Errors
/// `RUST_LOG` does not parse; there is no stdout, or no thread left.
pub fn init(format: LogFormat, level: Option<LogLevel>) -> anyhow::Result<()> {
    let filter = match (level, std::env::var("RUST_LOG")) {
        (Some(level), _) => EnvFilter::new(format!("warn,leasehold={}", level.name())),
        (None, Ok(directives)) => EnvFilter::try_new(&directives)
            .map_err(|error| anyhow::anyhow!("RUST_LOG={directives:?} is not a log filter: {error}"))?,
        (None, Err(_)) => EnvFilter::new("warn,leasehold=info"),
    };
    // Not by the standard library's stdout, whose lock and buffer would be waited for.
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().context("there is no stdout to write the log to")?;
    let lines = Lines::to(File::from(stdout), |dropped| {
        tracing::warn!(event = "log-dropped", lines = dropped, "{dropped} lines were left out: nobody read the log");
    })
    .context("cannot start the thread of the log")?;
    let lines = LINES.get_or_init(|| lines);
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(lines.clone());
    let lines = match format {
        LogFormat::Text => {
            let at_a_terminal = std::io::stdout().is_terminal();
            lines.event_format(text::Text { at_a_terminal, colour: stdout_takes_colours() }).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter.and(filter_fn(may_be_told)))).init();
    Ok(())
}

/// Waits until all lines are written, at the end of the process; where nobody reads them, for a second.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Whatever the filter says. What the libraries tell of in detail are requests and answers, with URLs, headers and
/// bodies; the host itself takes care what it says of them. Of kube's client nothing is told: what it meets is told by those
/// who asked, once, and without what its own words have of credentials.
fn may_be_told(metadata: &Metadata<'_>) -> bool {
    let is_of = |name: &str| {
        let rest = metadata.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    is_of("leasehold") || is_of("leasehold_core") || (*metadata.level() <= Level::INFO && !is_of("kube_client"))
}

/// Whether stdout is a terminal, and nobody has asked for none (<https://no-color.org>).
pub(crate) fn stdout_takes_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
