//! A Java program as a child process, and the lines that it writes.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{event_log::EventLog, host_process::PATIENCE};
use rustix::process::{Pid, Signal, kill_process};

/// Ended, with SIGKILL and without having been asked, when it is dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    log: Arc<EventLog<String>>,
}

/// `java`, with no more memory than this, and quick to begin. `built` has `classes/` and `lib/`.
pub(crate) fn java(built: &Path, megabytes: u32) -> Command {
    let mut java = Command::new("java");
    java.arg(format!("-Xmx{megabytes}m")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    java.arg(format!("{0}/classes:{0}/lib/*", built.display()));
    java
}

impl Program {
    /// Starts it; `hears` is called with each line of its stdout.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        stderr: &File,
        hears: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let stderr = stderr.try_clone().expect("a file");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("java is on the PATH");
        let stdout = child.stdout.take().expect("stdout is piped");
        let log = Arc::new(EventLog::default());
        let reading = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                hears(&line);
                reading.push(line);
            }
            reading.end();
        });
        Self { name: name.to_owned(), child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins like this.
    ///
    /// # Panics
    /// It does not come, or the program ends without it.
    pub(crate) fn wait_for(&self, words: &str) {
        let found =
            self.log.wait_until(PATIENCE, |lines| lines.iter().any(|line| line.starts_with(words)).then_some(()));
        found.unwrap_or_else(|why| panic!("{}: no {words:?}: {why}. Its lines:\n{}", self.name, self.last_lines()));
    }

    pub(crate) fn last_lines(&self) -> String {
        self.log.look(|lines| lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// Sends a signal; it was not waited for before.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process exists until it is waited for");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within [`PATIENCE`].
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not end. Its lines:\n{}", self.name, self.last_lines());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone is fine; nothing else can fail for a child of ours. One that is stopped dies as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the last lines of {}:\n{}", self.name, self.last_lines());
        }
    }
}
