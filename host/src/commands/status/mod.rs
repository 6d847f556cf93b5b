//! `leasehold status`: every Lease of a namespace or of all, who has it and for how long, for people and for scripts.
//! It only reads.

pub(super) mod clock;
pub(super) mod cluster;
pub(super) mod folder;
pub(super) mod kind;
pub(super) mod lease;
mod screen;
mod source;
pub(super) mod table;
mod watch;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use self::{
    clock::{Clock, Whose},
    kind::Kind,
    lease::{LeaseStatus, SeenLease, State},
    source::{In, Place, Read, Source, Which},
    table::Columns,
};
use crate::{args::StatusArgs, log::stdout_takes_colours};

/// Some named Lease is not held, or not renewed in time, or not there.
const EXIT_NOT_HELD: u8 = 1;

/// How Leases are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// What a person wants to know first.
    #[default]
    Table,
    /// A table with all there is.
    Wide,
    /// For scripts.
    Json,
    /// The same.
    Yaml,
}

/// What of all Leases is shown, and how.
#[derive(Clone, Copy, Debug)]
struct View {
    columns: Columns,
    output: Output,
    /// Those of the cluster itself as well.
    all_kinds: bool,
    colour: bool,
}

impl View {
    fn shows(self, lease: &SeenLease) -> bool {
        self.all_kinds || !lease.kind.is_of_the_cluster()
    }
}

/// `leasehold status -o json`. Every field is always there. Fields may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    /// Now.
    time: Timestamp,
    /// By whose clock.
    clock: Whose,
    leases: Vec<LeaseStatus>,
    /// How many of which kind there are beside them.
    not_shown: BTreeMap<Kind, usize>,
}

impl Listing {
    fn new<'a>(leases: impl Iterator<Item = &'a SeenLease>, view: View, clock: &Clock) -> Self {
        let time = clock.now();
        let (mut shown, mut not_shown) = (Vec::new(), BTreeMap::new());
        for lease in leases {
            match view.shows(lease) {
                true => shown.push(lease.at(time)),
                false => *not_shown.entry(lease.kind).or_default() += 1,
            }
        }
        Self { time, clock: clock.whose, leases: shown, not_shown }
    }

    /// What a person wants to know beside the table. Of those that were named and are not there, whoever named them is told
    /// one by one.
    fn notes(&self, place: &Place, clock: &Clock, which: &Which) -> Vec<String> {
        let mut notes = Vec::new();
        if self.leases.is_empty() && matches!(which, Which::All) {
            notes.push(format!("no lease {place}"));
        }
        // There are none of these where names were given.
        if !self.not_shown.is_empty() {
            let counted: Vec<_> = self.not_shown.iter().map(|(kind, count)| kind.counted(*count)).collect();
            notes.push(format!("not shown: {} (--all-kinds shows them)", counted.join(", ")));
        }
        for lease in &self.leases {
            if let Some(problem) = &lease.problem {
                notes.push(format!(
                    "lease {}/{} cannot be read: {}",
                    lease.namespace,
                    lease.name,
                    table::printable(problem)
                ));
            }
            if let Some(ahead) = lease.holder_clock_ahead_seconds {
                let way = if ahead < 0.0 { "behind" } else { "ahead of" };
                let by = table::age(ahead.abs());
                notes.push(format!(
                    "the clock of who renews {}/{} is {by} {way} the API server's",
                    lease.namespace, lease.name
                ));
            }
        }
        notes.extend(clock.warning());
        notes
    }
}

/// Shows Leases, once or for as long as somebody looks.
///
/// # Errors
/// They may not, or cannot, be read.
pub fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let StatusArgs { leases, namespace, all_namespaces, all_kinds, lease_store, watch, output } = args;
    let place = if all_namespaces { In::AllNamespaces } else { In::Namespace(namespace) };
    let view = View {
        columns: Columns { namespace: all_namespaces, wide: output == Output::Wide, time: false },
        output,
        // Whoever names one means it.
        all_kinds: all_kinds || !leases.is_empty(),
        colour: stdout_takes_colours(),
    };
    let which = if leases.is_empty() { Which::All } else { Which::Named(leases) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let source = Source::open(lease_store, place, which.clone()).await?;
        // What may not be read is told at once, also to somebody who would watch.
        let read = source.read().await?;
        if watch {
            watch::watch(source, which, read, view).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let Read { mut leases, missing } = read;
        leases.sort_by_key(SeenLease::key);
        let listing = Listing::new(leases.iter(), view, &source.clock);
        match print_once(&listing, view) {
            // Nobody reads any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed?,
        }
        if matches!(output, Output::Table | Output::Wide) {
            note(&listing.notes(&source.place, &source.clock, &which));
        }
        note(
            &missing.iter().map(|name| format!("error: there is no lease {name} {}", source.place)).collect::<Vec<_>>(),
        );
        let well = missing.is_empty() && listing.leases.iter().all(|lease| lease.state == State::Held);
        Ok(if matches!(which, Which::Named(_)) && !well { ExitCode::from(EXIT_NOT_HELD) } else { ExitCode::SUCCESS })
    })
}

fn print_once(listing: &Listing, view: View) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match view.output {
        Output::Table | Output::Wide if listing.leases.is_empty() => {}
        Output::Table | Output::Wide => {
            for line in view.columns.lines(&listing.leases, view.colour) {
                writeln!(out, "{line}")?;
            }
        }
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(listing)?)?,
        Output::Yaml => write!(out, "{}", serde_saphyr::to_string(listing).map_err(io::Error::other)?)?,
    }
    out.flush()
}

/// To stderr, where it is in nobody's way.
fn note(lines: &[String]) {
    for line in lines {
        // Where that cannot be written either, there is nobody to tell.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::{lease::tests::held, *};

    #[test]
    fn what_is_not_asked_for_is_counted_and_the_shape_for_scripts_has_every_field() {
        let node = |name: &str| SeenLease { kind: Kind::Node, ..held(name) };
        let all = [held("a"), node("node-1"), node("node-2"), SeenLease { kind: Kind::ApiServer, ..held("api") }];
        let columns = Columns { namespace: false, wide: false, time: false };
        let view = View { columns, output: Output::Json, all_kinds: false, colour: false };
        let clock = Clock::of_the_machine();
        let listing = Listing::new(all.iter(), view, &clock);
        let everything = View { all_kinds: true, ..view };
        assert_eq!(Listing::new(all.iter(), everything, &clock).leases.len(), 4);
        let json = serde_json::to_value(&listing).expect("JSON");
        assert_eq!(json["notShown"], serde_json::json!({"node": 2, "api-server": 1}));
        assert_eq!(json["clock"], "machine");
        let lease = json["leases"][0].as_object().expect("an object");
        let fields: Vec<_> = lease.keys().map(String::as_str).collect();
        let documented = [
            "acquireTime",
            "checkpointBytes",
            "heldSeconds",
            "holder",
            "holderClockAheadSeconds",
            "kind",
            "leaseDurationSeconds",
            "leaseTransitions",
            "module",
            "name",
            "namespace",
            "preferredHolder",
            "problem",
            "refusedModule",
            "renewTime",
            "renewedSecondsAgo",
            "state",
            "stepDown",
            "strategy",
            "task",
            "token",
            "waitingModule",
        ];
        let mut sorted = fields.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, documented);
        assert_eq!(lease["renewTime"], "2026-01-02T12:00:10.25Z");
        assert!(lease["task"].is_null());
    }
}
