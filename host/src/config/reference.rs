//! A module as a person names it: a path, `configmap:[NAMESPACE/]NAME/KEY`, or
//! `oci:REGISTRY/REPOSITORY[:TAG][@sha256:...]`.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{Name, OciReference};

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A file.
    File(PathBuf),
    /// A key of a ConfigMap, read through the API.
    ConfigMap {
        /// `None` takes the task's own.
        namespace: Option<Name>,
        /// The ConfigMap's name.
        name: Name,
        /// The key, of `binaryData` or `data`.
        key: String,
    },
    /// An artifact in an OCI registry.
    Oci(OciReference),
}

impl Reference {
    /// The file's name without its end, for a task that was given no name.
    pub fn stem(&self) -> String {
        let path = match self {
            Self::File(path) => path.as_path(),
            Self::ConfigMap { key, .. } => key.as_ref(),
            // A dot in it does not begin a file's end.
            Self::Oci(artifact) => return artifact.last_part().to_owned(),
        };
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("configmap", rest)) => config_map(rest),
            Some(("oci", rest)) => rest.parse().map(Self::Oci),
            Some((scheme @ ("http" | "https"), _)) => Err(format!(
                "modules are not fetched from `{scheme}:`: give the path of a file, `configmap:[NAMESPACE/]NAME/KEY`, \
                 or `oci:REGISTRY/REPOSITORY[:TAG]`"
            )),
            _ if text.is_empty() => Err("the module's path is empty".into()),
            _ => Ok(Self::File(text.into())),
        }
    }
}

fn config_map(rest: &str) -> Result<Reference, String> {
    let expected = |why: String| format!("{why}: expected `configmap:[NAMESPACE/]NAME/KEY`");
    let parts: Vec<_> = rest.split('/').collect();
    let (namespace, name, key) = match parts[..] {
        [name, key] => (None, name, key),
        [namespace, name, key] => (Some(namespace), name, key),
        _ => return Err(expected(format!("`configmap:{rest}` does not name a key of a ConfigMap"))),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(allowed) {
        return Err(expected(format!("{key:?} is not a ConfigMap's key (letters, digits, `-`, `_` and `.`)")));
    }
    let namespace = namespace.map(str::parse).transpose().map_err(expected)?;
    let name = name.parse().map_err(expected)?;
    Ok(Reference::ConfigMap { namespace, name, key: key.to_owned() })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::ConfigMap { namespace: Some(namespace), name, key } => {
                write!(f, "configmap:{namespace}/{name}/{key}")
            }
            Self::ConfigMap { namespace: None, name, key } => write!(f, "configmap:{name}/{key}"),
            Self::Oci(artifact) => write!(f, "oci:{artifact}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Reference>().expect_err("it names no module")
    }

    #[test]
    fn a_config_maps_key_is_read_with_and_without_a_namespace_and_written_as_it_was() {
        for text in ["configmap:nightly/task.wasm", "configmap:jobs/nightly/task.wasm", "a/b.wasm"] {
            assert_eq!(text.parse::<Reference>().expect("it is right").to_string(), text);
        }
        let reference: Reference = "configmap:jobs/nightly/task.v2.wasm".parse().expect("it is right");
        assert_eq!(reference.stem(), "task.v2");
    }

    #[test]
    fn what_names_no_key_says_what_would() {
        for text in
            ["configmap:", "configmap:a", "configmap:a/", "configmap:a/b/c/d", "configmap:A/b", "configmap:a/b c"]
        {
            assert!(refused(text).contains("configmap:[NAMESPACE/]NAME/KEY"), "{}", refused(text));
        }
        assert!(refused("https://r/a").contains("oci:REGISTRY"));
        assert!(refused("").contains("empty"));
    }
}
