//! Who cleans up after a test process that cannot do it itself any more.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// A shell that outlives the test process where that dies without cleaning up: the pipe from there
/// closes, and the shell kills the processes it was told of and removes the folder.
///
/// A parent-death signal would need `unsafe` or `setpriv`, would come when the thread that started
/// the child ends (a test's, mostly), and would leave the folder.
pub struct Guardian(Child);

impl Guardian {
    const SCRIPT: &str = "
        while read -r line; do pids=$line; done
        kill -KILL $pids
        # A process that is just dying may still add a file.
        for attempt in 1 2 3 4 5; do
            rm -rf -- \"$1\" && exit
            sleep 1
        done";

    /// Over this folder, and as yet over no process.
    ///
    /// # Errors
    /// There is no `sh`.
    pub fn over(folder: &Path) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", Self::SCRIPT, "leasehold-test-guardian"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C and a test runner's time limit kill the whole group of the test process.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        Ok(Self(child))
    }

    /// From now on these are the processes to kill, by their ids, and no others. An id that is not
    /// here any more may be reaped: it can become another process's.
    ///
    /// # Errors
    /// The shell has ended.
    pub fn watch_over(&mut self, processes: &[u32]) -> Result<()> {
        let ids: Vec<_> = processes.iter().map(ToString::to_string).collect();
        let pipe = self.0.stdin.as_mut().context("the guardian has no pipe")?;
        // In one write, so that a line is there as a whole or not at all.
        let line = ids.join(" ") + "\n";
        pipe.write_all(line.as_bytes()).context("the guardian has ended")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // By SIGKILL, and before the pipe closes: it must not do its work now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
