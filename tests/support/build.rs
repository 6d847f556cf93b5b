//! What the tests run, built by cargo once per test process, so that it is never out of date.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository's root")
}

/// The command `leasehold`, built with the profile of the test that asks.
pub fn leasehold() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        cargo(&root().join("Cargo.toml"), &["--package", "leasehold", "--profile", profile]);
        // target/debug/deps/the_test-0123456789abcdef
        let test = std::env::current_exe().expect("the test's own path is known");
        let folder = test.ancestors().nth(2).expect("a test is two folders below its profile's");
        [folder.join("leasehold"), test.with_file_name("leasehold")]
            .into_iter()
            .find(|path| path.is_file())
            .expect("cargo has put leasehold beside the test")
    })
}

/// The component of this name in guest-examples.
pub fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let examples = root().join("guest-examples");
        cargo(&examples.join("Cargo.toml"), &["--release", "--target", "wasm32-wasip2"]);
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
        target.join("wasm32-wasip2/release")
    });
    let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
    assert!(path.is_file(), "guest-examples has no {name}: {} is missing", path.display());
    path
}

fn cargo(manifest: &Path, args: &[&str]) {
    let mut build = Command::new(env!("CARGO"));
    // What the cargo that runs the tests says of their package is not for this one. Build scripts
    // (ring's) would take it for a change, and much would be built again, here and back there.
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_", "CARGO_CRATE_", "CARGO_BIN_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix))) {
            build.env_remove(name);
        }
    }
    let output = build
        .args(["build", "--quiet", "--manifest-path"])
        .arg(manifest)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build {args:?} of {}: {stderr}", manifest.display());
}

/// The folder with kube-apiserver and etcd, built once into a cache outside of the checkout.
pub fn control_plane_binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = Command::new(root().join("tests/cluster/binaries"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/cluster/binaries starts");
        assert!(output.status.success(), "tests/cluster/binaries has failed; its words are above");
        String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
    })
}
