//! Single values, each checked where it is parsed.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use bytesize::ByteSize;
use clap::ValueEnum;
use leasehold_core::task::{Digest, OnReturn, SwapPolicy};
use serde::Deserialize;

use super::env::{EnvName, check_value};

/// A name that Kubernetes takes for an object: lower-case letters, digits, `-` and `.`, beginning
/// and ending with a letter or digit, at most 253 (RFC 1123 subdomain). Safe in a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is not a name for a Kubernetes object: use lower-case letters, digits, `-` and `.`, beginning and \
             ending with a letter or digit"
        ))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where the admin address is: `ADDRESS:PORT`, or `:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// On all addresses, of IPv4 and IPv6.
    Everywhere(u16),
    /// On this one.
    One(SocketAddr),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::One(address) => address.fmt(f),
        }
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.strip_prefix(':').map(str::parse), text.parse()) {
            (Some(Ok(port)), _) => Ok(Self::Everywhere(port)),
            (_, Ok(address)) => Ok(Self::One(address)),
            // A port alone would be on loopback for the leader endpoint.
            (_, Err(_)) => Err("expected ADDRESS:PORT, such as 127.0.0.1:8080, or :PORT for all addresses".into()),
        }
    }
}

/// Where the leader endpoint listens: `ADDRESS:PORT`; a port alone, and `localhost`, are on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderAddress {
    /// On 127.0.0.1 and `[::1]`.
    Loopback(u16),
    /// On this one.
    One(SocketAddr),
}

impl fmt::Display for LeaderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(port) => write!(f, "localhost:{port}"),
            Self::One(address) => address.fmt(f),
        }
    }
}

impl FromStr for LeaderAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        match (port.parse(), text.parse()) {
            (Ok(port), _) => Ok(Self::Loopback(port)),
            (Err(_), Ok(address)) => Ok(Self::One(address)),
            (Err(_), Err(_)) => Err("expected PORT, localhost:PORT or ADDRESS:PORT, such as 127.0.0.1:4040".into()),
        }
    }
}

/// `NAME=VALUE`
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar(pub String, pub String);

impl fmt::Debug for EnvVar {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EnvVar").field(&self.0).finish_non_exhaustive()
    }
}

impl FromStr for EnvVar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                name.parse::<EnvName>()?;
                check_value(value)?;
                Ok(Self(name.into(), value.into()))
            }
            _ => Err("expected NAME=VALUE".into()),
        }
    }
}

/// [`OnReturn`] as a person writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReturnArg {
    /// Keep the lease: the term's work is done
    #[default]
    Hold,
    /// Release the lease, so that another replica has its turn
    Release,
    /// Run the task again after a second
    Restart,
}

impl From<OnReturnArg> for OnReturn {
    fn from(arg: OnReturnArg) -> Self {
        match arg {
            OnReturnArg::Hold => Self::Hold,
            OnReturnArg::Release => Self::Release,
            OnReturnArg::Restart => Self::Restart,
        }
    }
}

/// [`SwapPolicy`] as a person writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SwapArg {
    /// The one that runs is asked to stop, and has its grace; the new one starts in the same term
    #[default]
    Now,
    /// When the one that runs has come to its end by itself
    Drain,
    /// With the next term
    NextTerm,
}

impl From<SwapArg> for SwapPolicy {
    fn from(arg: SwapArg) -> Self {
        match arg {
            SwapArg::Now => Self::Now,
            SwapArg::Drain => Self::Drain,
            SwapArg::NextTerm => Self::NextTerm,
        }
    }
}

/// How long a component may go without reporting progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressDeadline(pub Duration);

impl ProgressDeadline {
    const MIN: Duration = Duration::from_millis(100);
}

impl FromStr for ProgressDeadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let deadline = text.parse::<humantime::Duration>().map_err(|error| error.to_string())?;
        if *deadline < Self::MIN {
            return Err(format!(
                "a component could not report progress that often: give at least {:?}, or leave it out for no deadline",
                Self::MIN
            ));
        }
        Ok(Self(*deadline))
    }
}

/// How long a callback may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackTime(pub Duration);

impl CallbackTime {
    const MIN: Duration = Duration::from_millis(10);
    /// The Lease may be kept for as long, by a replica that does nothing else.
    const MAX: Duration = Duration::from_secs(60);
}

impl FromStr for CallbackTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = text.parse::<humantime::Duration>().map_err(|error| error.to_string())?;
        if !(Self::MIN..=Self::MAX).contains(&*time) {
            return Err(format!("expected a time between {:?} and {:?}", Self::MIN, Self::MAX));
        }
        Ok(Self(*time))
    }
}

/// A number of bytes.
///
/// # Errors
/// Says what a size looks like.
pub fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "expected a number of bytes, such as 64Mi".into())
}

/// `sha256:` and 64 hexadecimal digits.
///
/// # Errors
/// Says what a digest looks like.
pub fn parse_digest(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Arc::from(text.to_ascii_lowercase()));
    }
    Err("expected sha256: and 64 hexadecimal digits, as `leasehold check` prints it".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::runtime::GuestConfig;

    #[test]
    fn names_are_those_kubernetes_takes() {
        for good in ["a", "nightly", "a-b.c-1", "0"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "../a", "a/b", "a_b", &"a".repeat(254)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_alone_is_everywhere_for_the_admin_address_and_on_loopback_for_the_leader_endpoint() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(":8080".parse(), Ok(AdminAddress::Everywhere(8080)));
        assert_eq!("[::1]:8080".parse(), Ok(AdminAddress::One(address("[::1]:8080"))));
        assert_eq!("4040".parse(), Ok(LeaderAddress::Loopback(4040)));
        assert_eq!("localhost:4040".parse(), Ok(LeaderAddress::Loopback(4040)));
        assert_eq!("0.0.0.0:4040".parse(), Ok(LeaderAddress::One(address("0.0.0.0:4040"))));
        for bad in ["", ":", "8080", ":65536", "::8080", "localhost:8080", "host:8080"] {
            let refused = bad.parse::<AdminAddress>().expect_err(bad);
            assert!(refused.contains(":PORT for all addresses"), "{bad}: {refused}");
        }
        for bad in ["", ":4040", "65536", "leader.local:4040"] {
            assert!(bad.parse::<LeaderAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_progress_deadline_is_no_shorter_than_anybody_can_keep() {
        assert_eq!("30s".parse(), Ok(ProgressDeadline(Duration::from_secs(30))));
        for (bad, says) in [("0s", "at least 100ms"), ("99ms", "at least 100ms"), ("soon", "number"), ("30", "unit")] {
            let refused = bad.parse::<ProgressDeadline>().expect_err(bad);
            assert!(refused.contains(says), "{bad}: {refused}");
        }
    }

    /// Panics, and careless log lines, show values so.
    #[test]
    fn what_may_be_a_secret_is_not_in_what_debugging_shows() {
        use leasehold_core::checkpoint::{Checkpoint, SavedState};

        let variable: EnvVar = "PASSWORD=planted".parse().expect("it is one");
        let config = GuestConfig {
            env: [("PASSWORD".to_owned(), "planted".to_owned())].into(),
            args: vec!["planted".to_owned()],
            ..GuestConfig::default()
        };
        let saved = SavedState::new(*b"planted").expect("it is small");
        let checkpoints = [Checkpoint::Saved(saved), Checkpoint::Unreadable("planted".into())];
        let shown = format!("{variable:?} {config:?} {checkpoints:?}");
        assert!(shown.contains("PASSWORD") && shown.contains("7 bytes") && !shown.contains("planted"), "{shown}");
    }

    #[test]
    fn a_callbacks_time_is_bounded() {
        assert_eq!("5s".parse(), Ok(CallbackTime(Duration::from_secs(5))));
        for bad in ["0s", "61s", "1h"] {
            let refused = bad.parse::<CallbackTime>().expect_err(bad);
            assert!(refused.contains("between 10ms and 60s"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_after_its_algorithm() {
        assert!(parse_digest(&format!("sha256:{}", "0aF".repeat(22).split_at(64).0)).is_ok());
        for bad in ["", "sha256:", "sha512:00", &"0".repeat(64), &format!("sha256:{}", "g".repeat(64))] {
            assert!(parse_digest(bad).is_err(), "{bad}");
        }
    }
}
