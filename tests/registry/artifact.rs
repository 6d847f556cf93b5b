//! An artifact as `wkg oci push` writes one, made by hand.

use leasehold::guest::module::digest;
use serde_json::{Value, json};

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const WASM_TYPE: &str = "application/wasm";

/// A manifest, and what it names.
#[derive(Clone)]
pub(super) struct Artifact {
    pub(super) manifest: Vec<u8>,
    /// By their digests.
    pub(super) blobs: Vec<(String, Vec<u8>)>,
}

impl Artifact {
    /// Of a module, as it is.
    pub(super) fn of(module: &[u8]) -> Self {
        Self::with_layers(&[(WASM_TYPE, module)])
    }

    pub(super) fn with_layers(layers: &[(&str, &[u8])]) -> Self {
        let config = json!({
            "created": "2026-11-21T12:00:00Z", "author": null, "architecture": "wasm", "os": "wasip2",
            "layerDigests": layers.iter().map(|(_, bytes)| digest(bytes).to_string()).collect::<Vec<_>>(),
            "component": {"exports": [], "imports": [], "target": null},
        });
        let config = config.to_string().into_bytes();
        let described = layers.iter().map(|(kind, bytes)| part(kind, bytes)).collect();
        let mut blobs: Vec<_> = layers.iter().map(|(_, bytes)| (digest(bytes).to_string(), bytes.to_vec())).collect();
        let manifest = manifest(part("application/vnd.wasm.config.v0+json", &config), described);
        blobs.push((digest(&config).to_string(), config));
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    /// With a manifest that says something else of its one layer.
    pub(super) fn whose_layer(mut self, field: &str, value: Value) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("it is JSON");
        manifest["layers"][0][field] = value;
        self.manifest = manifest.to_string().into_bytes();
        self
    }

    pub(super) fn digest(&self) -> String {
        digest(&self.manifest).to_string()
    }
}

fn part(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": &*digest(bytes), "size": bytes.len()})
}

fn manifest(config: Value, layers: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers})
}
