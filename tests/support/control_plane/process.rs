//! The child processes of a control plane, and who cleans up after them.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A child that is killed and reaped when dropped, and logs into a file beside its data.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `name` out of `binaries`, in `folder`.
    pub(super) fn start(binaries: &Path, folder: &Path, name: &'static str, arguments: &[String]) -> Result<Self> {
        let program = binaries.join(name);
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(&program)
            .args(arguments)
            // etcd takes its settings from the environment, too.
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| {
                let program = program.display();
                format!("cannot run {program} (tests/cluster/binaries builds it)")
            })?;
        Ok(Self { name, child, log })
    }

    /// SIGKILL. It is reaped when this is dropped.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    pub(super) fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// The end of its log, for an error message.
    pub(super) fn log_tail(&self) -> String {
        const LENGTH: u64 = 4096;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => format!("the end of the log of {}:\n{}", self.name, String::from_utf8_lossy(&tail)),
            Err(error) => format!("the log of {} cannot be read: {error}", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only where the process has ended and is reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell that outlives the test process where that dies without cleaning up: the pipe from there
/// closes, and the shell kills the processes it was told of and removes the folder.
///
/// A parent-death signal would need `unsafe` or `setpriv`, would come when the thread that started
/// the child ends (a test's, mostly), and would leave the folder.
pub(super) struct Guardian(Child);

impl Guardian {
    const SCRIPT: &str = "
        while read -r line; do pids=$line; done
        kill -KILL $pids
        # A process that is just dying may still add a file.
        for attempt in 1 2 3 4 5; do
            rm -rf -- \"$1\" && exit
            sleep 1
        done";

    pub(super) fn over(folder: &Path) -> Result<Self> {
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

    /// From now on these are the processes to kill, and no others.
    pub(super) fn watch_over(&mut self, processes: &[&Process]) -> Result<()> {
        let ids: Vec<_> = processes.iter().map(|p| p.child.id().to_string()).collect();
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
