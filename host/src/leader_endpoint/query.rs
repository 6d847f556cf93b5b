//! What is asked for behind a `?`.

use std::time::Duration;

use url::form_urlencoded;

/// The longest that a long poll may wait: what is between may cut a connection that is silent for longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) task: Option<String>,
    pub(super) wait: Option<Wait>,
}

/// A long poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// How long, if nothing happens; at most [`WAIT_MAX`].
    pub(super) longest: Duration,
    /// What the client has seen already; else what there is now.
    pub(super) seen: Option<u64>,
}

impl Query {
    /// `known`: which parameters the path has, beside `task`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let (mut query, mut longest, mut seen) = (Self::default(), None, None);
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "task" => query.task = Some(value.into_owned()),
                "wait" if known.contains(&"wait") => longest = Some(duration(&value)?),
                "version" if known.contains(&"version") => {
                    let version = value.parse::<u64>();
                    seen =
                        Some(version.map_err(|_| format!("version={value}: it is the number of an earlier answer"))?);
                }
                _ => {
                    let known = [&["task"], known].concat().join(", ");
                    return Err(format!("there is no parameter {name:?} here; there is: {known}"));
                }
            }
        }
        query.wait = match (longest, seen) {
            (Some(longest), seen) => Some(Wait { longest, seen }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err("version says what was seen already: add wait, for how long to wait for news".to_owned());
            }
        };
        Ok(query)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => Err(format!("wait={text}: it is a time such as 30s, and at most {}s", WAIT_MAX.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["wait", "version"];

    #[test]
    fn a_long_poll_has_a_time_and_may_say_what_was_seen() {
        let query = Query::parse("wait=30s&version=7&task=a%2Db", ALL).expect("it is right");
        let wait = Wait { longest: Duration::from_secs(30), seen: Some(7) };
        assert_eq!(query, Query { task: Some("a-b".to_owned()), wait: Some(wait) });
        assert_eq!(Query::parse("", ALL), Ok(Query::default()));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, known, said) in [
            ("wait=61s", ALL, "at most 60s"),
            ("wait=soon", ALL, "such as 30s"),
            ("wait=1s&version=-1", ALL, "an earlier answer"),
            ("version=7", ALL, "add wait"),
            ("waits=1s", ALL, "task, wait, version"),
            ("wait=1s", &[], "there is: task"),
        ] {
            let error = Query::parse(text, known).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
