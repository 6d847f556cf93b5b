//! The five hosts as processes, each with its own way to the API server, and what is done to them.
//! All of it is told to the history in the order in which it is certain.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use leasehold_tests::{build, guardian::Guardian, network::Network};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{
    history::{History, Note, Wanted},
    plan::HOSTS,
};

/// Short, so that much happens in a minute; long enough for a busy machine.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
pub(crate) const RETRY: Duration = Duration::from_millis(500);
const TIMING: [&str; 6] = ["--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "500ms"];

/// One replica: a process, and after its end another one.
pub(crate) struct Host {
    letter: char,
    module: String,
    kubeconfig: PathBuf,
    pub(crate) network: Network,
    boots: usize,
    state: State,
}

enum State {
    Down { until: Instant },
    Up(Process),
}

struct Process {
    name: String,
    child: Child,
    stopped: bool,
    asked_to_end: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine; nothing else can fail for a child of ours. One that is stopped dies as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process exists until it is waited for");
    }
}

impl Host {
    pub(crate) fn new(letter: char, module: String, kubeconfig: PathBuf, network: Network) -> Self {
        Self { letter, module, kubeconfig, network, boots: 0, state: State::Down { until: Instant::now() } }
    }

    /// That of its process, which every boot has another one of.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.state {
            State::Up(process) => Some(&process.name),
            State::Down { .. } => None,
        }
    }
}

/// All of them.
pub(crate) struct Hosts {
    // Their processes end before they are looked after no more.
    pub(crate) hosts: Vec<Host>,
    stderr: File,
    guardian: Guardian,
    /// No process is started again.
    pub(crate) last_boot: bool,
}

impl Hosts {
    /// `stderr` is where they tell why they could not start.
    pub(crate) fn new(hosts: Vec<Host>, folder: &Path, stderr: &Path) -> Result<Self> {
        let stderr = File::options().create(true).append(true).open(stderr)?;
        Ok(Self { hosts, stderr, guardian: Guardian::over(folder)?, last_boot: false })
    }

    /// Those whose time it is are started.
    pub(crate) fn start(&mut self, history: &History) -> Result<()> {
        for host in &mut self.hosts {
            let State::Down { until } = host.state else { continue };
            if self.last_boot || until > Instant::now() {
                continue;
            }
            host.boots += 1;
            let name = format!("{}-{}", host.letter, host.boots);
            let child = Command::new(build::leasehold())
                .args(["run", &host.module, "--lease", "task", "--identity", &name, "--log-format", "json"])
                .args(TIMING)
                .args(["--stop-grace", "300ms"])
                .env("KUBECONFIG", &host.kubeconfig)
                .env_remove("RUST_LOG")
                .stdin(Stdio::null())
                .stdout(history.stdout()?)
                .stderr(self.stderr.try_clone()?)
                .spawn()
                .context("cannot start leasehold")?;
            host.state = State::Up(Process { name, child, stopped: false, asked_to_end: false });
        }
        self.tell_guardian()
    }

    /// Those that are down are started now.
    pub(crate) fn start_all_now(&mut self, history: &History) -> Result<()> {
        for host in &mut self.hosts {
            if let State::Down { until } = &mut host.state {
                *until = Instant::now();
            }
        }
        self.start(history)
    }

    /// SIGSTOP, and waits until nothing of it runs any more; says whether it was possible.
    pub(crate) fn stop(&mut self, index: usize, history: &History) -> bool {
        let State::Up(process) = &mut self.hosts[index].state else { return false };
        if process.stopped {
            return false;
        }
        process.signal(Signal::STOP);
        // Where it has just ended there is nothing to wait for, which is an error.
        process.stopped = waitid(WaitId::Pid(process.pid()), WaitIdOptions::STOPPED).is_ok();
        if process.stopped {
            history.note(Note::Stopped, &process.name);
        }
        process.stopped
    }

    /// SIGCONT, where it is stopped and still the same.
    pub(crate) fn go_on(&mut self, index: usize, history: &History) {
        if let State::Up(process) = &mut self.hosts[index].state
            && process.stopped
        {
            history.note(Note::GoesOn, &process.name);
            process.stopped = false;
            process.signal(Signal::CONT);
        }
    }

    /// SIGTERM; says whether it was possible. A process that is stopped hears of it when it goes on.
    pub(crate) fn terminate(&mut self, index: usize, history: &History) -> bool {
        let State::Up(process) = &mut self.hosts[index].state else { return false };
        if process.asked_to_end {
            return false;
        }
        history.note(Note::Did, &format!("SIGTERM for {}", process.name));
        process.asked_to_end = true;
        process.signal(Signal::TERM);
        true
    }

    /// SIGKILL; says whether it was possible.
    pub(crate) fn kill(&mut self, index: usize, down: Duration, history: &History) -> Result<bool> {
        let State::Up(process) = &mut self.hosts[index].state else { return Ok(false) };
        process.child.kill()?;
        waitid(WaitId::Pid(process.pid()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        self.bury(index, Some(Wanted::Killed), down, history)?;
        Ok(true)
    }

    /// Finds those that have ended. Each is down for so long then.
    pub(crate) fn reap(&mut self, down: [Duration; HOSTS], history: &History) -> Result<()> {
        for (index, down) in down.into_iter().enumerate() {
            let State::Up(process) = &self.hosts[index].state else { continue };
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(process.pid()), options)?.is_some() {
                self.bury(index, None, down, history)?;
            }
        }
        Ok(())
    }

    /// Of one that has ended: first the guardian forgets its id, which may be another's afterwards.
    fn bury(&mut self, index: usize, wanted: Option<Wanted>, down: Duration, history: &History) -> Result<()> {
        let buried = std::mem::replace(&mut self.hosts[index].state, State::Down { until: Instant::now() + down });
        let State::Up(mut process) = buried else { return Ok(()) };
        self.tell_guardian()?;
        let status = process.child.wait()?;
        let wanted = wanted.unwrap_or(if process.asked_to_end { Wanted::Asked } else { Wanted::Nothing });
        history.note_end(&process.name, wanted, status.code());
        Ok(())
    }

    fn tell_guardian(&mut self) -> Result<()> {
        let ids = self.hosts.iter().filter_map(|host| match &host.state {
            State::Up(process) => Some(process.child.id()),
            State::Down { .. } => None,
        });
        let ids: Vec<_> = ids.collect();
        self.guardian.watch_over(&ids)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter_map(Host::name)
    }
}
