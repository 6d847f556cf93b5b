//! Leases as a table for people.

use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, Table, Width, presets};
use jiff::Timestamp;

use super::lease::{LeaseStatus, State};

/// The longest text in a cell.
const CELL_CHARS_MAX: usize = 80;
/// As many digits of a digest tell it from others.
const DIGEST_CHARS: usize = 12;
const NOTHING: &str = "-";

/// What is shown of each Lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// Where there are several.
    pub(super) namespace: bool,
    pub(super) wide: bool,
    /// When it became so: for a table that goes on.
    pub(super) time: bool,
}

/// What stands in one column: its header, and how a cell of it is made.
type Column = (&'static str, fn(&LeaseStatus) -> String);

impl Columns {
    fn all(self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        if self.namespace {
            columns.push(("NAMESPACE", |lease| lease.namespace.clone()));
        }
        columns.extend::<[Column; 9]>([
            ("LEASE", |lease| lease.name.clone()),
            ("KIND", |lease| lease.kind.name().to_owned()),
            ("STATE", |lease| lease.state.name().to_owned()),
            ("HOLDER", holder),
            ("RENEWED", |lease| {
                lease.renewed_seconds_ago.map_or(NOTHING.to_owned(), |ago| format!("{} ago", age(ago)))
            }),
            ("HELD FOR", |lease| lease.held_seconds.map_or(NOTHING.to_owned(), age)),
            ("TOKEN", |lease| number(lease.token)),
            ("TASK", |lease| text(lease.task.as_deref())),
            ("MODULE", |lease| digest(lease.module.as_deref())),
        ]);
        if self.wide {
            columns.extend::<[Column; 8]>([
                ("WAITING", |lease| digest(lease.waiting_module.as_deref())),
                ("REFUSED", |lease| digest(lease.refused_module.as_deref())),
                ("DURATION", |lease| {
                    lease.lease_duration_seconds.map_or(NOTHING.to_owned(), |seconds| age(seconds as f64))
                }),
                ("TRANSITIONS", |lease| lease.lease_transitions.to_string()),
                ("CHECKPOINT", |lease| lease.checkpoint_bytes.map_or(NOTHING.to_owned(), |bytes| format!("{bytes} B"))),
                ("STRATEGY", |lease| text(lease.strategy.as_deref())),
                ("PREFERRED", |lease| text(lease.preferred_holder.as_deref())),
                ("PROBLEM", |lease| text(lease.problem.as_deref())),
            ]);
        }
        columns
    }

    /// The header, and a line for each Lease.
    pub(super) fn lines(self, leases: &[LeaseStatus], colour: bool) -> Vec<String> {
        let rows = leases.iter().map(|lease| (None, lease)).collect::<Vec<_>>();
        self.render(&rows, &[], colour).0
    }

    /// Lays them out; also how wide each column has become, which it is at least as wide as `at_least`.
    fn render(
        self,
        rows: &[(Option<Timestamp>, &LeaseStatus)],
        at_least: &[u16],
        colour: bool,
    ) -> (Vec<String>, Vec<u16>) {
        let columns = self.all();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let headers = columns.iter().map(|(header, _)| (*header).to_owned());
        table.set_header(self.time.then(|| "TIME".to_owned()).into_iter().chain(headers).collect::<Vec<_>>());
        for (at, lease) in rows {
            let cells = columns.iter().map(|(_, cell)| cell(lease));
            let time = at.filter(|_| self.time).map(|at| format!("{at:.0}"));
            table.add_row(time.into_iter().chain(cells).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let widths = table.column_max_content_widths();
        for (index, width) in at_least.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + 2)));
            }
        }
        let mut lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        if colour {
            paint(&mut lines, rows);
        }
        let widths =
            widths.into_iter().enumerate().map(|(index, width)| width.max(at_least.get(index).copied().unwrap_or(0)));
        (lines, widths.collect())
    }
}

/// A table to which lines are added, for as long as somebody reads: its columns get no narrower.
pub(super) struct Growing {
    columns: Columns,
    widths: Vec<u16>,
    begun: bool,
}

impl Growing {
    pub(super) fn new(columns: Columns) -> Self {
        // What is in these is another soon.
        let at_least = |header| match header {
            "STATE" => 7,
            "RENEWED" => 10,
            _ => 0,
        };
        let widths = std::iter::once(0).chain(columns.all().into_iter().map(|(header, _)| at_least(header))).collect();
        Self { columns: Columns { time: true, ..columns }, widths, begun: false }
    }

    /// Further lines; before the first ones, the header.
    pub(super) fn lines(&mut self, at: Timestamp, leases: &[&LeaseStatus]) -> Vec<String> {
        let rows: Vec<_> = leases.iter().map(|lease| (Some(at), *lease)).collect();
        let (mut lines, widths) = self.columns.render(&rows, &self.widths, false);
        self.widths = widths;
        if self.begun {
            lines.remove(0);
        }
        self.begun = true;
        lines
    }
}

/// Colours the state. What stands before it, names and kinds, is ASCII: it begins where its header does.
fn paint(lines: &mut [String], rows: &[(Option<Timestamp>, &LeaseStatus)]) {
    let Some(begin) = lines.first().and_then(|header| header.find("STATE")) else { return };
    for (line, (_, lease)) in lines.iter_mut().skip(1).zip(rows) {
        let colour = match lease.state {
            State::Held => AnsiColor::Green,
            State::Expired => AnsiColor::Red,
            State::Free | State::Unknown => AnsiColor::Yellow,
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let word = lease.state.name();
        let end = begin + word.len();
        if line.get(begin..end) == Some(word) {
            line.replace_range(begin..end, &format!("{style}{word}{style:#}"));
        }
    }
}

/// Somebody else's text, without what a terminal would take for a command, and not longer than a cell may be.
pub(in crate::commands) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == CELL_CHARS_MAX {
            shown.push_str("...");
            break;
        }
        match char {
            '\'' | '"' | '\\' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
    }
    shown
}

fn text(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or(NOTHING.to_owned(), printable)
}

fn holder(lease: &LeaseStatus) -> String {
    let asked = lease.holder.is_some() && lease.step_down == lease.holder;
    text(lease.holder.as_deref()) + if asked { " (asked to step down)" } else { "" }
}

fn number(number: Option<u64>) -> String {
    number.map_or(NOTHING.to_owned(), |number| number.to_string())
}

/// The beginning of a digest.
pub(in crate::commands) fn digest(digest: Option<&str>) -> String {
    let short =
        |digest: &str| digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(DIGEST_CHARS).collect::<String>();
    text(digest.map(short).as_deref())
}

/// A time span by its two largest units.
pub(in crate::commands) fn age(seconds: f64) -> String {
    // Not below zero, and no larger than a time span of a machine.
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            kind::Kind,
            lease::{
                SeenLease,
                tests::{held, time},
            },
        },
        *,
    };

    const NOW: &str = "2026-01-02T12:00:12Z";

    fn examples() -> Vec<LeaseStatus> {
        let task = SeenLease { kind: Kind::Task, ..held("nightly") };
        let task = LeaseStatus {
            module: Some(format!("sha256:{}", "0123456789abcdef".repeat(4))),
            waiting_module: Some(format!("sha256:{}", "a".repeat(64))),
            refused_module: Some(format!("sha256:{}", "fedcba9876543210".repeat(4))),
            task: Some("nightly".into()),
            token: Some(4711),
            checkpoint_bytes: Some(8),
            ..task.at(time(NOW))
        };
        let mut expired = held("an-other.application");
        expired.record.holder = Some("controller-7".into());
        let expired = expired.at(time("2026-01-05T12:00:12Z"));
        let mut free = held("free");
        free.record.holder = None;
        vec![task, expired, free.at(time(NOW))]
    }

    #[test]
    fn the_table_is_as_a_person_reads_it() {
        let columns = Columns { namespace: true, wide: false, time: false };
        let table = columns.lines(&examples(), false).join("\n");
        let golden = "\
NAMESPACE  LEASE                 KIND         STATE    HOLDER        RENEWED   HELD FOR  TOKEN  TASK     MODULE
jobs       nightly               task         held     pod-1_0a      1s ago    12s       4711   nightly  0123456789ab
jobs       an-other.application  application  expired  controller-7  3d0h ago  3d0h      -      -        -
jobs       free                  application  free     -             1s ago    -         -      -        -";
        assert_eq!(table, golden);
    }

    #[test]
    fn the_wide_table_has_the_rest() {
        let columns = Columns { namespace: false, wide: true, time: false };
        let table = columns.lines(&examples()[..1], false).join("\n");
        let golden = "\
LEASE    KIND  STATE  HOLDER    RENEWED  HELD FOR  TOKEN  TASK     MODULE        WAITING       REFUSED       DURATION  TRANSITIONS  CHECKPOINT  STRATEGY  PREFERRED  PROBLEM
nightly  task  held   pod-1_0a  1s ago   12s       4711   nightly  0123456789ab  aaaaaaaaaaaa  fedcba987654  15s       3            8 B         -         -          -";
        assert_eq!(table, golden);
    }

    #[test]
    fn lines_that_are_added_stay_under_their_headers() {
        let examples = examples();
        let mut table = Growing::new(Columns { namespace: false, wide: false, time: false });
        let mut lines = table.lines(time(NOW), &[&examples[1]]);
        lines.extend(table.lines(time("2026-01-02T12:00:15.7Z"), &[&examples[0], &examples[1]]));
        let golden = "\
TIME                  LEASE                 KIND         STATE    HOLDER        RENEWED     HELD FOR  TOKEN  TASK  MODULE
2026-01-02T12:00:12Z  an-other.application  application  expired  controller-7  3d0h ago    3d0h      -      -     -
2026-01-02T12:00:15Z  nightly               task         held     pod-1_0a      1s ago      12s       4711   nightly  0123456789ab
2026-01-02T12:00:15Z  an-other.application  application  expired  controller-7  3d0h ago    3d0h      -      -        -";
        assert_eq!(lines.join("\n"), golden);
    }

    #[test]
    fn only_the_state_is_coloured_and_a_holder_cannot_paint_the_terminal() {
        let mut lease = held("nightly");
        lease.record.holder = Some("\u{1b}[2Jheld\u{202e}\n".into());
        let columns = Columns { namespace: false, wide: false, time: false };
        let lines = columns.lines(&[lease.at(time(NOW))], true);
        assert_eq!(lines.len(), 2);
        let wanted = "\u{1b}[32mheld\u{1b}[0m   \\u{1b}[2Jheld\\u{202e}\\n  ";
        assert!(lines[1].contains(wanted), "{}", lines[1].escape_debug());
        assert_eq!(lines[1].matches('\u{1b}').count(), 2);
        assert_eq!(printable(&"ü".repeat(100)), format!("{}...", "ü".repeat(80)));
    }

    #[test]
    fn a_time_span_has_its_two_largest_units() {
        let ages = [-3.0, 0.4, 59.9, 60.0, 3_599.0, 3_600.0, 86_399.0, 90_000.0, 8_640_000.0].map(age);
        assert_eq!(ages, ["0s", "0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d1h", "100d0h"]);
    }
}
