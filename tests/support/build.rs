//! What the tests run, built by cargo once per test process, so that it is never out of date.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository's root")
}

/// The command `leasehold`, built with the profile of the test that asks; or the one that `LEASEHOLD_TEST_HOST` names.
pub fn leasehold() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(named) = std::env::var_os("LEASEHOLD_TEST_HOST") {
            let named = PathBuf::from(named);
            assert!(named.is_file(), "LEASEHOLD_TEST_HOST={} is no file", named.display());
            return named;
        }
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

/// The program of this name in guest-examples, for this machine.
pub fn native(name: &str) -> PathBuf {
    let examples = root().join("guest-examples");
    cargo(&examples.join("Cargo.toml"), &["--release", "--package", name]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join("release").join(name)
}

/// The guest of this name in guest-examples with its debug information.
pub fn guest_with_lines(name: &str) -> PathBuf {
    let examples = root().join("guest-examples");
    cargo(&examples.join("Cargo.toml"), &["--target", "wasm32-wasip2", "--package", name]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join(format!("wasm32-wasip2/debug/{}.wasm", name.replace('-', "_")))
}

/// The guest of this name in guest-examples, as small as Rust makes it.
pub fn small_guest(name: &str) -> PathBuf {
    let examples = root().join("guest-examples");
    cargo(&examples.join("Cargo.toml"), &["--profile", "small", "--target", "wasm32-wasip2", "--package", name]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join(format!("wasm32-wasip2/small/{}.wasm", name.replace('-', "_")))
}

/// The guest of this name in guest-examples, as a core module of WASI preview 1.
pub fn preview1(name: &str) -> PathBuf {
    let examples = root().join("guest-examples");
    cargo(&examples.join("Cargo.toml"), &["--release", "--target", "wasm32-wasip1", "--package", name]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join(format!("wasm32-wasip1/release/{}.wasm", name.replace('-', "_")))
}

/// `deploy/`, as a copy in `folder`, with the modules that `deploy/modules` puts there.
pub fn copy_of_deploy(folder: &Path) -> PathBuf {
    let copy = folder.join("deploy");
    copy_folder(&root().join("deploy"), &copy);
    let output = apart_from_this_cargo(&mut Command::new(root().join("deploy/modules")))
        .arg(&copy)
        .stdin(Stdio::null())
        .output()
        .expect("deploy/modules starts");
    assert!(output.status.success(), "deploy/modules: {}", String::from_utf8_lossy(&output.stderr));
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder that can be read") {
        let entry = entry.expect("a folder that can be read");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("it is there").is_dir() {
            copy_folder(&entry.path(), &to);
        } else if entry.path().extension().is_none_or(|extension| extension != "wasm") {
            // Modules that somebody has built in the checkout may be old.
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// The elector made with client-go (tests/peers/client-go): static, so that it runs in an image of its own.
pub fn client_go() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let binary = of_tests("client-go");
        let built = Command::new("go")
            .current_dir(root().join("tests/peers/client-go"))
            .env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&binary)
            .arg(".")
            .stdin(Stdio::null())
            .status()
            .expect("Go is on the PATH: https://go.dev/dl has it");
        assert!(built.success(), "tests/peers/client-go does not build; why is said above");
        binary
    })
}

/// Where in the target folder a test may keep what it builds without cargo.
pub fn of_tests(name: &str) -> PathBuf {
    // target/debug/deps/the_test-0123456789abcdef
    let test = std::env::current_exe().expect("the test's own path is known");
    let folder = test.ancestors().nth(2).expect("a test is two folders below its profile's").join("of-tests");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder.join(name)
}

/// Takes out of the environment what the cargo that runs the tests says of their package. Build
/// scripts (ring's) would take it for a change, and much would be built again, here and back there.
pub fn apart_from_this_cargo(command: &mut Command) -> &mut Command {
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_", "CARGO_CRATE_", "CARGO_BIN_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

fn cargo(manifest: &Path, args: &[&str]) {
    let output = apart_from_this_cargo(&mut Command::new(env!("CARGO")))
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

/// kubectl: the one beside the API server; where `KUBEBUILDER_ASSETS` has none, the machine's own.
pub fn kubectl() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let of_path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&of_path);
        std::iter::once(control_plane_binaries().to_owned())
            .chain(folders)
            .map(|folder| folder.join("kubectl"))
            .find(|path| path.is_file())
            .expect("there is a kubectl in KUBEBUILDER_ASSETS, or on the PATH")
    })
}

/// A guest under a digest of its own: a custom section, which nobody reads, says which of many it is.
pub fn stamped(name: &str, stamp: u32) -> Vec<u8> {
    let mut bytes = fs::read(guest(name)).expect("it was built");
    // Section 0, of ten bytes: a name of five, and four of content.
    bytes.extend([0, 10, 5]);
    bytes.extend(b"stamp");
    bytes.extend(stamp.to_le_bytes());
    bytes
}
