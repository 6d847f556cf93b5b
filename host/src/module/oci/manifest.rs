//! What a registry says an artifact consists of (OCI image manifest), as far as it concerns a module.

use std::collections::BTreeMap;

use leasehold_core::task::Digest;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::config::parse_digest;

/// Of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of a list of manifests.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Of the config.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// Of the layer that is the module.
pub const WASM_TYPE: &str = "application/wasm";

/// A manifest, or a list of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub(super) schema_version: u8,
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    /// Of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) manifests: Vec<Descriptor>,
}

/// A manifest, and what it is called by.
pub(super) struct Fetched {
    pub(super) manifest: Manifest,
    /// Of its bytes as they came.
    pub(super) digest: Digest,
}

/// A part of an artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(deserialize_with = "of_text", serialize_with = "as_text")]
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

fn of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_digest(&text).map_err(|_| D::Error::custom(format!("{text:?} is not a digest by SHA-256")))
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(digest)
}

/// The one layer that is a module.
///
/// # Errors
/// Says what there is instead, as the end of a sentence.
pub(super) fn wasm_layer(manifest: &Manifest) -> Result<&Descriptor, String> {
    const RIGHT: &str = "push it with `leasehold push` or `wkg oci push`";
    if !manifest.manifests.is_empty() || manifest.media_type == INDEX_TYPE {
        return Err(format!("is a list of artifacts, for several platforms, and not one with a module in it: {RIGHT}"));
    }
    // Also `application/wasm+gzip` and the like: how it is compressed, its first bytes say.
    let is_wasm = |layer: &&Descriptor| {
        layer.media_type == WASM_TYPE
            || layer.media_type.strip_prefix(WASM_TYPE).is_some_and(|rest| rest.starts_with('+'))
    };
    let modules: Vec<_> = manifest.layers.iter().filter(is_wasm).collect();
    match modules[..] {
        [module] => Ok(module),
        [] => {
            let types: Vec<_> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            let has = if types.is_empty() { "none at all".to_owned() } else { types.join(", ") };
            Err(format!("has no layer `{WASM_TYPE}`, but {has}: {RIGHT}"))
        }
        _ => Err(format!("has {} layers `{WASM_TYPE}`, and a task is one module: {RIGHT}", modules.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_of(layers: &[&str]) -> Result<String, String> {
        let digest = format!("sha256:{}", "0".repeat(64));
        let layers: Vec<_> = layers
            .iter()
            .map(|media_type| serde_json::json!({"mediaType": media_type, "digest": digest, "size": 1}))
            .collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": layers});
        let manifest: Manifest = serde_json::from_value(manifest).expect("it is one");
        wasm_layer(&manifest).map(|layer| layer.media_type.clone())
    }

    #[test]
    fn the_module_is_the_one_layer_of_its_type() {
        assert_eq!(layer_of(&[WASM_TYPE]).expect("it is there"), WASM_TYPE);
        assert_eq!(layer_of(&["text/plain", "application/wasm+zstd"]).expect("it is there"), "application/wasm+zstd");
        for (layers, why) in [
            (&[][..], "none at all"),
            (&["application/vnd.oci.image.layer.v1.tar+gzip"], "tar+gzip"),
            (&[WASM_TYPE, WASM_TYPE], "2 layers"),
            (&["application/wasmer"], "application/wasmer"),
        ] {
            let error = layer_of(layers).expect_err(why);
            assert!(error.contains(why) && error.contains("`leasehold push`"), "{error}");
        }
    }

    #[test]
    fn a_digest_that_is_none_is_a_mistake_of_the_manifest() {
        let manifest = r#"{"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "sha256:../../x", "size": 1}]}"#;
        let error = serde_json::from_str::<Manifest>(manifest).expect_err("it would be part of a URL").to_string();
        assert!(error.contains("not a digest"), "{error}");
    }
}
