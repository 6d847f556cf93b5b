//! What a process has said of itself, from its start to its end.

use leasehold_tests::event_log::Event;

use crate::peers::Kind;

/// Microseconds since the Unix epoch.
pub(crate) type Micros = i64;

/// A process, after its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) kind: Kind,
    /// Its identity, or the beginning of it.
    pub(crate) name: String,
    pub(crate) events: Vec<Event>,
    /// When it had certainly ended.
    pub(crate) ended: Micros,
    /// From when to when it was stopped by SIGSTOP: before the first signal, and before the second.
    pub(crate) pauses: Vec<(Micros, Micros)>,
}

/// A time during which somebody led, by its own word.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Which of this process's terms it belongs to, from 0.
    pub(crate) term: usize,
    /// The fencing token, where there is such a thing.
    pub(crate) token: Option<u64>,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

impl Span {
    pub(crate) fn overlap(&self, other: &Self) -> Micros {
        self.to.min(other.to) - self.from.max(other.from)
    }
}

impl Life {
    /// When it led, by its own word; until its end where that came first.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let named = |name: &'static str| self.events.iter().filter(move |event| event.name() == name);
        let mut spans = Vec::new();
        let mut begins: Vec<_> = named(self.kind.begins()).collect();
        if self.kind == Kind::Python || self.kind == Kind::ClientGo || self.kind == Kind::Java {
            // They lead once, and end when they have lost it.
            begins.truncate(1);
        }
        for (term, begin) in begins.iter().enumerate() {
            let token = (self.kind == Kind::Leasehold).then(|| begin.token());
            let stopped = named("guest-stopped")
                .filter(|event| token.is_none() || event.line["token"].as_u64() == token)
                .find(|event| event.at_micros >= begin.at_micros);
            let to = stopped.map_or(self.ended, |event| event.at_micros.min(self.ended));
            let whole = Span { kind: self.kind, name: self.name.clone(), term, token, from: begin.at_micros, to };
            spans.extend(self.without_pauses(whole));
        }
        spans
    }

    /// A process that does not run cannot say so. What counts of it afterwards is what left it: to
    /// compute until the next tick is not promised to be impossible.
    fn without_pauses(&self, whole: Span) -> Vec<Span> {
        let mut pieces = Vec::new();
        let mut from = whole.from;
        let mut paused_before = false;
        let pauses = self.pauses.iter().filter(|(stop, goes_on)| *stop < whole.to && *goes_on > whole.from);
        let ends = pauses.map(|(stop, goes_on)| (*stop, *goes_on)).chain([(whole.to, Micros::MAX)]);
        for (end, goes_on) in ends {
            let to = if paused_before { self.last_line_within(whole.token, from, end) } else { Some(end) };
            if let Some(to) = to
                && from < to
            {
                pieces.push(Span { from, to, ..whole.clone() });
            }
            (from, paused_before) = (goes_on, true);
        }
        pieces
    }

    fn last_line_within(&self, token: Option<u64>, from: Micros, to: Micros) -> Option<Micros> {
        let of_guest = self.events.iter().filter(|event| {
            event.name() == "guest-output"
                && event.line["token"].as_u64() == token
                // What it prints when it is asked to stop is its farewell, and gated as any other line.
                && (from..=to).contains(&event.at_micros)
        });
        of_guest.map(|event| event.at_micros).max()
    }
}
