//! Log lines for people: what happened, in columns, then the message, then the fields. At a terminal with the time of day,
//! in colours, and without what is the same on every line there.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Effects, Style};
use jiff::{Timestamp, Zoned};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Most names of events are no longer.
const EVENT_CHARS: usize = 18;
const DIGEST_CHARS: usize = 12;
/// What stays the same as long as a process runs, as a rule. Told where it competes.
const SAME_ON_EVERY_LINE: [&str; 2] = ["lease", "identity"];
const TOLD_AT: &str = "candidate";

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) at_a_terminal: bool,
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let time = match self.at_a_terminal {
            true => Zoned::now().strftime("%H:%M:%S%.3f").to_string(),
            false => format!("{:.6}", Timestamp::now()),
        };
        writeln!(writer, "{}", self.line(&time, *event.metadata().level(), &line))
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Line {
    event: String,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "event" => self.event = value,
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format!("{value:.1}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Text {
    fn line(self, time: &str, level: Level, line: &Line) -> String {
        let Line { event, message, fields } = line;
        let level_colour = match level {
            Level::ERROR => AnsiColor::Red,
            Level::WARN => AnsiColor::Yellow,
            Level::INFO => AnsiColor::Green,
            Level::DEBUG => AnsiColor::Blue,
            Level::TRACE => AnsiColor::Magenta,
        };
        let level_style = Style::new().fg_color(Some(level_colour.into()));
        let (dim, bold) = (Style::new().effects(Effects::DIMMED), Style::new().effects(Effects::BOLD));
        let mut text = String::new();
        self.styled(&mut text, dim, time);
        text.push(' ');
        self.styled(&mut text, level_style, &format!("{:5}", level.as_str()));
        text.push(' ');
        self.styled(&mut text, bold, &format!("{:EVENT_CHARS$}", printable(event)));
        text.push(' ');
        // The fields are seen where the eye is, and not below a backtrace.
        let (first, rest) = message.split_once('\n').map_or((&**message, None), |(first, rest)| (first, Some(rest)));
        text.push_str(&printable(first));
        let told = fields
            .iter()
            .filter(|(name, _)| !self.at_a_terminal || event == TOLD_AT || !SAME_ON_EVERY_LINE.contains(name))
            .map(|(name, value)| format!("{name}={}", quoted(self.shortened(value))));
        let told = told.collect::<Vec<_>>().join(" ");
        if !told.is_empty() {
            text.push(' ');
            self.styled(&mut text, dim, &told);
        }
        if let Some(rest) = rest {
            text.push_str(&printable(&format!("\n{rest}")));
        }
        text
    }

    /// At a terminal, as much of a digest as tells it from others.
    fn shortened(self, value: &str) -> &str {
        let is_digest = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        match value.strip_prefix("sha256:").filter(|digest| self.at_a_terminal && is_digest(digest)) {
            Some(_) => &value[.."sha256:".len() + DIGEST_CHARS],
            None => value,
        }
    }

    fn styled(self, text: &mut String, style: Style, what: &str) {
        let _ = match self.colour {
            true => write!(text, "{style}{what}{style:#}"),
            false => write!(text, "{what}"),
        };
    }
}

/// A value that ends where it seems to.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(|char: char| char.is_whitespace() || char == '"' || char == '=');
    if plain { printable(value) } else { printable(&format!("{value:?}")) }
}

/// Without what a terminal would take for a command. A line after the first is indented: only a host's own line begins
/// with a time.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => shown.push_str("\n    "),
            '\t' => shown.push(char),
            char if char.is_control() => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            event: "guest-stopped".into(),
            message: "the component has stopped".into(),
            fields: vec![
                ("task", "nightly".into()),
                ("lease", "jobs/nightly".into()),
                ("identity", "pod-1_0a".into()),
                ("token", "7".into()),
                ("reason", "shut down".into()),
            ],
        }
    }

    #[test]
    fn a_log_that_is_kept_has_every_field_and_no_colour() {
        let text = Text { at_a_terminal: false, colour: false };
        let wanted = "12:00 INFO  guest-stopped      the component has stopped task=nightly lease=jobs/nightly \
             identity=pod-1_0a token=7 reason=\"shut down\"";
        assert_eq!(text.line("12:00", Level::INFO, &line()), wanted);
    }

    #[test]
    fn at_a_terminal_it_is_shorter_and_may_have_colours() {
        let text = Text { at_a_terminal: true, colour: false };
        let wanted =
            "12:00 WARN  guest-stopped      the component has stopped task=nightly token=7 reason=\"shut down\"";
        assert_eq!(text.line("12:00", Level::WARN, &line()), wanted);
        let candidate = Line { event: "candidate".into(), ..line() };
        assert!(text.line("12:00", Level::INFO, &candidate).contains("lease=jobs/nightly identity=pod-1_0a"));
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let failed = Line { message: "failed:\nbacktrace".into(), fields: vec![("digest", digest)], ..line() };
        let wanted = "12:00 WARN  guest-stopped      failed: digest=sha256:0123456789ab\n    backtrace";
        assert_eq!(text.line("12:00", Level::WARN, &failed), wanted);
        let coloured = Text { colour: true, ..text }.line("12:00", Level::WARN, &line());
        assert!(coloured.contains("\u{1b}[33mWARN \u{1b}[0m"), "{}", coloured.escape_debug());
    }

    #[test]
    fn what_a_component_prints_moves_no_cursor_and_forges_no_line() {
        let text = Text { at_a_terminal: true, colour: false };
        let message = "\u{1b}[2J\u{9b}2J\r12:00 INFO\n12:00 INFO  leading".into();
        let forged = Line { event: "guest-output".into(), message, fields: vec![("a", "x\ny".into())] };
        let shown = text.line("12:01", Level::INFO, &forged);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.lines().nth(1).is_some_and(|line| line.starts_with("    12:00")), "{shown}");
        assert!(
            !shown.contains(['\u{1b}', '\u{9b}', '\r']) && shown.contains("a=\"x\\ny\""),
            "{}",
            shown.escape_debug()
        );
    }
}
