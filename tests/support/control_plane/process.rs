//! The child processes of a control plane.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
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

    pub(super) fn id(&self) -> u32 {
        self.child.id()
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
