//! `leasehold explain`: what has happened to one Lease lately, in plain words and in the order of time; and what state that
//! makes, and what a person may do about it. It only reads, and says what it could not read and why.

mod facts;
mod gather;
mod history;
mod verdict;
#[cfg(test)]
mod verdict_tests;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use anyhow::{anyhow, bail};
use jiff::{Timestamp, tz::TimeZone};

use self::facts::{Asked, Facts};
use super::status::{
    clock::Clock,
    lease::LeaseStatus,
    table::{age, printable},
};
use crate::{
    args::ExplainArgs,
    config::{Environment, Name, StoreChoice},
    kubernetes::cluster::Cluster,
    lease::folder,
};

/// Explains a Lease.
///
/// # Errors
/// There is none of that name, or it may not, or cannot, be read.
pub fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let ExplainArgs { lease, namespace, lease_store } = args;
    let environment = Environment::from(|name| std::env::var(name).ok());
    let namespace = match namespace {
        Some(namespace) => Some(namespace),
        None => environment.namespace()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (facts, clock) = runtime.block_on(async {
        match lease_store {
            StoreChoice::Folder(folder) => {
                let namespace = namespace.as_ref().map_or("default", Name::as_str);
                let all = folder::list(&folder)
                    .map_err(|error| anyhow!("cannot read the leases in {}: {error}", folder.display()))?;
                let found = all.into_iter().find(|found| found.namespace == namespace && found.name == lease.as_str());
                let Some(found) = found else { bail!("there is no lease {namespace}/{lease} in {}", folder.display()) };
                Ok((Facts::of_a_file(found), Clock::of_the_machine()))
            }
            StoreChoice::Kubernetes => {
                let cluster = Cluster::default();
                let client = cluster.client().await?;
                let clock = Clock::of_the_api_server(client).await?;
                let namespace = namespace.as_ref().map_or(client.default_namespace(), Name::as_str);
                Ok((gather::gather(client, namespace, lease.as_str()).await?, clock))
            }
        }
    })?;
    let mut text = told(&facts, clock.now());
    if let Some(warning) = clock.warning() {
        let _ = writeln!(text, "({warning})");
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// All of it, `now`.
fn told(facts: &Facts, now: Timestamp) -> String {
    let mut text = String::new();
    let status = facts.lease.as_ref().map(|lease| lease.at(now));
    let state = status.as_ref().map_or("not there", |status| status.state.name());
    let of_whom = match status.as_ref().and_then(|status| status.task.as_deref()) {
        Some(task) => format!(", of task {}", printable(task)),
        None => String::new(),
    };
    // Writing to a String does not fail.
    let _ = writeln!(text, "Lease {}/{}{of_whom}: {state}", facts.namespace, facts.name);
    let history = history::of(facts, now);
    if !history.is_empty() {
        let _ = writeln!(text, "\nWhat happened (times are UTC):");
        for entry in history {
            let ago = format!("{} ago", age(now.duration_since(entry.at).as_secs_f64()));
            let _ = writeln!(text, "  {}  {ago:>10}  {}", at(entry.at, now), entry.text);
        }
    }
    if let Some(status) = &status {
        let _ = writeln!(text, "\nWhat it says now:");
        for (what, value) in says(status) {
            let _ = writeln!(text, "  {what:<18} {value}");
        }
        if let Some(candidates) = facts.candidates.as_ref().and_then(Asked::known) {
            let _ = writeln!(text, "  {:<18} {}", "candidates", verdict::named(candidates));
        }
    }
    let not_known = facts.not_known();
    if !not_known.is_empty() {
        let _ = writeln!(text, "\nWhat is not known:");
        for what in not_known {
            let _ = writeln!(text, "  {what}");
        }
    }
    let _ = writeln!(text, "\nSo: {}", verdict::of(facts, now));
    text
}

/// The time of day, and for what is older than a day the date.
fn at(time: Timestamp, now: Timestamp) -> String {
    let format = if now.duration_since(time).as_hours() < 24 { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// What stands on the Lease, as far as something does.
fn says(status: &LeaseStatus) -> Vec<(&'static str, String)> {
    let ago = |seconds: f64| format!("{} ago", age(seconds));
    let text = |text: &Option<String>| text.as_deref().map(printable);
    let lines = [
        ("holder", Some(status.holder.as_deref().map_or("nobody".to_owned(), printable))),
        ("acquired", status.held_seconds.map(ago)),
        ("renewed", status.renewed_seconds_ago.map(ago)),
        ("duration", status.lease_duration_seconds.map(|seconds| format!("{seconds}s"))),
        ("fencing token", status.token.map(|token| token.to_string())),
        ("module", text(&status.module)),
        ("waiting module", text(&status.waiting_module)),
        ("refused module", text(&status.refused_module)),
        ("checkpoint", status.checkpoint_bytes.map(|bytes| format!("{bytes} B"))),
        ("asked to step down", text(&status.step_down)),
        ("strategy", text(&status.strategy)),
        ("preferred holder", text(&status.preferred_holder)),
        ("cannot be read", text(&status.problem)),
    ];
    lines.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
}
