//! A line of `allow.tcp`: where a task's components may connect to.
//!
//! `kafka.jobs.svc:9092`: that name, looked up by the guest, and that port of the addresses the look-up gave.
//! `*.db.internal:5432`: the names of one label or more before `.db.internal`, not that itself. `10.0.0.7:5432`,
//! `[fd12::7]:5432`: that very address. `localhost:5432` is the loopback, which no other name may lead to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use url::Host;

use crate::guest::imports::http::target::parse_host;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRule {
    hosts: Hosts,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Address(IpAddr),
    Name(String),
    /// Those that end with `.` and this.
    Below(String),
}

impl TcpRule {
    /// Whether this name may be looked up. It is in lower case, without a dot at its end.
    pub fn allows_name(&self, asked: &str) -> bool {
        match &self.hosts {
            Hosts::Address(_) => false,
            Hosts::Name(name) => name == asked,
            Hosts::Below(parent) => {
                asked.strip_suffix(parent.as_str()).is_some_and(|child| child.len() > 1 && child.ends_with('.'))
            }
        }
    }

    /// Whether this port of an address that was looked up by this name may be connected to.
    pub fn allows_port_of(&self, name: &str, port: u16) -> bool {
        self.port == port && self.allows_name(name)
    }

    /// Whether this address may be connected to, looked up or not.
    pub fn allows_address(&self, address: SocketAddr) -> bool {
        self.port == address.port() && self.hosts == Hosts::Address(address.ip())
    }
}

impl FromStr for TcpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected HOST:PORT, such as kafka:9092, *.db.internal:5432, 10.0.0.7:5432 or [fd12::7]:5432";
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("it has no port: {expected}"))?;
        let port = Some(port)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("{port:?} is not a port (1 to 65535): {expected}"))?;
        let (below, host) = match host.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, host),
        };
        let hosts = match (below, parse_host(host).map_err(|why| format!("{why}: {expected}"))?) {
            (false, Host::Domain(name)) => Hosts::Name(name),
            (true, Host::Domain(parent)) => Hosts::Below(parent),
            (true, _) => return Err(format!("`*.` stands before a name, not before an address: {expected}")),
            (false, Host::Ipv4(address)) => Hosts::Address(address.into()),
            (false, Host::Ipv6(address)) => match address.to_canonical() {
                IpAddr::V4(v4) => return Err(format!("{address} is {v4}: write that")),
                canonical => Hosts::Address(canonical),
            },
        };
        match hosts {
            Hosts::Address(address) if address.is_unspecified() || address.is_multicast() => {
                Err(format!("{address} is not the address of anything to connect to"))
            }
            hosts => Ok(Self { hosts, port }),
        }
    }
}

impl fmt::Display for TcpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.hosts {
            Hosts::Address(address) => SocketAddr::new(*address, port).fmt(f),
            Hosts::Name(name) => write!(f, "{name}:{port}"),
            Hosts::Below(parent) => write!(f, "*.{parent}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> TcpRule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address and a port")
    }

    #[test]
    fn a_name_is_allowed_itself_and_on_its_port() {
        let kafka = rule("Kafka.jobs.svc:9092");
        assert!(kafka.allows_name("kafka.jobs.svc") && kafka.allows_port_of("kafka.jobs.svc", 9092));
        assert!(!kafka.allows_port_of("kafka.jobs.svc", 9093));
        for other in ["kafka", "x.kafka.jobs.svc", "kafka.jobs.svc.evil.test", "xkafka.jobs.svc", ""] {
            assert!(!kafka.allows_name(other), "{other}");
        }
        assert!(!kafka.allows_address(address("10.0.0.1:9092")));
    }

    #[test]
    fn a_wildcard_is_one_label_or_more() {
        let below = rule("*.db.internal:5432");
        assert!(below.allows_name("a.db.internal") && below.allows_name("a.b.db.internal"));
        for other in ["db.internal", ".db.internal", "xdb.internal", "a.db.internal.evil.test"] {
            assert!(!below.allows_name(other), "{other}");
        }
    }

    #[test]
    fn an_address_is_allowed_itself() {
        assert!(rule("10.0.0.7:5432").allows_address(address("10.0.0.7:5432")));
        assert!(!rule("10.0.0.7:5432").allows_address(address("10.0.0.7:5433")));
        assert!(!rule("10.0.0.7:5432").allows_address(address("10.0.0.8:5432")));
        assert!(rule("[FD12::7]:1").allows_address(address("[fd12::7]:1")));
        assert!(!rule("10.0.0.7:5432").allows_name("10.0.0.7"));
    }

    #[test]
    fn what_is_no_host_and_port_says_what_would_be() {
        let mistakes = [
            ("kafka", "no port"),
            ("kafka:", "not a port"),
            ("kafka:0", "not a port"),
            ("kafka:65536", "not a port"),
            ("kafka:+1", "not a port"),
            ("tcp://kafka:9092", "not a host"),
            (":9092", "no host"),
            ("*:9092", "not a host"),
            ("*.10.0.0.7:1", "before a name"),
            ("a.*.b:1", "not a host"),
            ("kafka.:9092", "dot"),
            ("0x0a000007:1", "another way to write 10.0.0.7"),
            ("fd12::7:1", "not a host"),
            ("[::ffff:10.0.0.7]:1", "write that"),
            ("0.0.0.0:1", "connect to"),
            ("[::]:1", "connect to"),
            ("224.0.0.1:1", "connect to"),
        ];
        for (text, why) in mistakes {
            let error = text.parse::<TcpRule>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_is_printed_as_it_is_written() {
        for text in ["kafka:9092", "*.db.internal:5432", "10.0.0.7:5432", "[fd12::7]:5432"] {
            assert_eq!(rule(text).to_string(), text);
        }
    }
}
