//! `allow:` of a task, and `limits.http`: what its component may do beyond computing. Nothing, by default.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    Name,
    file::{Parsed, Size},
};
use crate::guest::{
    files::{Access, Folder, GuestPath},
    imports::{
        http::{headers::TokenHeader, kubernetes::rules::ApiRule, limits::HttpLimits, rule::HttpRule},
        sockets::{grant::TcpLimits, rule::TcpRule},
    },
};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    /// URLs.
    pub http: Vec<HttpRule>,
    /// Certificate authorities beside the system's: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The header that carries the fencing token.
    pub token_header: Option<TokenHeader>,
    /// The Kubernetes API.
    pub kubernetes: Option<AllowKubernetes>,
    /// How long and how large requests may be.
    pub http_limits: HttpLimits,
    /// Hosts and ports.
    pub tcp: Vec<TcpRule>,
    /// How many sockets, and how long connecting may take.
    pub tcp_limits: TcpLimits,
    /// Folders.
    pub files: Vec<Folder>,
}

/// `allow.kubernetes`, where it is not `false`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowKubernetes {
    /// Whom the task acts as; `None`: as the host itself.
    #[serde(default)]
    pub service_account: Option<ServiceAccount>,
    /// What it may ask; `None`: whatever the API server allows.
    #[serde(default)]
    pub rules: Option<Vec<ApiRule>>,
}

/// `[NAMESPACE/]NAME`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceAccount {
    /// `None` takes the task's own.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
}

impl TryFrom<String> for ServiceAccount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.parse()?), name),
            None => (None, text.as_str()),
        };
        Ok(Self { namespace, name: name.parse()? })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AllowFile {
    #[serde(default)]
    http: Vec<Parsed<HttpRule>>,
    ca_file: Option<PathBuf>,
    token_header: Option<Parsed<TokenHeader>>,
    #[serde(default)]
    kubernetes: SwitchOrFields,
    #[serde(default)]
    tcp: Vec<Parsed<TcpRule>>,
    #[serde(default)]
    files: Vec<FolderFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FolderFields {
    host: PathBuf,
    /// Without it, where it is on the host.
    guest: Option<GuestPath>,
    #[serde(default)]
    write: bool,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "FolderFields")]
struct FolderFile(Folder);

impl TryFrom<FolderFields> for FolderFile {
    type Error = String;

    fn try_from(fields: FolderFields) -> Result<Self, String> {
        let FolderFields { host, guest, write } = fields;
        let guest = guest.map_or_else(|| GuestPath::same_as(&host), Ok)?;
        Ok(Self(Folder { host, guest, access: if write { Access::Write } else { Access::Read } }))
    }
}

#[derive(Debug, Default)]
struct SwitchOrFields(Option<AllowKubernetes>);

impl<'de> Deserialize<'de> for SwitchOrFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = SwitchOrFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, or fields (`serviceAccount`, `rules`)")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(SwitchOrFields(on.then(AllowKubernetes::default)))
            }

            // What is not quoted comes as text, where anything may stand.
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match bool::from_str(text) {
                    Ok(on) => self.visit_bool(on),
                    Err(_) => {
                        Err(E::custom(format!("{text:?}: expected `true`, or fields (`serviceAccount`, `rules`)")))
                    }
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                AllowKubernetes::deserialize(MapAccessDeserializer::new(fields))
                    .map(|fields| SwitchOrFields(Some(fields)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpLimitsFile {
    in_flight: Option<InFlight>,
    connect: Option<Parsed<humantime::Duration>>,
    first_byte: Option<Parsed<humantime::Duration>>,
    between_bytes: Option<Parsed<humantime::Duration>>,
    total: Option<Parsed<humantime::Duration>>,
    head: Option<Size>,
    request_body: Option<Size>,
    response_body: Option<Size>,
}

/// So many requests of one task may be under way that each has a connection of its own.
const IN_FLIGHT_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(try_from = "usize")]
struct InFlight(usize);

impl TryFrom<usize> for InFlight {
    type Error = String;

    fn try_from(number: usize) -> Result<Self, String> {
        if (1..=IN_FLIGHT_MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(format!("{number} requests in flight: expected 1 to {IN_FLIGHT_MAX}"))
    }
}

impl Allow {
    pub(super) fn of(file: AllowFile, http_limits: HttpLimitsFile, tcp_limits: TcpLimitsFile) -> Self {
        let AllowFile { http, ca_file, token_header, kubernetes: SwitchOrFields(kubernetes), tcp, files } = file;
        Self {
            http: http.into_iter().map(|rule| rule.0).collect(),
            ca_file,
            token_header: token_header.map(|header| header.0),
            kubernetes,
            http_limits: http_limits.or(HttpLimits::default()),
            tcp: tcp.into_iter().map(|rule| rule.0).collect(),
            tcp_limits: tcp_limits.or(TcpLimits::default()),
            files: files.into_iter().map(|folder| folder.0).collect(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TcpLimitsFile {
    sockets: Option<Sockets>,
    connect: Option<Parsed<humantime::Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "usize")]
struct Sockets(usize);

impl TryFrom<usize> for Sockets {
    type Error = String;

    fn try_from(number: usize) -> Result<Self, String> {
        let max = TcpLimits::SOCKETS_MAX;
        if (1..=max).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{number} sockets: expected 1 to {max}"))
        }
    }
}

impl TcpLimitsFile {
    fn or(self, default: TcpLimits) -> TcpLimits {
        let Self { sockets, connect } = self;
        TcpLimits {
            sockets: sockets.map_or(default.sockets, |sockets| sockets.0),
            connect: connect.map_or(default.connect, |connect| connect.0.into()),
        }
    }
}

impl HttpLimitsFile {
    fn or(self, default: HttpLimits) -> HttpLimits {
        let Self { in_flight, connect, first_byte, between_bytes, total, head, request_body, response_body } = self;
        let time = |given: Option<Parsed<humantime::Duration>>, default: Duration| {
            given.map_or(default, |given| given.0.into())
        };
        let size = |given: Option<Size>, default: ByteSize| given.map_or(default, |given| given.0);
        HttpLimits {
            in_flight: in_flight.map_or(default.in_flight, |number| number.0),
            connect: time(connect, default.connect),
            first_byte: time(first_byte, default.first_byte),
            between_bytes: time(between_bytes, default.between_bytes),
            total: time(total, default.total),
            head: size(head, default.head),
            request_body: size(request_body, default.request_body),
            response_body: size(response_body, default.response_body),
        }
    }
}
