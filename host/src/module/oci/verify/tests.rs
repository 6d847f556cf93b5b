//! What a key has signed, and what of that is a signature. (What cosign itself makes of it: `tests/registry`.)

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::json;

use super::*;

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random);
        Self(pair.expect("it was just made"))
    }

    fn pem(&self) -> String {
        let der = [&P256_PREFIX[..], self.0.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der))
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_pem(&self.pem()).expect("it is one")
    }

    fn sign(&self, message: &[u8]) -> String {
        BASE64_STANDARD.encode(self.0.sign(&SystemRandom::new(), message).expect("it can sign"))
    }

    fn bundle(&self, payload_type: &str, payload: &str) -> Vec<u8> {
        let signed = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
        let envelope = json!({
            "payload": BASE64_STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": BASE64_STANDARD.encode("rubbish")}, {"sig": self.sign(signed.as_bytes())}],
        });
        json!({"mediaType": BUNDLE_TYPE, "dsseEnvelope": envelope}).to_string().into_bytes()
    }
}

fn manifest(fill: char) -> Digest {
    format!("sha256:{}", fill.to_string().repeat(64)).into()
}

fn statement(of: &Digest, predicate: &str) -> String {
    let sha256 = of.trim_start_matches("sha256:");
    json!({"_type": STATEMENT_KIND, "subject": [{"digest": {"sha256": sha256}}], "predicateType": predicate})
        .to_string()
}

fn simple(of: &Digest, kind: &str) -> String {
    json!({"critical": {"identity": {}, "image": {"docker-manifest-digest": &**of}, "type": kind}}).to_string()
}

#[test]
fn a_bundle_counts_by_the_key_for_the_manifest_as_a_signature_and_in_no_other_way() {
    let (signer, ours, other) = (Signer::new(), manifest('a'), manifest('b'));
    let key = signer.public();
    let signature = statement(&ours, SIGNATURE_PREDICATE);
    let check = |bundle: &[u8]| check_bundle(&key, bundle, &ours);
    assert_eq!(check(&signer.bundle(STATEMENT_TYPE, &signature)), Ok(()));
    assert_eq!(check(&Signer::new().bundle(STATEMENT_TYPE, &signature)), Err(OTHER_KEY));
    let of_other = statement(&other, SIGNATURE_PREDICATE);
    assert_eq!(check(&signer.bundle(STATEMENT_TYPE, &of_other)), Err(OTHER_ARTIFACT));
    let attestation = statement(&ours, "https://cosign.sigstore.dev/attestation/vuln/v1");
    assert_eq!(check(&signer.bundle(STATEMENT_TYPE, &attestation)), Err(NO_SIGNATURE));
    assert_eq!(check(&signer.bundle("text/plain", &signature)), Err(NO_SIGNATURE));
    // The payload as it was signed for another type, or changed since.
    for (from, to) in [("application/vnd.in-toto+json", "text/plain"), ("dsseEnvelope", "messageSignature")] {
        let bundle = String::from_utf8(signer.bundle(STATEMENT_TYPE, &signature)).expect("UTF-8").replace(from, to);
        assert!(check(bundle.as_bytes()).is_err());
    }
    assert_eq!(check(b"{}"), Err(UNREADABLE));
}

#[test]
fn a_simple_signature_counts_by_the_key_for_the_manifest_as_a_signature_and_in_no_other_way() {
    let (signer, ours, other) = (Signer::new(), manifest('a'), manifest('b'));
    let check = |payload: &str, signature: &str| check_simple(&signer.public(), payload.as_bytes(), signature, &ours);
    let payload = simple(&ours, SIMPLE_SIGNING_KIND);
    assert_eq!(check(&payload, &signer.sign(payload.as_bytes())), Ok(()));
    assert_eq!(check(&payload, &Signer::new().sign(payload.as_bytes())), Err(OTHER_KEY));
    assert_eq!(check(&payload, ""), Err(OTHER_KEY));
    assert_eq!(check(&payload, "!"), Err(UNREADABLE));
    for (payload, why) in [
        (simple(&other, SIMPLE_SIGNING_KIND), OTHER_ARTIFACT),
        (simple(&ours, "atomic container signature"), NO_SIGNATURE),
        ("{}".to_owned(), UNREADABLE),
    ] {
        assert_eq!(check(&payload, &signer.sign(payload.as_bytes())), Err(why));
    }
}

#[test]
fn keys_of_other_kinds_are_refused_with_what_would_do() {
    // By OpenSSL: P-384 and Ed25519.
    let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqA1u3pMSrBTTuJf2r2zsbKbJwGQyZ0HG\n\
                3uKUHNnvqh6nXTRD3rRWq1PQbjrVyUBdDIUQm9qFFdnN6cGmYsyX6PrV3Ltm0D3V\nJxSVAWEaX5rxMRyvYyJ3cxdW9KX4BJwB\n\
                -----END PUBLIC KEY-----\n";
    let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                   -----END PUBLIC KEY-----\n";
    let private =
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    let mut compressed = Signer::new().pem();
    compressed.truncate(60);
    for (pem, why) in [
        (p384, "P-256"),
        (ed25519, "P-256"),
        (private, "private key"),
        ("", "BEGIN PUBLIC KEY"),
        (&compressed, "BEGIN PUBLIC KEY"),
    ] {
        let error = PublicKey::from_pem(pem).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}
