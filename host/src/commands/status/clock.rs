//! The time by which ages are told: the API server's, for the clock of the machine that this is called on, somebody's
//! laptop, may be wrong. It goes on by the boot clock, so that nobody who sets the machine's clock meanwhile changes it.
//! Nothing is decided by it.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use kube::{Client, client::Body};
use leasehold_core::time::BootTime;
use serde::Serialize;

use crate::{clock, kubernetes::cluster::first_contact};

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Clock {
    /// What it said, and when.
    began: Timestamp,
    at: BootTime,
    pub(in crate::commands) whose: Whose,
    /// By how much this machine's clock is ahead, where they differ by more than can be told.
    pub(in crate::commands) machine_ahead: Option<SignedDuration>,
}

/// Whose clock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::commands) enum Whose {
    /// The API server's.
    ApiServer,
    /// This machine's: Leases in a folder are of this machine.
    Machine,
}

impl Clock {
    /// This machine's.
    pub(in crate::commands) fn of_the_machine() -> Self {
        Self { began: Timestamp::now(), at: clock::boot(), whose: Whose::Machine, machine_ahead: None }
    }

    /// That of the API server, as its next answer says, whatever it answers. Where none is said, this machine's.
    ///
    /// # Errors
    /// The cluster does not answer.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(in crate::commands) async fn of_the_api_server(client: &Client) -> anyhow::Result<Self> {
        let request = http::Request::get("/version").body(Body::empty())?;
        let sent = Timestamp::now();
        let answer = first_contact(async {
            client.send(request).await.map_err(|error| {
                anyhow::anyhow!("{}", crate::kubernetes::in_plain_words(&error)).context("cannot reach the cluster")
            })
        })
        .await?;
        let (received, at) = (Timestamp::now(), clock::boot());
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        // https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7 is, in the one form that is still sent, RFC 2822's.
        let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
        Ok(match date {
            Some(date) => Self::from_date(date, sent, received, at),
            None => Self { at, ..Self::of_the_machine() },
        })
    }

    /// The answer was made within the second that `date` is, and between `sent` and `received`. A machine's clock that
    /// may be right is taken for right: it is the more exact.
    fn from_date(date: Timestamp, sent: Timestamp, received: Timestamp, at: BootTime) -> Self {
        let second = SignedDuration::from_secs(1);
        let least_ahead = sent.duration_since(date) - second;
        let most_ahead = received.duration_since(date);
        let ahead = (least_ahead > SignedDuration::ZERO || most_ahead < SignedDuration::ZERO)
            .then(|| (least_ahead + most_ahead) / 2);
        let began = received.checked_sub(ahead.unwrap_or_default()).unwrap_or(received);
        Self { began, at, whose: Whose::ApiServer, machine_ahead: ahead }
    }

    /// The time now, to the microsecond, as Leases have it.
    pub(in crate::commands) fn now(&self) -> Timestamp {
        let now = self.began.checked_add(clock::boot().since(self.at)).unwrap_or(Timestamp::MAX);
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// For a person, where there is something to say.
    pub(in crate::commands) fn warning(&self) -> Option<String> {
        let ahead = self.machine_ahead?;
        let way = if ahead.is_negative() { "behind" } else { "ahead of" };
        let by = super::table::age(ahead.abs().as_secs_f64());
        Some(format!("this machine's clock is {by} {way} the API server's; times here are by the API server's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(date: &str, sent: &str, received: &str) -> Option<f64> {
        let date = DateTimeParser::new().parse_timestamp(date).expect("a date");
        let time = |text: &str| format!("2026-11-21T{text}Z").parse::<Timestamp>().expect("a time");
        let clock = Clock::from_date(date, time(sent), time(received), clock::boot());
        clock.machine_ahead.map(|ahead| ahead.as_secs_f64())
    }

    #[test]
    fn a_machines_clock_that_may_be_right_is_kept_and_one_that_is_wrong_is_not() {
        let date = "Sat, 21 Nov 2026 12:00:00 GMT";
        assert_eq!(ahead(date, "12:00:00.100", "12:00:00.200"), None);
        assert_eq!(ahead(date, "12:00:00.990", "12:00:01.100"), None, "made before the second was over");
        assert_eq!(ahead(date, "11:59:59.900", "12:00:00.100"), None, "made after it began");
        assert_eq!(ahead(date, "12:05:00", "12:05:00.500"), Some(299.75));
        assert_eq!(ahead(date, "11:55:00", "11:55:00.500"), Some(-300.25));
    }
}
