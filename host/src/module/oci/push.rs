//! Writes a module into a registry, as `wkg oci push` does: a config that says what the component imports and exports,
//! one layer that is the module, and a manifest of both.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use leasehold_core::task::Digest;
use serde::Serialize;

use super::{
    OciError,
    client::{Ask, Registry},
    manifest::{CONFIG_TYPE, Descriptor, MANIFEST_TYPE, Manifest, WASM_TYPE},
    transport::{failed, unreachable},
};
use crate::guest::module::digest;

/// What is said of a module beside its bytes.
pub struct Described {
    /// A component; else a core module.
    pub component: Option<Component>,
}

/// What is said of a component.
#[derive(Serialize)]
pub struct Component {
    /// The names of what it has.
    pub exports: Vec<String>,
    /// The names of what it needs.
    pub imports: Vec<String>,
}

/// `application/vnd.wasm.config.v0+json`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<Component>,
}

impl Registry {
    /// Puts the module under `tag`, and says what its manifest is called by. The same module has the same digest each
    /// time, so that pushing it again changes nothing, and its signatures stay.
    ///
    /// # Errors
    /// The registry does not take it; then the tag is what it was.
    ///
    /// # Cancel safety
    /// May be dropped at any time: the tag is written last.
    pub async fn push(&self, module: Vec<u8>, described: Described, tag: &str) -> Result<Digest, OciError> {
        let layer = part(WASM_TYPE, &module);
        let config = Config {
            // No time, which would make another artifact of the same module.
            created: "1970-01-01T00:00:00Z",
            architecture: "wasm",
            os: if described.component.is_some() { "wasip2" } else { "wasip1" },
            layer_digests: vec![layer.digest.to_string()],
            component: described.component,
        };
        let config = json(&config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            config: Some(part(CONFIG_TYPE, &config)),
            layers: vec![layer.clone()],
            manifests: Vec::new(),
        };
        let manifest_json = json(&manifest)?;
        self.upload(&part(CONFIG_TYPE, &config).digest, config).await?;
        self.upload(&layer.digest, module).await?;
        let (what, called) = (&self.what("put manifest", tag), digest(&manifest_json));
        let url = self.url(&format!("manifests/{tag}"));
        let body = Bytes::from(manifest_json);
        let answer = self.send(&Ask { method: Method::PUT, url, media_type: Some(MANIFEST_TYPE), body, what }).await?;
        if answer.status().is_success() { Ok(called) } else { Err(failed(answer, what).await) }
    }

    async fn upload(&self, digest: &Digest, bytes: Vec<u8>) -> Result<(), OciError> {
        let what = &self.what("put blob", digest);
        let (url, body) = (self.url(&format!("blobs/{digest}")), Bytes::new());
        let answer = self.send(&Ask { method: Method::HEAD, url, media_type: None, body: body.clone(), what }).await?;
        match answer.status() {
            StatusCode::OK => return Ok(()),
            StatusCode::NOT_FOUND => {}
            _ => return Err(failed(answer, what).await),
        }
        let url = self.url("blobs/uploads/");
        let answer = self.send(&Ask { method: Method::POST, url, media_type: None, body, what }).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(failed(answer, what).await);
        }
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let mut url = location.and_then(|location| self.url_named(location)).ok_or_else(|| {
            unreachable(what, "the registry does not say where to put it, or names no https URL".into())
        })?;
        url.query_pairs_mut().append_pair("digest", digest);
        let body = Bytes::from(bytes);
        let media_type = Some("application/octet-stream");
        let answer = self.send(&Ask { method: Method::PUT, url, media_type, body, what }).await?;
        if answer.status().is_success() { Ok(()) } else { Err(failed(answer, what).await) }
    }
}

fn part(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest(bytes),
        size: bytes.len() as u64,
        artifact_type: None,
        annotations: Default::default(),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, OciError> {
    serde_json::to_vec(value)
        .map_err(|error| OciError::NotAModule(format!("its description cannot be written: {error}")))
}
