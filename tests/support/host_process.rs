//! A `leasehold` as a process of its own, and what it logs.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{
    build,
    event_log::{Event, EventLog, NotLogged},
};

/// How long to wait for what must happen, on a busy machine, where a component of 18 MB can take 80 s to compile.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Ended, with SIGKILL and without having been asked, when it is dropped.
pub struct HostProcess {
    name: String,
    child: Child,
    log: Arc<EventLog<Event>>,
}

impl HostProcess {
    /// `leasehold run` with these arguments; `name` becomes the identity's beginning.
    pub fn run(name: &str, module: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(build::leasehold());
        command.arg("run").arg(module).args(["--identity", name, "--log-format", "json"]).args(args);
        Self::spawn(name, command)
    }

    /// `leasehold run` with a Lease in a folder.
    pub fn run_in_folder(name: &str, module: &Path, folder: &Path, args: &[&str]) -> Self {
        let store = format!("file:{}", folder.display());
        Self::run(name, module, &[&["--lease-store", &store], args].concat())
    }

    /// `leasehold run` with a Lease in the cluster of this kubeconfig.
    pub fn run_in_cluster(name: &str, module: &Path, kubeconfig: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(build::leasehold());
        command.env("KUBECONFIG", kubeconfig);
        command.arg("run").arg(module).args(["--identity", name, "--log-format", "json"]).args(args);
        Self::spawn(name, command)
    }

    /// A host started by `command`, which has to write JSON lines to stdout. Its stderr is the test's own,
    /// where `command` does not say otherwise.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            // Where the tests run in a Pod, the hosts do not.
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("leasehold starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let log = Arc::new(EventLog::default());
        let reading = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = Event::parse(line.as_bytes()) else { continue };
                reading.push(event);
            }
            reading.end();
        });
        Self { name: name.to_owned(), child, log }
    }

    /// What it has logged so far.
    pub fn events(&self) -> Vec<Event> {
        self.log.look(<[Event]>::to_vec)
    }

    /// All that it has logged. To be asked after its end: waits until the last line is read.
    ///
    /// # Panics
    /// Somebody keeps its stdout open.
    pub fn all_events(&self) -> Vec<Event> {
        let never = self.log.wait_until(PATIENCE, |_| None::<()>);
        assert_eq!(never, Err(NotLogged::Ended), "{}: its stdout is still open", self.name);
        self.events()
    }

    /// What it has logged so far under this event's name.
    pub fn events_named(&self, name: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.name() == name).collect()
    }

    /// How many lines it has logged so far under this event's name.
    pub fn count(&self, name: &str) -> usize {
        self.log.look(|events| events.iter().filter(|event| event.name() == name).count())
    }

    /// The last so many lines of its log, for a person.
    pub fn last_lines(&self, count: usize) -> String {
        self.log.look(|events| Shown(&events[events.len().saturating_sub(count)..]).to_string())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line, from the beginning, that `is` takes.
    ///
    /// # Panics
    /// It does not come within [`PATIENCE`], or the process ends without it.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Event) -> bool) -> Event {
        self.wait_until(what, |events| events.iter().find(|event| is(event)).cloned())
    }

    /// Waits for the `count`th line with this event's name.
    ///
    /// # Panics
    /// As [`HostProcess::wait_for`].
    pub fn wait_for_event(&self, name: &str, count: usize) -> Event {
        self.wait_until(&format!("event {name}, number {count}"), |events| {
            events.iter().filter(|event| event.name() == name).nth(count - 1).cloned()
        })
    }

    /// Waits until `found` finds something in all that was logged.
    ///
    /// # Panics
    /// As [`HostProcess::wait_for`].
    pub fn wait_until<T>(&self, what: &str, found: impl Fn(&[Event]) -> Option<T>) -> T {
        self.wait_within(PATIENCE, what, found)
    }

    /// The same, for what may take longer than all else.
    ///
    /// # Panics
    /// It does not come within `patience`, or the process ends without it.
    pub fn wait_within<T>(&self, patience: Duration, what: &str, found: impl Fn(&[Event]) -> Option<T>) -> T {
        let found = self.log.wait_until(patience, found);
        found.unwrap_or_else(|why| {
            panic!("{}: no {what}: {why}. Its log:\n{}", self.name, Shown(&self.events()));
        })
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process exists until it is waited for");
    }

    /// SIGSTOP, and waits until nothing of it runs any more.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).expect("it is a child of ours, and stopped now");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not end. Its log:\n{}", self.name, Shown(&self.events()));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be waited for").is_none()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Already gone is fine; nothing else can fail for a child of ours.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.name, Shown(&self.events()));
        }
    }
}

struct Shown<'a>(&'a [Event]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

/// What a `leasehold` that ended at once has said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// Runs `leasehold` until it ends by itself.
///
/// # Panics
/// It does not within [`PATIENCE`].
pub fn leasehold(args: &[&str], env: &[(&str, &str)]) -> Said {
    let mut child = Command::new(build::leasehold())
        .args(args)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", "/nonexistent")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("leasehold starts");
    let begun = Instant::now();
    while child.try_wait().expect("the process can be waited for").is_none() {
        if begun.elapsed() > PATIENCE {
            // It is ours and has to go before the test fails.
            let _ = child.kill();
            panic!("leasehold {args:?} does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let read = |stream: Option<&mut dyn Read>| {
        let mut text = String::new();
        stream.expect("it is piped").read_to_string(&mut text).expect("it is UTF-8");
        text
    };
    let stdout = read(child.stdout.as_mut().map(|stream| stream as &mut dyn Read));
    let stderr = read(child.stderr.as_mut().map(|stream| stream as &mut dyn Read));
    let code = child.wait().expect("the process can be waited for").code();
    Said { code, stdout, stderr }
}
