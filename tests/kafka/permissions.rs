//! What the applications have told of their permissions: none may be valid when one with a higher token appears.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// All of them. What is said of one process has to come in the order in which it has happened; what is said of several in any:
/// the times are those of the processes, by one clock.
#[derive(Default)]
pub(crate) struct Permissions {
    of: BTreeMap<String, Vec<Span>>,
    used: BTreeSet<(String, u64)>,
}

#[derive(Debug)]
struct Span {
    token: u64,
    from: Duration,
    until: Duration,
}

impl Permissions {
    pub(crate) fn granted(&mut self, process: &str, token: u64, from: Duration, until: Duration) {
        let spans = self.of.entry(process.to_owned()).or_default();
        // From now on it works with this token, and with no lower one.
        for lower in spans.iter_mut().filter(|span| span.token < token) {
            lower.until = lower.until.min(from);
        }
        spans.push(Span { token, from, until });
    }

    /// Those of a process are over; it may be granted others.
    pub(crate) fn ends(&mut self, process: &str, at: Duration) {
        for span in self.of.get_mut(process).into_iter().flatten() {
            span.until = span.until.min(at);
        }
    }

    /// A process has worked with a token.
    pub(crate) fn used(&mut self, process: &str, token: u64) {
        self.used.insert((process.to_owned(), token));
    }

    /// To be asked when all was told.
    pub(crate) fn violations(&self) -> Vec<String> {
        // When each token was first good for anything. One that came too late is none.
        let mut first: BTreeMap<u64, (Duration, &str)> = BTreeMap::new();
        let mut granted = BTreeSet::new();
        for (process, span) in self.all() {
            granted.insert((process.to_owned(), span.token));
            if span.from < span.until {
                let first = first.entry(span.token).or_insert((span.from, process));
                *first = (*first).min((span.from, process));
            }
        }
        let overlaps = self.all().filter(|(_, span)| span.from < span.until).filter_map(|(process, span)| {
            let (higher, (at, other)) = first.range(span.token + 1..).min_by_key(|(_, (at, _))| *at)?;
            (*at < span.until)
                .then(|| format!("two are permitted: {process} has {span:?}, and {other} has token {higher} at {at:?}"))
        });
        let used = self.used.difference(&granted);
        overlaps
            .chain(used.map(|(process, token)| format!("{process} works with token {token}, which it was not given")))
            .collect()
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Span)> {
        self.of.iter().flat_map(|(process, spans)| spans.iter().map(move |span| (&**process, span)))
    }
}
