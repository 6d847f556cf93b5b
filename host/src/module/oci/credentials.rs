//! Who the host is for a registry: docker's own config file, or a Secret that has one in it. Both are read anew each
//! time that a registry asks.
//!
//! Credential helpers (`credsStore`, `credHelpers`) are programs, and are not run.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_core::future::BoxFuture;
use serde::Deserialize;

/// See the module's documentation.
#[derive(Clone)]
pub enum Credentials {
    /// `config.json` in `$DOCKER_CONFIG`, else in `~/.docker`.
    OfDocker,
    /// Such a file in a Secret.
    Secret(Arc<dyn SecretConfig>),
}

/// Docker's config in a Secret.
pub trait SecretConfig: Send + Sync {
    /// The file.
    fn read(&self) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// The value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// What there is for a registry.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) login: Option<Login>,
    /// For a person, whom the registry has not let in.
    pub(super) told: String,
}

impl Credentials {
    /// For a repository of a registry.
    ///
    /// # Errors
    /// They cannot be read, and why.
    pub(super) async fn of(&self, registry: &str, repository: &str) -> Result<Found, String> {
        let (config, from) = match self {
            Self::Secret(secret) => (Some(secret.read().await?), "the pull secret".to_owned()),
            Self::OfDocker => {
                let Some(path) = docker_config() else {
                    return Ok(Found { login: None, told: "it was given no credentials".into() });
                };
                let from = path.display().to_string();
                match tokio::task::spawn_blocking(|| std::fs::read(path)).await {
                    Ok(Ok(config)) => (Some(config), from),
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => (None, from),
                    Ok(Err(error)) => return Err(format!("cannot read {from}: {error}")),
                    Err(panicked) => return Err(format!("cannot read {from}: {panicked}")),
                }
            }
        };
        let Some(config) = config else {
            return Ok(Found { login: None, told: format!("it was given no credentials: there is no {from}") });
        };
        // The parser's words may have a part of the text in them, and the text passwords.
        let config: DockerConfig = serde_json::from_slice(&config)
            .map_err(|error| format!("{from} is not docker's config: line {} of it is wrong", error.line()))?;
        config.of(registry, repository, &from)
    }
}

fn docker_config() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?;
    Some(folder.join("config.json"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl DockerConfig {
    fn of(&self, registry: &str, repository: &str, from: &str) -> Result<Found, String> {
        let asked = format!("{}/{repository}", without_alias(registry));
        // As the kubelet does: an entry may be for a part of a registry, and the closest one counts.
        let closest = self
            .auths
            .iter()
            .filter_map(|(key, entry)| {
                let key = normal(key);
                let rest = asked.strip_prefix(&key)?;
                rest.starts_with('/')
                    .then_some((key.len(), entry))
                    .or_else(|| rest.is_empty().then_some((key.len(), entry)))
            })
            .max_by_key(|(len, _)| *len)
            .map(|(_, entry)| entry);
        let login = closest.map(|entry| entry.login(from, registry)).transpose()?.flatten();
        let helper = self.cred_helpers.get(registry).or(self.creds_store.as_ref()).filter(|helper| !helper.is_empty());
        let told = match (&login, helper) {
            (Some(_), _) => format!("it was given those of {from}"),
            (None, Some(helper)) => format!(
                "it was given no credentials: {from} leaves them to docker-credential-{helper}, and helpers are not run; \
                 put them into `auths`, or name a pull secret"
            ),
            (None, None) => format!("it was given no credentials: {from} has none for it"),
        };
        Ok(Found { login, told })
    }
}

impl Entry {
    fn login(&self, from: &str, registry: &str) -> Result<Option<Login>, String> {
        if let (Some(user), Some(password)) = (&self.username, &self.password)
            && !user.is_empty()
        {
            return Ok(Some(Login { user: user.clone(), password: password.clone() }));
        }
        if let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let decoded = BASE64_STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let login = decoded.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) =
                login.ok_or_else(|| format!("`auth` for {registry} in {from} is not base64 of NAME:PASSWORD"))?;
            // Some versions of docker's end it with a NUL.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Login { user: user.to_owned(), password: password.to_owned() }));
        }
        if self.identitytoken.as_deref().is_some_and(|token| !token.is_empty()) {
            return Err(format!(
                "{from} has an identity token for {registry}, which is not supported: give a name and a password, or an \
                 access token in place of one"
            ));
        }
        Ok(None)
    }
}

/// `https://index.docker.io/v1/` and the like: a host, perhaps with a path.
fn normal(key: &str) -> String {
    let (key, was_url) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    // The path of a URL is the API's version, not a repository's.
    let path = path.trim_end_matches('/');
    let path = if was_url && matches!(path, "v1" | "v2") { "" } else { path };
    let host = without_alias(host);
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// Docker Hub has several names.
fn without_alias(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(config: &str, registry: &str) -> Result<(Option<(String, String)>, String), String> {
        let config: DockerConfig = serde_json::from_str(config).expect("it is right");
        let Found { login, told } = config.of(registry, "org/task", "config.json")?;
        Ok((login.map(|Login { user, password }| (user, password)), told))
    }

    #[test]
    fn the_closest_entry_counts_however_it_is_written() {
        let config = r#"{"auths": {
            "r:5000": {"auth": "YTpi"}, "r:5000/org": {"username": "c", "password": "d:e"},
            "r:5000/org/tas": {"auth": "eDp5"}, "https://index.docker.io/v1/": {"auth": "ZDplOmY="},
            "https://ghcr.io": {"auth": "ZzpoAA=="}}}"#;
        let user = |registry| look_up(config, registry).expect("it is right").0;
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(user("r:5000"), pair("c", "d:e"));
        assert_eq!(user("docker.io"), pair("d", "e:f"));
        assert_eq!(user("ghcr.io"), pair("g", "h"));
        assert_eq!(user("r"), None);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let (login, told) = look_up(r#"{"auths": {"r": {}}, "credsStore": "desktop"}"#, "r").expect("none is fine");
        assert!(login.is_none() && told.contains("docker-credential-desktop"), "{told}");
        let (_, told) = look_up(r#"{"credHelpers": {"r": "ecr-login"}}"#, "r").expect("none is fine");
        assert!(told.contains("docker-credential-ecr-login") && told.contains("pull secret"), "{told}");
        for (entry, why) in [
            (r#"{"auth": "!"}"#, "base64 of NAME:PASSWORD"),
            (r#"{"auth": "YQ=="}"#, "base64 of NAME:PASSWORD"),
            (r#"{"identitytoken": "t"}"#, "identity token"),
        ] {
            let error = look_up(&format!(r#"{{"auths": {{"r": {entry}}}}}"#), "r").expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_password_is_in_no_debug_output() {
        let login = Login { user: "u".into(), password: "secret".into() };
        assert!(!format!("{login:?}").contains("secret"));
        assert_eq!(login.basic(), "Basic dTpzZWNyZXQ=");
    }
}
