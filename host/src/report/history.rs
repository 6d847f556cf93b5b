//! A little of a task's past that is not this replica's alone: who has held the Lease, as it was seen from here, and which
//! modules took over.
//!
//! When others acquired a Lease is what they themselves have written, by their own clocks: for people to read.

use std::collections::VecDeque;

use jiff::Timestamp;
use leasehold_core::{lease::LeaseRecord, time::WallTime};
use serde::Serialize;

/// So many of the last of each are remembered.
pub const REMEMBERED_MAX: usize = 20;

/// Part of `/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Who has held the Lease lately, the newest last; at most 20.
    pub holders: VecDeque<HolderTerm>,
    /// The last modules that took over from another one, the newest last; at most 20.
    pub swaps: VecDeque<Swap>,
    /// What the Lease has said last of its holder.
    #[serde(skip)]
    written: Option<Written>,
}

/// A time in which somebody held the Lease, as this replica saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderTerm {
    /// As it stood on the Lease.
    pub identity: String,
    /// Whether it was this replica.
    pub own: bool,
    /// The fencing token, where it is known.
    pub token: Option<u64>,
    /// Since when: where another has written that, by its clock; otherwise since it was first seen.
    pub since: Timestamp,
    /// When it was seen to hold it no more; null while it does.
    pub until: Option<Timestamp>,
}

/// A module took over from another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    /// When.
    pub at: Timestamp,
    /// The token of the term in which the new one began.
    pub token: u64,
    /// The digest of the one before.
    pub from: String,
    /// The digest of the one that took over.
    pub to: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Written {
    holder: String,
    token: Option<u64>,
    acquired: Option<Timestamp>,
}

impl Written {
    fn of(record: &LeaseRecord) -> Option<Self> {
        let time = |wall: WallTime| Timestamp::from_microsecond(wall.as_micros()).ok();
        let acquired = record.acquired.and_then(time);
        Some(Self { holder: record.holder.clone()?, token: record.token, acquired })
    }
}

impl History {
    /// Since when somebody holds the Lease.
    pub fn holder_since(&self) -> Option<Timestamp> {
        self.present().map(|holder| holder.since)
    }

    fn present(&self) -> Option<&HolderTerm> {
        self.holders.back().filter(|holder| holder.until.is_none())
    }

    /// Whether this record says anything of its holder that is not known. (Renewals do not.)
    pub(super) fn is_news(&self, record: Option<&LeaseRecord>) -> bool {
        record.and_then(Written::of) != self.written
    }

    /// The Lease says this.
    pub(super) fn written(&mut self, record: Option<&LeaseRecord>) {
        let before = std::mem::replace(&mut self.written, record.and_then(Written::of));
        let Some(now) = self.written.clone() else { return };
        let Some(present) = self.present().filter(|present| !present.own && present.identity == now.holder) else {
            return;
        };
        let again = before.is_some_and(|before| before.holder == now.holder && before.acquired != now.acquired);
        if again {
            self.held_by(&now.holder.clone());
            return;
        }
        let token = present.token.or_else(|| self.new_token(now.token));
        if let Some(present) = self.holders.back_mut() {
            present.token = token;
            present.since = now.acquired.unwrap_or(present.since);
        }
    }

    /// Another holds it, or nobody.
    pub(super) fn holder(&mut self, holder: Option<&str>) {
        match (self.present(), holder) {
            (Some(present), Some(holder)) if !present.own && present.identity == holder => {}
            (_, Some(holder)) => self.held_by(holder),
            (_, None) => self.ended(),
        }
    }

    fn held_by(&mut self, holder: &str) {
        let written = self.written.as_ref().filter(|written| written.holder == holder);
        let since = written.and_then(|written| written.acquired).unwrap_or_else(Timestamp::now);
        let token = self.new_token(written.and_then(|written| written.token));
        self.began(HolderTerm { identity: holder.to_owned(), own: false, token, since, until: None });
    }

    /// Other electors keep the token of whoever held the Lease before them, and have none.
    fn new_token(&self, written: Option<u64>) -> Option<u64> {
        let known = self.holders.iter().filter_map(|holder| holder.token).max();
        written.filter(|token| known.is_none_or(|known| known < *token))
    }

    /// This replica does.
    pub(super) fn leading(&mut self, identity: &str, token: u64) {
        let since = Timestamp::now();
        self.began(HolderTerm { identity: identity.to_owned(), own: true, token: Some(token), since, until: None });
    }

    fn began(&mut self, term: HolderTerm) {
        self.ended();
        remember(&mut self.holders, term);
    }

    /// Whoever held it does so no more.
    pub(super) fn ended(&mut self) {
        if let Some(present) = self.holders.back_mut() {
            present.until.get_or_insert_with(Timestamp::now);
        }
    }

    /// A run begins, with the module `to`; what ran before had `from`.
    pub(super) fn run_started(&mut self, token: u64, from: Option<&str>, to: &str) {
        if let Some(from) = from.filter(|from| *from != to) {
            let (from, to) = (from.to_owned(), to.to_owned());
            remember(&mut self.swaps, Swap { at: Timestamp::now(), token, from, to });
        }
    }
}

fn remember<T>(past: &mut VecDeque<T>, newest: T) {
    if past.len() == REMEMBERED_MAX {
        past.pop_front();
    }
    past.push_back(newest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, token: Option<u64>, acquired: i64) -> LeaseRecord {
        let acquired = Some(WallTime::from_micros(acquired * 1_000_000));
        LeaseRecord { holder: Some(holder.to_owned()), token, acquired, ..LeaseRecord::default() }
    }

    fn told(history: &History) -> Vec<(&str, bool, Option<u64>, bool)> {
        let told = |held: &'_ HolderTerm| (held.own, held.token, held.until.is_none());
        let terms = history.holders.iter();
        terms
            .map(|held| (held.identity.as_str(), told(held)))
            .map(|(name, (own, token, now))| (name, own, token, now))
            .collect()
    }

    #[test]
    fn terms_of_others_are_seen_beside_those_of_this_replica() {
        let mut history = History::default();
        history.written(Some(&record("other", None, 100)));
        history.holder(Some("other"));
        history.holder(Some("other"));
        assert_eq!(history.holder_since(), Timestamp::from_second(100).ok());
        assert!(history.is_news(Some(&record("other", Some(5), 100))));
        history.written(Some(&record("other", Some(5), 100)));
        assert!(!history.is_news(Some(&record("other", Some(5), 100))));
        assert_eq!(told(&history), [("other", false, Some(5), true)]);

        history.holder(None);
        assert_eq!(history.holder_since(), None);
        history.leading("me", 9);
        // What this replica hears of its own writes changes nothing.
        history.written(Some(&record("me", Some(9), 200)));
        history.ended();
        // Another elector, which keeps what it finds.
        history.written(Some(&record("foreign", Some(9), 300)));
        history.holder(Some("foreign"));
        assert_eq!(
            told(&history),
            [("other", false, Some(5), false), ("me", true, Some(9), false), ("foreign", false, None, true)]
        );
        assert_eq!(history.holder_since(), Timestamp::from_second(300).ok());
    }

    #[test]
    fn a_holder_that_acquires_again_begins_another_term() {
        let mut history = History::default();
        history.holder(Some("other"));
        history.written(Some(&record("other", Some(5), 100)));
        history.written(Some(&record("other", Some(8), 200)));
        assert_eq!(told(&history), [("other", false, Some(5), false), ("other", false, Some(8), true)]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_is_kept() {
        let mut history = History::default();
        for token in 0..100 {
            history.leading("me", token);
            history.run_started(token, Some("sha256:a"), "sha256:a");
            history.run_started(token, Some("sha256:a"), "sha256:b");
        }
        assert_eq!((history.holders.len(), history.swaps.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert_eq!((history.holders[19].token, history.swaps[19].token), (Some(99), 99));
    }
}
