//! What the environment says.

use std::{env, time::Duration};

pub(crate) struct Config {
    /// The path of a list of objects.
    pub(crate) resource: String,
    /// A label selector.
    pub(crate) selector: Option<String>,
    pub(crate) max_age: Duration,
    pub(crate) every_ns: u64,
}

impl Config {
    pub(crate) fn from_env() -> Result<Self, String> {
        let resource = env::var("RESOURCE").map_err(|_| {
            "RESOURCE is not set: give the path of what is to be cleaned, such as \
             /api/v1/namespaces/previews/configmaps"
        })?;
        if !resource.starts_with("/api") || resource.contains(['?', '#']) {
            return Err(format!(
                "RESOURCE={resource}: expected a path, such as /api/v1/namespaces/previews/configmaps"
            ));
        }
        Ok(Self {
            resource,
            selector: env::var("SELECTOR").ok().filter(|selector| !selector.is_empty()),
            max_age: duration("MAX_AGE", Duration::from_secs(24 * 60 * 60))?,
            every_ns: u64::try_from(duration("EVERY", Duration::from_secs(60))?.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

fn duration(name: &str, default: Duration) -> Result<Duration, String> {
    match env::var(name) {
        Ok(text) => humantime::parse_duration(&text).map_err(|error| format!("{name}={text}: {error}")),
        Err(_) => Ok(default),
    }
}
