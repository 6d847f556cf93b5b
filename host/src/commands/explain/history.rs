//! What happened to a Lease, in the order of time.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Event, Facts, Write};
use crate::commands::status::{lease::State, table::printable};

/// The oldest are left out beyond so many.
const ENTRIES_MAX: usize = 40;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// All that is known of, the newest last.
pub(super) fn of(facts: &Facts, now: Timestamp) -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(facts.created.map(|at| Entry { at, text: "the Lease was made".to_owned() }));
    entries.extend(facts.events.known().into_iter().flatten().map(of_event));
    entries.extend(facts.writes.known().into_iter().flatten().map(of_write));
    if let Some(lease) = &facts.lease {
        let state = lease.at(now).state;
        let holder = lease.record.holder.as_deref().map(printable).unwrap_or_default();
        let acquired = lease
            .at(now)
            .held_seconds
            .and_then(|held| now.checked_sub(SignedDuration::try_from_secs_f64(held).ok()?).ok());
        entries.extend(acquired.map(|at| Entry { at, text: format!("{holder} acquired it, as it says itself") }));
        let ran_out = lease.runs_out().filter(|_| state == State::Expired);
        entries
            .extend(ran_out.map(|at| Entry { at, text: format!("it ran out: {holder} had not renewed it in time") }));
    }
    entries.sort_by_key(|entry| entry.at);
    let left_out = entries.len().saturating_sub(ENTRIES_MAX);
    entries.split_off(left_out)
}

fn of_event(event: &Event) -> Entry {
    let Event { at, reason, message, by, count } = event;
    let often = if *count > 1 { format!(", {count} times") } else { String::new() };
    let text = format!("{}: {} (Event of {}{often})", printable(reason), printable_line(message), printable(by));
    Entry { at: *at, text }
}

fn of_write(write: &Write) -> Entry {
    let Write { at, by, fields } = write;
    let text = format!("last write by {}, of {}", printable(by), printable_line(&fields.join(", ")));
    Entry { at: *at, text }
}

/// As [`printable`], a whole line of it.
fn printable_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut shown = String::new();
    let chars: Vec<_> = text.chars().collect();
    for piece in chars.chunks(80).take(CHARS_MAX / 80) {
        shown.push_str(&printable(&piece.iter().collect::<String>()));
    }
    if chars.len() > CHARS_MAX {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Asked, *};
    use crate::commands::status::lease::tests::{held, time};

    #[test]
    fn what_happened_is_in_the_order_of_time_and_nobody_else_paints_the_terminal() {
        let at = |second: &str| time(&format!("2026-01-02T12:00:{second}Z"));
        let event = |second, message: &str| Event {
            at: at(second),
            reason: "StartedLeading".into(),
            message: message.into(),
            by: "leasehold.dev/host".into(),
            count: 2,
        };
        let fields = vec!["holderIdentity".to_owned(), "renewTime".to_owned()];
        let facts = Facts {
            namespace: "jobs".into(),
            name: "nightly".into(),
            lease: Some(held("nightly")),
            created: Some(at("02")),
            writes: Asked::Known(vec![Write { at: at("10"), by: "leasehold".into(), fields }]),
            events: Asked::Known(vec![event("05", "later"), event("01", "\u{1b}[2Jfirst")]),
            pod: None,
            candidates: None,
        };
        let told: Vec<_> = of(&facts, at("30")).into_iter().map(|entry| entry.text).collect();
        let wanted = [
            "pod-1_0a acquired it, as it says itself",
            "StartedLeading: \\u{1b}[2Jfirst (Event of leasehold.dev/host, 2 times)",
            "the Lease was made",
            "StartedLeading: later (Event of leasehold.dev/host, 2 times)",
            "last write by leasehold, of holderIdentity, renewTime",
            "it ran out: pod-1_0a had not renewed it in time",
        ];
        assert_eq!(told, wanted);
        let many: Vec<_> = (0..100).map(|_| event("05", "again")).collect();
        let many = of(&Facts { events: Asked::Known(many), ..facts }, at("30"));
        assert_eq!((many.len(), many.last().map(|entry| entry.at)), (ENTRIES_MAX, Some(at("25.25"))));
    }
}
