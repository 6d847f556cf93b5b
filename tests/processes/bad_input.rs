//! Mistakes, each answered with one message that says what is wrong, where, and what to do;
//! with the exit code that goes with it; and before any lease is touched.

mod calls;
mod clusters;
mod coordinated;
mod modules;

use std::{
    fs,
    path::{Path, PathBuf},
};

use leasehold_tests::host_process::{Said, leasehold};
use tempfile::TempDir;

/// A mistake in the call, the config or the module.
const MISTAKE: i32 = 2;
/// Anything else that keeps the host from its work.
const FAILED: i32 = 1;

/// What only a dump of a program's insides has.
const RAW: [&str; 7] = ["panicked", "stack backtrace", "Some(", "Err(", "{ code:", "Error {", "<input>"];

/// A folder for one call's files. Relative paths in messages would hide which file is meant.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).expect("written");
        self.text(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a temporary folder's path is UTF-8").to_owned()
    }

    fn leases(&self) -> PathBuf {
        self.path("leases")
    }

    fn lease_store(&self) -> String {
        format!("file:{}", self.leases().display())
    }

    /// `leasehold run` with a lease in this folder, which must stay untouched.
    fn refuses_to_run(&self, args: &[&str], code: i32, says: &[&str]) {
        let store = self.lease_store();
        refused(&[&["run", "--lease-store", &store], args].concat(), &[], code, says);
        self.has_no_lease();
    }

    /// `leasehold run --config` with this text; `{leases}` and `{good}` stand for paths.
    fn refuses_config(&self, text: &str, says: &[&str]) {
        let text = text.replace("{leases}", &self.leases().display().to_string()).replace("{good}", good());
        let config = self.write("host.yaml", text);
        let says: Vec<_> = says.iter().copied().chain([&*config]).collect();
        refused(&["run", "--config", &config], &[], MISTAKE, &says);
        self.has_no_lease();
    }

    fn has_no_lease(&self) {
        assert!(!self.leases().exists(), "{} was made", self.leases().display());
    }
}

/// A module that could be run.
fn good() -> &'static str {
    use std::sync::OnceLock;
    static GOOD: OnceLock<PathBuf> = OnceLock::new();
    let path: &Path = GOOD.get_or_init(|| leasehold_tests::build::guest("parked"));
    path.to_str().expect("the checkout's path is UTF-8")
}

/// Runs `leasehold`, which ends with `code` and one message with all of this in it.
fn refused(args: &[&str], env: &[(&str, &str)], code: i32, says: &[&str]) {
    let Said { code: ended, stdout, stderr } = leasehold(args, env);
    let call = format!("leasehold {args:?} ended with {ended:?} and said:\n{stderr}\n(stdout: {stdout})");
    assert_eq!(ended, Some(code), "{call}");
    let messages = stderr.lines().filter(|line| line.contains("error:")).count();
    assert!(stderr.starts_with("error: ") && messages == 1, "one message: {call}");
    for wanted in says {
        assert!(stderr.contains(wanted), "no {wanted:?}: {call}");
    }
    for raw in RAW {
        assert!(!stderr.contains(raw), "raw {raw:?}: {call}");
    }
    assert!(!stdout.contains("WARN") && !stdout.contains("ERROR"), "nothing in the log beside it: {call}");
    assert!(!stdout.contains("candidate"), "it competed: {call}");
}
