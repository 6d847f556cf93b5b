//! An artifact in an OCI registry as a person names it, and how it is had.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use leasehold_core::task::Digest;
use serde::Deserialize;

use super::{ConfigError, Name, Reference, file::Parsed, parse_digest};

const EXPECTED: &str = "expected `oci:REGISTRY/REPOSITORY[:TAG][@sha256:...]`";

/// `REGISTRY/REPOSITORY[:TAG][@sha256:...]`, in the grammar of the OCI distribution specification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OciReference {
    /// A host, and its port where it is not the usual one. There is no default.
    pub registry: String,
    /// The name in it.
    pub repository: String,
    /// As it was written.
    pub tag: Option<String>,
    /// Of the manifest. It wins over a tag, which is then for people.
    pub digest: Option<Digest>,
}

impl OciReference {
    /// The tag, where no digest says more.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// The repository's name without the folders that it is in.
    pub fn last_part(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for OciReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("`oci:{text}`: {why}: {EXPECTED}");
        if text.starts_with("//") {
            return Err(wrong("there is no `//` in it".into()));
        }
        let (name, digest) =
            match text.split_once('@') {
                Some((name, digest)) => (
                    name,
                    Some(parse_digest(digest).map_err(|_| {
                        wrong(format!("{digest:?} is not a digest (sha256: and 64 hexadecimal digits)"))
                    })?),
                ),
                None => (text, None),
            };
        let (registry, rest) =
            name.split_once('/').ok_or_else(|| wrong("it does not say which registry, or which repository".into()))?;
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_registry(registry) {
            return Err(wrong(format!("{registry:?} is not a registry's host, with or without a port")));
        }
        if repository.len() > 255 || !repository.split('/').all(is_path_component) {
            return Err(wrong(format!(
                "{repository:?} is not a repository's name (lower-case letters, digits, and `.`, `_`, `-` between them)"
            )));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(format!("{tag:?} is not a tag (letters, digits, `_`, `.`, `-`; 128 at most)")));
        }
        Ok(Self { registry: registry.into(), repository: repository.into(), tag: tag.map(Into::into), digest })
    }
}

fn is_registry(text: &str) -> bool {
    // As the URL will have it, so that nothing else than a host and a port can be meant.
    text.parse::<http::uri::Authority>().is_ok_and(|authority| {
        let host = authority.host();
        let port = authority.port_u16().map_or_else(String::new, |port| format!(":{port}"));
        !host.is_empty() && *text == format!("{host}{port}")
    })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(inner).filter(|separator| !separator.is_empty());
    text.starts_with(inner)
        && text.ends_with(inner)
        && separators
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(first) && text.chars().all(|c| first(c) || c == '.' || c == '-')
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// How an artifact is had from its registry, and whose signature it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Without TLS.
    pub plain_http: bool,
    /// Certificate authorities (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// A Secret of the task's namespace with credentials; else those of docker's own config are used.
    pub pull_secret: Option<Name>,
    /// How often the tag is looked at.
    pub poll: Poll,
    /// It has to be signed with this one.
    pub cosign_key: Option<CosignKey>,
}

impl Origin {
    /// Itself, if there is something in this reference that it says something about.
    ///
    /// # Errors
    /// There is not: what was meant to be checked would not be.
    pub fn of(self, module: &Reference) -> Result<Self, ConfigError> {
        if matches!(module, Reference::Oci(_)) || self == Self::default() {
            return Ok(self);
        }
        let what = if self.cosign_key.is_some() { "a cosign key" } else { "what is said of a registry" };
        Err(ConfigError(format!(
            "{what} is for a module in a registry (`oci:...`), and {module} is none; what it is can be pinned with its \
             `digest`"
        )))
    }
}

/// How often a tag is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Poll(pub Duration);

impl Poll {
    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(24 * 60 * 60);
}

impl Default for Poll {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

impl FromStr for Poll {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = text.parse::<humantime::Duration>().map_err(|error| error.to_string())?;
        if !(Self::MIN..=Self::MAX).contains(&*time) {
            return Err("expected a time between 1s and 24h".into());
        }
        Ok(Self(*time))
    }
}

/// A public key of cosign's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CosignKey {
    /// In a file.
    File(PathBuf),
    /// As it stands in the config, in PEM.
    Pem(String),
}

impl FromStr for CosignKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("expected a file, or the key itself (`-----BEGIN PUBLIC KEY-----`)".into()),
            pem if pem.starts_with("-----BEGIN") => Ok(Self::Pem(pem.into())),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// `registry:` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegistryFile {
    #[serde(default)]
    plain_http: bool,
    ca_file: Option<PathBuf>,
    pull_secret: Option<Name>,
    poll: Option<Parsed<Poll>>,
}

/// `verify:` as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VerifyFile {
    cosign_key: Parsed<CosignKey>,
}

impl Origin {
    /// As two fields of the config file have it.
    pub(super) fn written(registry: RegistryFile, verify: Option<VerifyFile>) -> Self {
        let RegistryFile { plain_http, ca_file, pull_secret, poll } = registry;
        Self {
            plain_http,
            ca_file,
            pull_secret,
            poll: poll.map_or_else(Poll::default, |poll| poll.0),
            cosign_key: verify.map(|VerifyFile { cosign_key }| cosign_key.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn artifacts_are_named_as_everywhere_and_written_as_they_were() {
        for text in
            ["r/a", "ghcr.io/org/tasks/nightly:1.0", "localhost:5000/a-b/c__d:latest", "[::1]:5000/a:1", "r:1/a"]
        {
            for text in [text.to_owned(), format!("{text}@{DIGEST}")] {
                assert_eq!(text.parse::<OciReference>().expect("it is right").to_string(), text);
            }
        }
        let artifact: OciReference = "localhost:5000/tasks/nightly.v2".parse().expect("it is right");
        assert_eq!((artifact.registry.as_str(), artifact.tag()), ("localhost:5000", "latest"));
        assert_eq!(artifact.last_part(), "nightly.v2");
    }

    #[test]
    fn what_names_no_artifact_says_what_is_wrong_and_what_would_be_right() {
        let long = format!("r/a:{}", "t".repeat(129));
        let mistakes = [
            ("", "which registry"),
            ("nightly:1", "which registry"),
            ("//r/a", "no `//`"),
            ("r/", "not a repository's name"),
            ("/a", "not a registry's host"),
            ("u:p@r/a", "not a digest"),
            ("r:x/a", "not a registry's host"),
            ("r/A", "lower-case"),
            ("r/a//b", "lower-case"),
            ("r/../a", "lower-case"),
            ("r/a?b", "lower-case"),
            ("r/a:", "not a tag"),
            ("r/a:-x", "not a tag"),
            (&long, "not a tag"),
            ("r/a@sha256:12", "not a digest"),
            ("r/a@sha512:12", "not a digest"),
        ];
        for (text, why) in mistakes {
            let error = text.parse::<OciReference>().expect_err(text);
            assert!(error.contains(why) && error.contains(EXPECTED), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_said_of_a_registry_is_for_modules_that_are_in_one() {
        let signed = || Origin { cosign_key: Some(CosignKey::File("a.pub".into())), ..Origin::default() };
        let file = Reference::File("a.wasm".into());
        let refused = signed().of(&file).expect_err("nobody would check it").to_string();
        assert!(refused.contains("a cosign key") && refused.contains("`digest`"), "{refused}");
        assert!(Origin::default().of(&file).is_ok());
        assert!(signed().of(&"oci:r/a".parse().expect("it is right")).is_ok());
    }

    #[test]
    fn a_tag_is_not_looked_at_more_often_than_registries_bear() {
        assert_eq!("30s".parse(), Ok(Poll(Duration::from_secs(30))));
        for bad in ["0s", "999ms", "25h"] {
            let refused = bad.parse::<Poll>().expect_err(bad);
            assert!(refused.contains("between 1s and 24h"), "{bad}: {refused}");
        }
    }
}
