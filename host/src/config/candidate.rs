//! What a host says of itself as a candidate in a coordinated election.

use semver::Version;

use super::ConfigError;

/// The versions that the API server picks by (KEP-4355). Of an equal emulation version, the older binary leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateVersions {
    /// What runs.
    pub binary: Version,
    /// What it behaves as; not above `binary`, nor 0.0.0.
    pub emulation: Version,
}

impl CandidateVersions {
    /// Without a `binary`, it is this host's own version; without an `emulation`, the same as `binary`.
    ///
    /// # Errors
    /// Says what the API server would refuse.
    pub fn new(binary: Option<Version>, emulation: Option<Version>) -> Result<Self, ConfigError> {
        let own = || env!("CARGO_PKG_VERSION").parse().expect("cargo checks a package's version");
        let binary: Version = binary.unwrap_or_else(own);
        let emulation = emulation.unwrap_or_else(|| binary.clone());
        if emulation > binary {
            return Err(ConfigError(format!(
                "the emulation version ({emulation}) must not be above the binary version ({binary})"
            )));
        }
        if emulation == Version::new(0, 0, 0) {
            return Err(ConfigError("the emulation version must be above 0.0.0".into()));
        }
        Ok(Self { binary, emulation })
    }
}

/// A candidate is named after its identity, so that has to be a name for it: letters, digits, `-`, `_`, `.`.
///
/// # Errors
/// The identity has something else in it, or is too long.
pub fn check_identity(identity: &str) -> Result<(), ConfigError> {
    const LONGEST: usize = 253;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if identity.len() <= LONGEST && identity.chars().all(fits) {
        return Ok(());
    }
    Err(ConfigError(format!(
        "identity {identity:?} is no name for a LeaseCandidate: with --coordinated, use letters, digits, `-`, `_` and \
         `.`, at most {LONGEST} of them with the nonce"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(binary: Option<&str>, emulation: Option<&str>) -> Result<CandidateVersions, String> {
        let parse = |text: &str| text.parse().expect("a version");
        CandidateVersions::new(binary.map(parse), emulation.map(parse)).map_err(|error| error.0)
    }

    #[test]
    fn the_hosts_own_version_is_both_where_none_is_given() {
        let own: Version = env!("CARGO_PKG_VERSION").parse().expect("a version");
        assert_eq!(versions(None, None), Ok(CandidateVersions { binary: own.clone(), emulation: own }));
        let both = Version::new(7, 1, 0);
        assert_eq!(versions(Some("7.1.0"), None), Ok(CandidateVersions { binary: both.clone(), emulation: both }));
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused() {
        assert!(versions(Some("1.0.0"), Some("1.0.1")).is_err_and(|error| error.contains("not be above")));
        assert!(versions(Some("0.0.0"), None).is_err_and(|error| error.contains("0.0.0")));
    }

    #[test]
    fn an_identity_that_names_no_object_is_refused() {
        assert!(check_identity("pod-1.a_0123abcd").is_ok());
        assert!(check_identity("a/b").is_err() && check_identity(&"a".repeat(254)).is_err());
    }
}
