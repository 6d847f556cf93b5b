//! `env:` of a task: values as they stand there, or those of a key of a Secret or a ConfigMap, in the words of a Pod.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize,
    de::{Deserializer, EnumAccess, Error, VariantAccess, Visitor},
};

use super::Name;

/// A variable's name: not empty, without `=` and NUL, and none of the host's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct EnvName(String);

/// With what the variables begin that tell a program of its term.
const RESERVED: &str = "LEASEHOLD_";

impl FromStr for EnvName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(['=', '\0']) {
            return Err(format!("{text:?} is not a variable's name: it is not empty, and has no `=` and no NUL in it"));
        }
        if text.starts_with(RESERVED) {
            return Err(format!("{text:?}: names that begin with {RESERVED} are the host's own; take another"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for EnvName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A variable whose value is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvRef {
    /// The variable.
    pub variable: EnvName,
    /// What has its value.
    pub from: ValueFrom,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ValueFrom {
    /// In a Secret.
    SecretKeyRef(KeyRef),
    /// In a ConfigMap.
    ConfigMapKeyRef(KeyRef),
}

/// A key of an object in the task's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The object's name.
    pub name: Name,
    /// The key in its data.
    pub key: String,
    /// Whether the variable is left out where there is no such object, or no such key in it.
    #[serde(default)]
    pub optional: bool,
}

/// `env:` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct EnvFile(BTreeMap<EnvName, Value>);

#[derive(Debug)]
enum Value {
    Here(String),
    Elsewhere(ValueFrom),
}

impl EnvFile {
    /// The values that stand there, and where the others are.
    pub(super) fn split(self) -> (BTreeMap<String, String>, Vec<EnvRef>) {
        let (mut here, mut elsewhere) = (BTreeMap::new(), Vec::new());
        for (variable, value) in self.0 {
            match value {
                Value::Here(value) => drop(here.insert(variable.0, value)),
                Value::Elsewhere(from) => elsewhere.push(EnvRef { variable, from }),
            }
        }
        (here, elsewhere)
    }
}

/// What a variable's value may not have in it.
///
/// # Errors
/// It has.
pub(super) fn check_value(value: &str) -> Result<(), String> {
    if value.contains('\0') { Err("a variable's value cannot have a NUL in it".into()) } else { Ok(()) }
}

impl<'de> Deserialize<'de> for Value {
    /// In YAML, an enum is a text or has one field. So `1.10` and `true` are taken as they stand, as everywhere in the
    /// file; asked for anything, the parser would make numbers of them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FIELD: &str = "valueFrom";

        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `valueFrom` with `secretKeyRef` or `configMapKeyRef`")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
                let (text, rest): (String, A::Variant) = data.variant()?;
                if text == FIELD {
                    return rest.newtype_variant().map(Value::Elsewhere);
                }
                rest.unit_variant().map_err(|_| {
                    A::Error::custom(format!(
                        "unknown field `{text}`, expected a text, or `{FIELD}` (`secretKeyRef`, `configMapKeyRef`)"
                    ))
                })?;
                check_value(&text).map_err(A::Error::custom)?;
                Ok(Value::Here(text))
            }
        }
        deserializer.deserialize_enum("", &[], Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EnvFile, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = "A: eu\nB: 1.10\nC: 007\nD: true\nE: '{}'\nF: ''\nG: 0x10\nH: 'null'\nI: 2026-11-21\n";
        let (here, elsewhere) = parse(text).expect("it is right").split();
        let values: Vec<_> = here.values().map(String::as_str).collect();
        assert_eq!(values, ["eu", "1.10", "007", "true", "{}", "", "0x10", "null", "2026-11-21"]);
        assert_eq!(elsewhere, []);
    }

    #[test]
    fn values_of_secrets_and_config_maps_are_asked_for_as_in_a_pod() {
        let text = "PASSWORD: {valueFrom: {secretKeyRef: {name: db, key: password}}}\n\
                    URL: {valueFrom: {configMapKeyRef: {name: settings, key: url, optional: true}}}\n";
        let (here, elsewhere) = parse(text).expect("it is right").split();
        assert!(here.is_empty());
        let key =
            |name: &str, key: &str, optional| KeyRef { name: name.parse().expect("a name"), key: key.into(), optional };
        let from: Vec<_> = elsewhere.into_iter().map(|elsewhere| elsewhere.from).collect();
        assert_eq!(
            from,
            [
                ValueFrom::SecretKeyRef(key("db", "password", false)),
                ValueFrom::ConfigMapKeyRef(key("settings", "url", true))
            ]
        );
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let mistakes = [
            ("A=B: x", "no `=`"),
            ("'': x", "not empty"),
            ("LEASEHOLD_TOKEN: '1'", "the host's own"),
            ("A: \"a\\0b\"", "NUL"),
            ("A: [x]", "mapping"),
            ("A: {secretKeyRef: {name: db, key: k}}", "valueFrom"),
            ("A: {valueFrom: {fieldRef: {name: db, key: k}}}", "configMapKeyRef"),
            ("A: {valueFrom: {secretKeyRef: {name: DB, key: k}}}", "lower-case"),
            ("A: {valueFrom: {secretKeyRef: {name: db}}}", "key"),
        ];
        for (text, why) in mistakes {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
