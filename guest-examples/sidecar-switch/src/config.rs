//! What the environment says.

use std::{env, fmt, time::Duration};

pub(crate) struct Config {
    pub(crate) activate: Url,
    pub(crate) deactivate: Url,
    pub(crate) health: Option<Url>,
    /// How often the permission is renewed, and the health asked for.
    pub(crate) every: Duration,
    /// The longest permission that is given. `None`: the application knows of none, and is told when to be on and off.
    pub(crate) permission: Option<Duration>,
    /// How much earlier than the term a permission ends.
    pub(crate) margin: Duration,
    /// The deadline of each call.
    pub(crate) call_timeout: Duration,
    /// That of the first activation, with all its calls.
    pub(crate) activate_deadline: Duration,
    /// How many failures in a row are one too many.
    pub(crate) failures: u32,
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, String> {
        let (activate, deactivate) = (url("ACTIVATE_URL")?, url("DEACTIVATE_URL")?);
        let config = Self {
            activate: activate.ok_or_else(|| missing("ACTIVATE_URL", "activate"))?,
            deactivate: deactivate.ok_or_else(|| missing("DEACTIVATE_URL", "deactivate"))?,
            health: url("HEALTH_URL")?,
            every: duration("EVERY", Duration::from_secs(1))?,
            permission: match text("PERMISSION").as_deref() {
                Some("none") => None,
                _ => Some(duration("PERMISSION", Duration::from_secs(4))?),
            },
            margin: duration("MARGIN", Duration::from_millis(500))?,
            call_timeout: duration("CALL_TIMEOUT", Duration::from_secs(1))?,
            activate_deadline: duration("ACTIVATE_DEADLINE", Duration::from_secs(30))?,
            failures: failures()?,
        };
        // A permission has to outlast the time from one renewal to the next, with two calls that use up their time.
        let round = config.every + 2 * config.call_timeout;
        if let Some(permission) = config.permission
            && permission <= round
        {
            return Err(format!(
                "PERMISSION={} is too short: it has to be longer than EVERY and twice CALL_TIMEOUT together, which is {}",
                humantime::format_duration(permission),
                humantime::format_duration(round),
            ));
        }
        Ok(config)
    }
}

fn missing(name: &str, what: &str) -> String {
    format!("{name} is not set: give the URL that {what}s the application, such as http://127.0.0.1:8080/{what}")
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn duration(name: &str, default: Duration) -> Result<Duration, String> {
    let Some(text) = text(name) else { return Ok(default) };
    match humantime::parse_duration(&text) {
        Ok(duration) if duration.is_zero() && name != "MARGIN" => {
            Err(format!("{name}={text}: it has to be more than 0"))
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{name}={text}: {error}; expected a time such as 500ms or 2s")),
    }
}

fn failures() -> Result<u32, String> {
    let Some(text) = text("FAILURES") else { return Ok(3) };
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("FAILURES={text}: expected a whole number from 1")),
        Ok(failures) => Ok(failures),
    }
}

pub(crate) struct Url {
    pub(crate) tls: bool,
    pub(crate) authority: String,
    /// With the query.
    pub(crate) path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query: there may be something secret in it.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// What else may be wrong with it, the host says when it is called.
fn url(name: &str) -> Result<Option<Url>, String> {
    let Some(text) = text(name) else { return Ok(None) };
    let wrong = |what: &str| format!("{name}: {what}; expected a URL such as http://127.0.0.1:8080/path");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(wrong("its scheme is neither http nor https")),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return Err(wrong("it has no host, or a user beside it"));
    }
    if path.contains('#') {
        return Err(wrong("it has a fragment (#...)"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Some(Url { tls, authority: authority.to_owned(), path }))
}
