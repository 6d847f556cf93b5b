//! The real cosign.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::distribution::program;

/// How a signature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A bundle of sigstore's that refers to the artifact: what cosign 3 does by itself.
    Bundle,
    /// Under the tag `sha256-....sig`: what cosign 2 does.
    Tag,
}

/// A pair of keys, in a folder of its own.
pub(super) struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    pub(super) fn generate() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        this.cosign(&["generate-key-pair"]);
        this
    }

    /// The file with the public one.
    pub(super) fn public(&self) -> PathBuf {
        self.folder.path().join("cosign.pub")
    }

    /// The public one.
    pub(super) fn public_pem(&self) -> String {
        fs::read_to_string(self.public()).expect("it was made")
    }

    /// Signs the artifact `oci:...@sha256:...` in a registry without TLS. Offline: nothing goes into a log.
    pub(super) fn sign(&self, module: &str, form: Form) {
        let bundle = format!("--new-bundle-format={}", form == Form::Bundle);
        let artifact = without_scheme(module);
        let offline = ["--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "--yes"];
        self.cosign(&[&["sign", "--key", "cosign.key", &bundle], &offline[..], &[&artifact]].concat());
    }

    /// States something about the artifact that is not a signature.
    pub(super) fn attest(&self, module: &str) {
        let predicate = self.folder.path().join("predicate.json");
        fs::write(&predicate, "{\"result\": \"failed\"}").expect("written");
        let artifact = without_scheme(module);
        self.cosign(&[
            "attest",
            "--key",
            "cosign.key",
            "--predicate",
            predicate.to_str().expect("UTF-8"),
            "--type",
            "custom",
            "--use-signing-config=false",
            "--tlog-upload=false",
            "--allow-http-registry",
            "--yes",
            &artifact,
        ]);
    }

    fn cosign(&self, args: &[&str]) {
        let output = Command::new(program("cosign"))
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("COSIGN_PASSWORD", "of this test")
            .stdin(Stdio::null())
            .output()
            .expect("cosign starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cosign {args:?}: {stderr}");
    }
}

/// As cosign names it: by its digest, and without a tag.
fn without_scheme(module: &str) -> String {
    let (name, digest) = module.trim_start_matches("oci:").split_once('@').expect("it has a digest");
    // The port's colon comes before the first slash.
    let tag = name.rfind(':').filter(|colon| *colon > name.find('/').expect("a repository"));
    format!("{}@{digest}", &name[..tag.unwrap_or(name.len())])
}

/// For a flag.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
