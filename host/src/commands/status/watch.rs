//! `leasehold status --watch`: a screen that is drawn again on a terminal; elsewhere a line for each change. What changes is
//! told by a watch of the API server's, so that nothing is asked again; what only time changes (a Lease that runs out) is
//! told when its time has come.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Listing, Output, View,
    clock::Clock,
    lease::{LeaseStatus, SeenLease},
    screen::{Screen, nobody_reads},
    source::{Place, Read, Source, Update, Which},
    table::{Growing, printable},
};
use crate::commands::running::Signals;

/// Ages go on while nothing changes.
const DRAWN_EVERY: Duration = Duration::from_secs(1);
/// And where much changes, the screen is not drawn more often than this.
const DRAWN_EVERY_MIN: Duration = Duration::from_millis(100);
/// The same for lines.
const TOLD_EVERY_MIN: Duration = Duration::from_millis(50);
/// A Lease has run out when its time is over, not at the very end of it.
const JUST_AFTER: Duration = Duration::from_millis(1);
/// The longest sleep. Timers stand still while the machine is suspended.
const SLEEP_MAX: Duration = Duration::from_secs(60);

type Key = (String, String);

/// What has become of a Lease: a line of `leasehold status --watch -o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    time: Timestamp,
    change: What,
    /// As it is now, or, where it is gone, as it was last.
    lease: &'a LeaseStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum What {
    Present,
    Deleted,
}

/// Shows what there is and what becomes of it, until somebody interrupts it or nobody reads any more.
///
/// # Errors
/// It may not be followed; or stdout cannot be written to.
pub(super) async fn watch(source: Source, which: Which, read: Read, view: View) -> anyhow::Result<()> {
    let mut interrupted = Signals::listen()?;
    let nobody_reads = nobody_reads()?;
    let (clock, place) = (source.clock, source.place.clone());
    let mut known = Known { leases: BTreeMap::new(), place, clock, which, view, broken: None };
    // Those that are there come first, together.
    known.take(Update::All(read.leases))?;
    let updates = source.follow();
    let on_a_screen = matches!(view.output, Output::Table | Output::Wide) && io::stdout().is_terminal();
    let shown = async {
        match on_a_screen {
            true => on_screen(&mut known, updates).await,
            false => as_lines(&mut known, updates).await,
        }
    };
    let mut ended = tokio::select! {
        ended = shown => ended,
        _ = interrupted.next() => Ok(()),
        Ok(()) = nobody_reads => return Ok(()),
    };
    if on_a_screen && ended.is_ok() {
        // What was seen last stays to be read where the screen is gone.
        let listing = Listing::new(known.leases.values(), view, &clock);
        ended = super::print_once(&listing, view).map_err(Into::into);
    }
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        ended => ended,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What is known of the Leases.
struct Known {
    leases: BTreeMap<Key, SeenLease>,
    place: Place,
    clock: Clock,
    which: Which,
    view: View,
    /// Why nothing is seen for now.
    broken: Option<String>,
}

impl Known {
    /// Takes what a watch tells.
    fn take(&mut self, update: Update) -> anyhow::Result<()> {
        match update {
            Update::All(leases) => {
                self.broken = None;
                self.leases = leases.into_iter().map(|lease| (lease.key(), lease)).collect();
            }
            Update::One(lease) => {
                self.broken = None;
                self.leases.insert(lease.key(), *lease);
            }
            Update::Gone(namespace, name) => {
                self.broken = None;
                self.leases.remove(&(namespace, name));
            }
            Update::Broken(why) => self.broken = Some(format!("nothing is seen for now, what is shown is old: {why}")),
            Update::Denied(error) => return Err(error),
        }
        Ok(())
    }

    /// Which of those that were named are not there.
    fn missing(&self) -> Vec<String> {
        let names = self.which.missing(|name| self.leases.keys().any(|(_, there)| there == name));
        names
            .into_iter()
            .map(|name| format!("there is no lease {name} {}: it is shown when there is one", self.place))
            .collect()
    }

    fn draw(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let listing = Listing::new(self.leases.values(), self.view, &self.clock);
        let lines = self.view.columns.lines(&listing.leases, self.view.colour);
        let mut notes = listing.notes(&self.place, &self.clock, &self.which);
        notes.extend(self.missing());
        notes.extend(self.broken.as_deref().map(printable));
        Ok(screen.draw(&lines, &notes)?)
    }
}

async fn on_screen(known: &mut Known, mut updates: BoxStream<'static, Update>) -> anyhow::Result<()> {
    let mut screen = Screen::enter()?;
    let (mut drawn, mut changed) = (None::<Instant>, false);
    loop {
        let every = if changed { DRAWN_EVERY_MIN } else { DRAWN_EVERY };
        let draw_at = drawn.map_or_else(Instant::now, |drawn| drawn + every);
        tokio::select! {
            () = tokio::time::sleep_until(draw_at) => {
                known.draw(&mut screen)?;
                (drawn, changed) = (Some(Instant::now()), false);
            }
            Some(update) = updates.next() => {
                known.take(update)?;
                changed = true;
            }
        }
    }
}

/// Who was told what.
struct Lines<'a> {
    known: &'a mut Known,
    told: BTreeMap<Key, LeaseStatus>,
    table: Growing,
    /// As it was told.
    broken: Option<String>,
}

async fn as_lines(known: &mut Known, mut updates: BoxStream<'static, Update>) -> anyhow::Result<()> {
    let table = Growing::new(known.view.columns);
    let mut lines = Lines { known, told: BTreeMap::new(), table, broken: None };
    // Once: that one comes, or goes, is a line of its own. Without a word, a name that is mistyped would be waited for.
    super::note(&lines.known.missing());
    loop {
        lines.tell_news()?;
        let told = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(lines.next_runs_out()) => {}
            Some(update) = updates.next() => lines.known.take(update)?,
        }
        // What comes soon after is told with it.
        while let Ok(Some(update)) = tokio::time::timeout_at(told + TOLD_EVERY_MIN, updates.next()).await {
            lines.known.take(update)?;
        }
    }
}

impl Lines<'_> {
    /// How long until the next of them runs out.
    fn next_runs_out(&self) -> Duration {
        let now = self.known.clock.now();
        let shown = self.known.leases.values().filter(|lease| self.known.view.shows(lease));
        let left =
            shown.filter_map(SeenLease::runs_out).filter_map(|at| Duration::try_from(at.duration_since(now)).ok());
        left.min().map_or(SLEEP_MAX, |left| (left + JUST_AFTER).min(SLEEP_MAX))
    }

    /// Tells of what is another than it was told.
    fn tell_news(&mut self) -> anyhow::Result<()> {
        let Self { known, told, table, broken } = self;
        let now = known.clock.now();
        let seen: BTreeMap<_, _> = known
            .leases
            .iter()
            .filter(|(_, lease)| known.view.shows(lease))
            .map(|(key, lease)| (key.clone(), lease.at(now)))
            .collect();
        let is_news = |key: &Key, lease: &LeaseStatus| told.get(key).map(LeaseStatus::lasting) != Some(lease.lasting());
        let present: Vec<_> = seen.iter().filter(|(key, lease)| is_news(key, lease)).map(|(_, lease)| lease).collect();
        let gone: Vec<_> = told.iter().filter(|(key, _)| !seen.contains_key(*key)).map(|(_, lease)| lease).collect();
        let mut out = io::stdout().lock();
        match known.view.output {
            Output::Table | Output::Wide => {
                if !present.is_empty() {
                    table.lines(now, &present).iter().try_for_each(|line| writeln!(out, "{line}"))?;
                }
                for lease in &gone {
                    writeln!(out, "{now:.0}  {}/{} deleted", lease.namespace, lease.name)?;
                }
            }
            output => {
                let present = present.iter().map(|&lease| (What::Present, lease));
                for (change, lease) in present.chain(gone.iter().map(|&lease| (What::Deleted, lease))) {
                    let change = Change { time: now, change, lease };
                    match output {
                        Output::Yaml => {
                            write!(out, "---\n{}", serde_saphyr::to_string(&change).map_err(io::Error::other)?)?;
                        }
                        _ => writeln!(out, "{}", serde_json::to_string(&change)?)?,
                    }
                }
            }
        }
        out.flush()?;
        if known.broken != *broken {
            super::note(known.broken.as_slice());
            broken.clone_from(&known.broken);
        }
        *told = seen;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{lease::tests::held, table::Columns},
        *,
    };

    #[test]
    fn which_of_the_named_ones_are_not_there_is_known_at_any_time() {
        let name = |name: &str| name.parse().expect("a name");
        let columns = Columns { namespace: false, wide: false, time: false };
        let mut known = Known {
            leases: BTreeMap::new(),
            place: Place::namespace("jobs"),
            clock: Clock::of_the_machine(),
            which: Which::Named(vec![name("a"), name("b")]),
            view: View { columns, output: Output::Table, all_kinds: true, colour: false },
            broken: None,
        };
        let missing = |known: &Known| {
            let words = known.missing().into_iter();
            words.map(|words| words.split(" in namespace jobs: ").next().map(str::to_owned)).collect::<Vec<_>>()
        };
        let none = |name: &str| Some(format!("there is no lease {name}"));
        assert_eq!(missing(&known), [none("a"), none("b")]);
        known.take(Update::One(held("a").into())).expect("taken");
        assert_eq!(missing(&known), [none("b")]);
        known.take(Update::Gone("jobs".into(), "a".into())).expect("taken");
        known.take(Update::One(held("b").into())).expect("taken");
        assert_eq!(missing(&known), [none("a")]);
        known.which = Which::All;
        assert_eq!(known.missing(), Vec::<String>::new());
    }
}
