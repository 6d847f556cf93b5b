//! Whether an artifact is signed with a key of cosign's: offline, by the key alone, without a transparency log.
//!
//! Both forms that cosign writes are known, and one signature that is right is enough:
//! - a bundle of sigstore's (v0.3) among the artifact's referrers, with a DSSE envelope around an in-toto statement;
//!   what cosign 3 writes;
//! - the manifest under the tag `sha256-DIGEST.sig`, each layer of which is a payload ("simple signing") that has its
//!   signature as an annotation; what cosign 2 writes.
//!
//! What is signed has to be the digest of the very manifest that is run, and said to be a signature: an attestation by
//! the same key (of a failed scan, say) is none.

use base64::{Engine, prelude::BASE64_STANDARD};
use leasehold_core::task::Digest;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;

use super::{OciError, client::Registry, manifest::Descriptor};
use crate::guest::module::digest;

/// What is looked at of an artifact that has very many.
const SIGNATURES_MAX: usize = 32;
/// A signature is a kilobyte, or a few with a certificate.
const SIGNATURE_BYTES_MAX: u64 = 256 * 1024;

const SIMPLE_SIGNING_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIMPLE_SIGNING_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const SIMPLE_SIGNING_KIND: &str = "cosign container image signature";
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_KIND: &str = "https://in-toto.io/Statement/v1";
const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// What a `SubjectPublicKeyInfo` of an uncompressed point on P-256 begins with (RFC 5480), in DER.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT_BYTES: usize = 65;

/// An ECDSA key on P-256, which is what `cosign generate-key-pair` makes.
#[derive(Clone, Debug)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// From the text of `cosign.pub`.
    ///
    /// # Errors
    /// It is not such a key, as the end of a sentence.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY-----") {
            return Err("it is a private key, which belongs nowhere but with who signs: give the public one".into());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("it has no `-----BEGIN PUBLIC KEY-----` as in cosign.pub ({error})"))?;
        let point = der.strip_prefix(&P256_PREFIX[..]).filter(|point| point.len() == P256_POINT_BYTES);
        let point = point.ok_or("it is not an ECDSA key on P-256, which is the kind that is supported")?;
        Ok(Self(point.to_vec()))
    }

    /// `sha256:...` of its point.
    pub(super) fn fingerprint(&self) -> Digest {
        digest(&self.0)
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, signature).is_ok()
    }
}

/// Looks for a signature of `key` on the manifest.
///
/// # Errors
/// [`OciError::NotSigned`] with what there is instead; or the registry does not say.
pub(super) async fn check(registry: &Registry, key: &PublicKey, manifest: &Digest) -> Result<(), OciError> {
    let mut refused = Vec::new();
    for bundle in bundles(registry, manifest).await? {
        let bytes = small_blob(registry, &bundle).await?;
        match bytes.and_then(|bytes| check_bundle(key, &bytes, manifest)) {
            Ok(()) => return Ok(()),
            Err(why) => refused.push(why),
        }
    }
    for layer in simple_signatures(registry, manifest).await? {
        let payload = small_blob(registry, &layer).await?;
        let signature = layer.annotations.get(SIMPLE_SIGNING_ANNOTATION).map_or("", String::as_str);
        match payload.and_then(|payload| check_simple(key, &payload, signature, manifest)) {
            Ok(()) => return Ok(()),
            Err(why) => refused.push(why),
        }
    }
    refused.dedup();
    Err(OciError::NotSigned(match &refused[..] {
        [] => format!("{manifest} is not signed: sign it with `cosign sign --key`, with the key that is trusted here"),
        [why] => format!("{manifest} is not signed with the key that is trusted here: {why}"),
        several => format!("{manifest} is not signed with the key that is trusted here: {}", several.join("; ")),
    }))
}

async fn bundles(registry: &Registry, manifest: &Digest) -> Result<Vec<Descriptor>, OciError> {
    let referrers = registry.referrers(manifest).await?;
    let is_bundle = |referrer: &Descriptor| referrer.artifact_type.as_deref() == Some(BUNDLE_TYPE);
    let mut bundles = Vec::new();
    for referrer in referrers.into_iter().filter(is_bundle).take(SIGNATURES_MAX) {
        // The list may be older than what it lists.
        let Some(found) = registry.manifest(&referrer.digest).await? else { continue };
        bundles.extend(found.manifest.layers.into_iter().find(|layer| layer.media_type == BUNDLE_TYPE));
    }
    Ok(bundles)
}

async fn simple_signatures(registry: &Registry, manifest: &Digest) -> Result<Vec<Descriptor>, OciError> {
    let tag = format!("{}.sig", manifest.replace(':', "-"));
    let layers = registry.manifest(&tag).await?.map_or_else(Vec::new, |found| found.manifest.layers);
    Ok(layers.into_iter().filter(|layer| layer.media_type == SIMPLE_SIGNING_TYPE).take(SIGNATURES_MAX).collect())
}

async fn small_blob(registry: &Registry, blob: &Descriptor) -> Result<Result<Vec<u8>, &'static str>, OciError> {
    if blob.size > SIGNATURE_BYTES_MAX {
        return Ok(Err(UNREADABLE));
    }
    let bytes = registry.blob(&blob.digest, blob.size).await?;
    if digest(&bytes) != blob.digest {
        return Err(OciError::WrongBytes { what: "a signature".into(), expected: blob.digest.clone() });
    }
    Ok(Ok(bytes))
}

const OTHER_KEY: &str = "there is a signature, by another key";
const UNREADABLE: &str = "there is a signature that cannot be read";
const OTHER_ARTIFACT: &str = "there is a signature by that key, of another artifact";
const NO_SIGNATURE: &str = "there is a statement by that key that is not a signature (an attestation, perhaps)";

fn check_bundle(key: &PublicKey, bundle: &[u8], manifest: &Digest) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bundle {
        dsse_envelope: Envelope,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        payload: String,
        payload_type: String,
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        sig: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        #[serde(rename = "_type")]
        kind: String,
        predicate_type: String,
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: SubjectDigest,
    }
    #[derive(Deserialize)]
    struct SubjectDigest {
        sha256: Option<String>,
    }
    let Bundle { dsse_envelope: Envelope { payload, payload_type, signatures } } =
        serde_json::from_slice(bundle).map_err(|_| UNREADABLE)?;
    let payload = BASE64_STANDARD.decode(payload).map_err(|_| UNREADABLE)?;
    // What DSSE signs in place of the payload: its type as well, so that neither can be taken for the other.
    let mut signed = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    signed.extend_from_slice(&payload);
    let by_key = signatures.iter().take(SIGNATURES_MAX).any(|signature| {
        BASE64_STANDARD.decode(&signature.sig).is_ok_and(|signature| key.has_signed(&signed, &signature))
    });
    if !by_key {
        return Err(OTHER_KEY);
    }
    if payload_type != STATEMENT_TYPE {
        return Err(NO_SIGNATURE);
    }
    let Statement { kind, predicate_type, subject } = serde_json::from_slice(&payload).map_err(|_| UNREADABLE)?;
    if kind != STATEMENT_KIND || predicate_type != SIGNATURE_PREDICATE {
        return Err(NO_SIGNATURE);
    }
    let hex = manifest.strip_prefix("sha256:");
    if hex.is_some() && subject.iter().any(|subject| subject.digest.sha256.as_deref() == hex) {
        Ok(())
    } else {
        Err(OTHER_ARTIFACT)
    }
}

fn check_simple(key: &PublicKey, payload: &[u8], signature: &str, manifest: &Digest) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "docker-manifest-digest")]
        digest: String,
    }
    let signature = BASE64_STANDARD.decode(signature).map_err(|_| UNREADABLE)?;
    if !key.has_signed(payload, &signature) {
        return Err(OTHER_KEY);
    }
    let Payload { critical } = serde_json::from_slice(payload).map_err(|_| UNREADABLE)?;
    match critical {
        Critical { kind, .. } if kind != SIMPLE_SIGNING_KIND => Err(NO_SIGNATURE),
        Critical { image, .. } if *image.digest == **manifest => Ok(()),
        _ => Err(OTHER_ARTIFACT),
    }
}

#[cfg(test)]
mod tests;
