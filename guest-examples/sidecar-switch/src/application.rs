//! The application, as it is called.
//!
//! # Why no permission outlasts the term
//!
//! A permission is a point of the application's own monotonic clock. To know one that is not too late, the switch needs a
//! reading of that clock which is not younger than it thinks: with each answer comes one (`Leasehold-Clock`, opaque here).
//! The application had read it before the answer arrived, at `received` on our clock. Before the next call we read our own
//! clock (`now`), and after that `leadership.remaining`. So much is certain, whatever was slow, lost or frozen in between:
//!
//! - when the application's clock stands at `reading + (now - received)`, it is `now` at the latest;
//! - so when it stands at `reading + (now - received) + remaining`, the term is not over yet.
//!
//! The call sends the reading back together with `Leasehold-Valid-For-Ms = (now - received) + remaining - margin`, which the
//! application adds up. How long the call is under way does not matter: one that is read a minute later, by an application
//! that was frozen, names a point that has passed. (Counted from the call's arrival it would be a new permission, and
//! taking the call's deadline off would not help: bytes in a socket's buffer outlive the deadline.)
//!
//! Of two readings the one that the application gave later is the better one, and one that it gave before it was
//! deactivated it refuses (409), so that a call which comes late does not undo that.

use std::time::Duration;

use crate::{
    Term,
    config::{Config, Url},
    http::{self, Answer, Unanswered},
    leasehold::task::leadership,
    wasi::{clocks::monotonic_clock, http::types::Method, io::poll::Pollable},
};

pub(crate) struct Application<'a> {
    config: &'a Config,
    term: &'a Term,
    clock: Option<Clock>,
    active: bool,
}

/// The newest reading of the application's clock.
struct Clock {
    reading: String,
    /// Nanoseconds of our own clock.
    received: u64,
}

/// Why there is no (new) permission.
pub(crate) enum NotActivated {
    /// The host asks this instance to stop.
    Asked,
    /// The application is ending, and wants another replica to lead.
    Ending,
    Failed(String),
}

impl<'a> Application<'a> {
    pub(crate) fn new(config: &'a Config, term: &'a Term) -> Self {
        Self { config, term, clock: None, active: false }
    }

    /// Gives the permission, or renews it; says that it is to be active, where it knows of no permissions.
    pub(crate) fn activate(&mut self, stop: &Pollable) -> Result<(), NotActivated> {
        let Some(longest) = self.config.permission else { return self.say_activate(stop) };
        // Without a reading, or with one of a process that is gone, it answers with another one.
        for _ in 0..2 {
            let answer = self.ask_to_activate(Some(longest), stop)?;
            let reading = answer.clock.clone();
            if let Some(reading) = reading.clone() {
                self.clock = Some(Clock { reading, received: answer.received });
            }
            match (answer.status, reading) {
                (200..300, Some(_)) => {
                    self.is_active();
                    return Ok(());
                }
                (200..300 | 409, None) => {
                    let error = "an answer without the header Leasehold-Clock: the application has to send it, or \
                                 PERMISSION=none be set";
                    return Err(self.failed(&format!("{}: {error}", answer.status)));
                }
                (409, Some(_)) => {}
                (410, _) => return Err(NotActivated::Ending),
                _ => return Err(self.failed(&answer.to_string())),
            }
        }
        Err(self.failed("409: it refuses the very clock that it has sent (or the token, which is lower than another)"))
    }

    fn say_activate(&mut self, stop: &Pollable) -> Result<(), NotActivated> {
        let answer = self.ask_to_activate(None, stop)?;
        match answer.status {
            200..300 => {
                self.is_active();
                Ok(())
            }
            410 => Err(NotActivated::Ending),
            _ => Err(self.failed(&answer.to_string())),
        }
    }

    fn is_active(&mut self) {
        if !std::mem::replace(&mut self.active, true) {
            println!("activated, token {}", self.term.token);
        }
    }

    fn ask_to_activate(&self, longest: Option<Duration>, stop: &Pollable) -> Result<Answer, NotActivated> {
        let (lease, token) = (format!("{}/{}", self.term.namespace, self.term.lease), self.term.token.to_string());
        let mut headers = vec![
            ("leasehold-token", token),
            ("leasehold-identity", self.term.identity.clone()),
            ("leasehold-lease", lease),
        ];
        if let (Some(Clock { reading, received }), Some(longest)) = (&self.clock, longest) {
            // In this order: see above.
            let since = (monotonic_clock::now() - received) / 1_000_000;
            let remaining = leadership::remaining() / 1_000_000;
            let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
            let margin = u64::try_from(self.config.margin.as_millis()).unwrap_or(u64::MAX);
            let valid = remaining.saturating_sub(margin).min(longest);
            if valid == 0 {
                return Err(NotActivated::Failed("the term is about to end: its Lease is not renewed".to_owned()));
            }
            headers.push(("leasehold-clock", reading.clone()));
            headers.push(("leasehold-valid-for-ms", (since + valid).to_string()));
        }
        let answer = http::ask(&Method::Post, &self.config.activate, &headers, self.config.call_timeout, Some(stop));
        answer.map_err(|error| match error {
            Unanswered::Asked => NotActivated::Asked,
            Unanswered::Failed(error) => self.failed(&error),
        })
    }

    fn failed(&self, error: &str) -> NotActivated {
        NotActivated::Failed(format!("POST {}: {error}", self.config.activate))
    }

    /// Returns ok when it has said that it is off. Made even where the instance was asked to stop.
    pub(crate) fn deactivate(&self) -> Result<(), String> {
        // On a replica that does not lead, there is none.
        let token = (self.term.token > 0).then(|| ("leasehold-token", self.term.token.to_string()));
        self.expect_ok(&Method::Post, &self.config.deactivate, token.as_slice(), None)
    }

    /// Ok where no URL was given.
    pub(crate) fn health(&self, stop: &Pollable) -> Result<(), String> {
        self.config.health.as_ref().map_or(Ok(()), |url| self.expect_ok(&Method::Get, url, &[], Some(stop)))
    }

    fn expect_ok(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&str, String)],
        stop: Option<&Pollable>,
    ) -> Result<(), String> {
        let name = if matches!(method, Method::Get) { "GET" } else { "POST" };
        match http::ask(method, url, headers, self.config.call_timeout, stop) {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("{name} {url}: {answer}")),
            Err(Unanswered::Asked) => Err(format!("{name} {url}: asked to stop")),
            Err(Unanswered::Failed(error)) => Err(format!("{name} {url}: {error}")),
        }
    }
}
