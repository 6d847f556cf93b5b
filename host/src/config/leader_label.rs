//! The label that the Pod of the replica that leads carries.

use std::{fmt, str::FromStr};

use super::{ConfigError, Environment, StoreChoice, TaskSpec};

/// A key and a value as Kubernetes takes them for a label
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderLabel {
    /// `[PREFIX/]NAME`
    pub key: String,
    /// `true` where none is given.
    pub value: String,
}

impl LeaderLabel {
    /// The Pod that is to carry it.
    ///
    /// # Errors
    /// This host runs in none, or has no cluster.
    pub(super) fn check(&self, store: &StoreChoice, environment: &Environment) -> Result<(), ConfigError> {
        match (store, &environment.pod) {
            (StoreChoice::Folder(_), _) => Err(ConfigError(format!(
                "the label {self} is for a Pod, and needs a Lease in Kubernetes, not in a folder"
            ))),
            (StoreChoice::Kubernetes, None) => Err(ConfigError(format!(
                "the label {self} is for the Pod that this host runs in, and $POD_NAME, which names that, is not set: set \
                 it from metadata.name, and $POD_UID from metadata.uid"
            ))),
            (StoreChoice::Kubernetes, Some(_)) => Ok(()),
        }
    }

    /// Two tasks whose replicas would take it off each other.
    pub(super) fn taken<'t>(&self, tasks: &'t [TaskSpec]) -> Option<&'t TaskSpec> {
        tasks.iter().find(|task| task.leader_label.as_ref().is_some_and(|label| label.key == self.key))
    }
}

impl fmt::Display for LeaderLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A part of a label's key or its value: at most 63 letters, digits, `-`, `_` and `.`, the first and last of them no sign.
fn is_qualified(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && outer(text.chars().next()) && outer(text.chars().last())
}

impl FromStr for LeaderLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
        let is_domain = |prefix: &str| prefix.parse::<super::Name>().is_ok();
        if !is_qualified(name) || !prefix.is_none_or(is_domain) {
            return Err(format!(
                "{key:?} is no key for a label: expected [PREFIX/]NAME, such as leader.example.com/nightly, of at most 63 \
                 letters, digits, `-`, `_` and `.` after the prefix"
            ));
        }
        if !is_qualified(value) {
            return Err(format!(
                "{value:?} is no value for a label: expected at most 63 letters, digits, `-`, `_` and `.`, beginning and \
                 ending with a letter or digit"
            ));
        }
        let of_kubernetes = |domain: &str| {
            ["kubernetes.io", "k8s.io"]
                .iter()
                .any(|own| domain == *own || domain.strip_suffix(own).is_some_and(|rest| rest.ends_with('.')))
        };
        if let Some(prefix) = prefix.filter(|prefix| of_kubernetes(prefix)) {
            return Err(format!("labels with the prefix {prefix} are Kubernetes' own: give a prefix of yours"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_value_are_taken_as_kubernetes_takes_them() {
        let parsed = |text: &str| text.parse::<LeaderLabel>().map(|label| label.to_string());
        assert_eq!(parsed("leader.example.com/nightly"), Ok("leader.example.com/nightly=true".into()));
        assert_eq!(parsed("role=Leader_1"), Ok("role=Leader_1".into()));
        for (text, said) in [
            ("", "no key"),
            ("/nightly", "no key"),
            ("Example.com/nightly", "no key"),
            ("a/b/c", "no key"),
            ("-nightly", "no key"),
            (&"n".repeat(64), "no key"),
            ("nightly=", "no value"),
            ("nightly=a=b", "no value"),
            ("app.kubernetes.io/name=leader", "Kubernetes' own"),
            ("k8s.io/leader", "Kubernetes' own"),
        ] {
            assert!(parsed(text).is_err_and(|error| error.contains(said)), "{text}");
        }
        assert!(parsed("notkubernetes.io/leader").is_ok());
    }
}
