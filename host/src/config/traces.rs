//! Where spans go: from a flag or the config file, or by the environment's names that OpenTelemetry has for everybody
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>, and the same of OTLP).

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri};
use percent_encoding::percent_decode_str;

use super::ConfigError;

/// What is told of traces to the environment, as it stands there.
#[derive(Clone, Debug, Default)]
pub struct TracesEnvironment {
    /// `OTEL_SDK_DISABLED`, or `OTEL_TRACES_EXPORTER` is `none`.
    pub off: bool,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector.
    pub endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`: the whole URL.
    pub traces_endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, else `OTEL_EXPORTER_OTLP_HEADERS`: what the collector asks for, secrets mostly.
    pub headers: Option<Secret>,
    /// `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, else `OTEL_EXPORTER_OTLP_PROTOCOL`: which of them, and what it says.
    pub protocol: Option<(&'static str, String)>,
    /// `OTEL_SERVICE_NAME`
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`
    pub resource: Option<String>,
}

/// A text that is not printed.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl TracesEnvironment {
    pub(super) fn from(set: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name, value: &str| set(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
            .into_iter()
            .find_map(|name| Some((name, set(name).filter(|set| !set.trim().is_empty())?)));
        let headers = set("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| set("OTEL_EXPORTER_OTLP_HEADERS"));
        Self {
            off: is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none"),
            endpoint: set("OTEL_EXPORTER_OTLP_ENDPOINT"),
            traces_endpoint: set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            headers: headers.map(Secret),
            protocol,
            service_name: set("OTEL_SERVICE_NAME"),
            resource: set("OTEL_RESOURCE_ATTRIBUTES"),
        }
    }
}

/// A collector that takes OTLP over HTTP: `http://collector:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(Uri);

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole_url(text).map(Self)
    }
}

impl Collector {
    /// Where it takes spans.
    fn traces(&self) -> Uri {
        let mut parts = self.0.clone().into_parts();
        let path = format!("{}/v1/traces", self.0.path().trim_end_matches('/'));
        parts.path_and_query = Some(path.parse().expect("a path stays one"));
        Uri::from_parts(parts).expect("a URL with another path is one")
    }
}

fn whole_url(text: &str) -> Result<Uri, String> {
    let expected = "expected the URL of a collector that takes OTLP over HTTP: `http://collector:4318`";
    let uri: Uri = text.trim().parse().map_err(|error| format!("{error}: {expected}"))?;
    let http = uri.scheme() == Some(&uri::Scheme::HTTP) || uri.scheme() == Some(&uri::Scheme::HTTPS);
    match uri.authority() {
        Some(authority) if http && authority.as_str().contains('@') => {
            Err("a password in a URL would be told in logs: give it as a header, by OTEL_EXPORTER_OTLP_HEADERS".into())
        }
        Some(_) if http => Ok(uri),
        _ => Err(expected.into()),
    }
}

/// Where spans go, and what is said of them all.
#[derive(Clone)]
pub struct TracesConfig {
    /// The whole URL.
    pub endpoint: Uri,
    /// For the collector.
    pub headers: HeaderMap,
    /// `service.name` and what else there is.
    pub resource: Vec<(String, String)>,
    /// The environment asks for something else than what is sent: for the log.
    pub other_protocol: Option<String>,
}

impl fmt::Debug for TracesConfig {
    /// Without headers, which are secrets mostly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, resource, .. } = self;
        f.debug_struct("TracesConfig").field("endpoint", endpoint).field("resource", resource).finish_non_exhaustive()
    }
}

impl TracesConfig {
    /// `None` where nobody has named a collector. One that is `given` wins over the environment's.
    ///
    /// # Errors
    /// Names the variable, and what was expected.
    pub(super) fn new(given: Option<Collector>, environment: &TracesEnvironment) -> Result<Option<Self>, ConfigError> {
        let TracesEnvironment { off, endpoint, traces_endpoint, headers, protocol, service_name, resource } =
            environment;
        if *off && given.is_none() {
            return Ok(None);
        }
        let of_variable = |name: &'static str| move |error| ConfigError(format!("${name}: {error}"));
        let of_environment = given.is_none();
        let endpoint = match (given, traces_endpoint, endpoint) {
            (Some(given), ..) => given.traces(),
            (None, Some(whole), _) => whole_url(whole).map_err(of_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))?,
            (None, None, Some(base)) => {
                base.parse::<Collector>().map_err(of_variable("OTEL_EXPORTER_OTLP_ENDPOINT"))?.traces()
            }
            (None, None, None) => return Ok(None),
        };
        let other_protocol = match protocol {
            Some((name, protocol)) => other_protocol(protocol, of_environment).map_err(of_variable(name))?,
            None => None,
        };
        let headers = pairs(headers.as_ref().map_or("", |headers| &headers.0)).and_then(as_headers);
        let mut resource =
            pairs(resource.as_deref().unwrap_or_default()).map_err(of_variable("OTEL_RESOURCE_ATTRIBUTES"))?;
        if let Some(name) = service_name {
            resource.retain(|(key, _)| key != SERVICE_NAME);
            resource.push((SERVICE_NAME.into(), name.clone()));
        } else if !resource.iter().any(|(key, _)| key == SERVICE_NAME) {
            resource.push((SERVICE_NAME.into(), "leasehold".into()));
        }
        let headers = headers.map_err(of_variable("OTEL_EXPORTER_OTLP_HEADERS"))?;
        Ok(Some(Self { endpoint, headers, resource, other_protocol }))
    }
}

/// What is sent is JSON over HTTP. A collector that takes protobuf over HTTP takes that as well, most often, at the same
/// URL; one that waits for gRPC never does. For one that was not named by the environment, its protocol need not be meant.
fn other_protocol(protocol: &str, of_environment: bool) -> Result<Option<String>, String> {
    const JSON: &str = "http/json";
    let is = |name: &str| protocol.trim().eq_ignore_ascii_case(name);
    if is(JSON) {
        return Ok(None);
    }
    match of_environment && !is("http/protobuf") {
        true => Err(format!(
            "{protocol:?} is not spoken here, but only {JSON}: name the collector's port for OTLP over HTTP (4318, mostly), and set \
             this to {JSON}"
        )),
        false => Ok(Some(protocol.to_owned())),
    }
}

const SERVICE_NAME: &str = "service.name";

/// `name=value,name=value`, percent-encoded. What is wrong with them is said without them.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(Into::into).ok();
        Some((decoded(name)?, decoded(value)?))
    };
    let pairs = text.split(',').filter(|text| !text.trim().is_empty()).map(pair);
    pairs.collect::<Option<_>>().ok_or_else(|| "expected `name=value,name=value`, percent-encoded".to_owned())
}

fn as_headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let header = |(name, value): (String, String)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    };
    pairs.into_iter().map(header).collect::<Option<_>>().ok_or_else(|| "there is one that is no HTTP header".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(given: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<TracesConfig>, ConfigError> {
        let look_up = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let given = given.map(|text| text.parse().expect("a collector"));
        TracesConfig::new(given, &TracesEnvironment::from(look_up))
    }

    #[track_caller]
    fn endpoint(given: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        config(given, variables).expect("it is right").map(|config| config.endpoint.to_string())
    }

    #[test]
    fn the_url_is_the_flags_then_the_one_for_traces_then_the_collectors() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otel/");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/in?x=1");
        assert_eq!(endpoint(None, &[]), None);
        assert_eq!(endpoint(None, &[base]).as_deref(), Some("http://collector:4318/otel/v1/traces"));
        assert_eq!(endpoint(None, &[base, whole]).as_deref(), Some("https://traces/in?x=1"));
        assert_eq!(endpoint(Some("http://own:1"), &[base, whole]).as_deref(), Some("http://own:1/v1/traces"));
        assert_eq!(endpoint(None, &[base, ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(endpoint(None, &[base, ("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn headers_and_what_the_service_is_are_taken_and_no_header_is_printed() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20geheim, x-scope = a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=t%2C1"),
        ];
        let config = config(None, &variables).expect("it is right").expect("there is one");
        assert_eq!(config.headers["authorization"], "Bearer geheim");
        assert_eq!(config.headers["x-scope"], "a");
        assert!(!format!("{config:?}").contains("geheim"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(config.resource, [pair("service.name", "other"), pair("deployment.environment", "t,1")]);
        let named = [&variables[..], &[("OTEL_SERVICE_NAME", "mine")]].concat();
        let named = self::config(None, &named).expect("it is right").expect("there is one");
        assert_eq!(named.resource.last(), Some(&pair("service.name", "mine")));
    }

    #[test]
    fn another_protocol_is_refused_where_it_cannot_work_and_else_told_of() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let told = |given: Option<&str>, protocol: (&'static str, &'static str)| {
            config(given, &[endpoint, protocol]).expect("it is taken").expect("there is one").other_protocol
        };
        for (value, other) in [("http/json", None), ("", None), ("http/protobuf", Some("http/protobuf"))] {
            assert_eq!(told(None, ("OTEL_EXPORTER_OTLP_PROTOCOL", value)).as_deref(), other);
            assert_eq!(told(None, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", value)).as_deref(), other);
        }
        assert_eq!(told(Some("http://own:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")).as_deref(), Some("grpc"));
        for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
            let error = config(None, &[endpoint, (name, "grpc")]).expect_err("it cannot work").to_string();
            assert!(error.contains(&format!("${name}: \"grpc\"")) && error.contains("http/json"), "{error}");
            assert!(config(None, &[(name, "grpc")]).expect("no collector").is_none());
        }
        let both =
            [endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")];
        assert!(config(None, &both).is_ok(), "that of traces wins");
    }

    #[test]
    fn a_mistake_names_the_variable_and_no_secret() {
        let ok = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (variables, says) in [
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")][..],
                "$OTEL_EXPORTER_OTLP_ENDPOINT: expected the URL",
            ),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://")], "$OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:geheim@c:4318")], "give it as a header"),
            (&[ok, ("OTEL_EXPORTER_OTLP_HEADERS", "geheim")], "$OTEL_EXPORTER_OTLP_HEADERS: expected `name=value"),
            (&[ok, ("OTEL_EXPORTER_OTLP_HEADERS", "a b=geheim")], "no HTTP header"),
            (&[ok, ("OTEL_RESOURCE_ATTRIBUTES", "=x")], "$OTEL_RESOURCE_ATTRIBUTES"),
        ] {
            let error = config(None, variables).expect_err(says).to_string();
            assert!(error.contains(says) && !error.contains("geheim"), "{error}");
        }
    }
}
