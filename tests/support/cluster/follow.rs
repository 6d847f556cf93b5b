//! Where Pods' log lines come from: threads that read files as they grow, or `kubectl logs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::pod_logs::{ContainerRun, PodEvent};
use crate::event_log::EventLog;

/// How often files are looked at. A line's time is its own, so this only delays whoever waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the API server is asked for new containers.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// A file that was removed is read for this long after its last line: its container has ended.
const READ_AFTER_REMOVAL: Duration = Duration::from_secs(2);

type Log = Arc<EventLog<PodEvent>>;

/// The threads; they end when this is dropped.
pub(super) struct Following {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    namespaces: Mutex<BTreeSet<String>>,
    children: Mutex<Vec<Child>>,
}

impl Following {
    /// Every file below the nodes' log folders, which are named
    /// NAMESPACE_POD_UID/CONTAINER/RESTARTS.log.
    pub(super) fn files(folders: Vec<PathBuf>, log: Log) -> Self {
        Self::start(move |shared| {
            let mut files = BTreeMap::new();
            while !shared.ended.load(Ordering::Relaxed) {
                for folder in &folders {
                    match open_new(folder, &mut files) {
                        // Folders come and go while they are read: what is missed now is seen the next time.
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            eprintln!("the logs in {} are not read: {error}", folder.display());
                        }
                        _ => {}
                    }
                }
                files.retain(|_, file| file.read_on(&log));
                thread::sleep(LOOK_EVERY);
            }
        })
    }

    /// What `kubectl logs --follow` prints, for every container in the namespaces that are added.
    pub(super) fn kubectl(kubectl: Command, log: Log) -> Self {
        Self::start(move |shared| {
            let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
            while !shared.ended.load(Ordering::Relaxed) {
                let namespaces = lock(&shared.namespaces).clone();
                for namespace in namespaces {
                    if let Err(error) = follow_new(&kubectl, &namespace, &mut seen, shared, &log) {
                        let error = format!("the logs in {namespace} are not read: {error:#}");
                        // Once, for it is tried again and again.
                        if told.insert(error.clone()) {
                            eprintln!("{error}");
                        }
                    }
                }
                thread::sleep(ASK_EVERY);
            }
        })
    }

    fn start(run: impl FnOnce(&Shared) + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = thread::Builder::new().name("pod-logs".into()).spawn(move || run(&of_thread));
        Self { shared, thread: Some(thread.expect("a thread")) }
    }

    pub(super) fn add_namespace(&self, namespace: &str) {
        lock(&self.shared.namespaces).insert(namespace.to_owned());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was already told, and nothing of it is needed any more.
            let _ = thread.join();
        }
        for child in &mut *lock(&self.shared.children) {
            // One that has ended by itself cannot be killed, which is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log file, open for as long as it has anything to say.
struct LogFile {
    run: Arc<ContainerRun>,
    file: File,
    /// What was read of a line that has no end yet.
    rest: Vec<u8>,
    /// A container's line, of which the runtime has written parts so far.
    parts: String,
    last_line: Instant,
}

fn open_new(folder: &Path, files: &mut BTreeMap<PathBuf, LogFile>) -> io::Result<()> {
    for pod in fs::read_dir(folder)? {
        let pod = pod?.path();
        let Some([namespace, name, uid]) = parts_of_name(&pod) else { continue };
        for container in fs::read_dir(&pod)? {
            let container = container?.path();
            for path in fs::read_dir(&container)? {
                let path = path?.path();
                if files.contains_key(&path) {
                    continue;
                }
                let text = |path: &Path| path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                // Beside them are files that were rotated away, which have been read.
                let (Some("log"), Ok(restarts)) = (path.extension().and_then(|end| end.to_str()), text(&path).parse())
                else {
                    continue;
                };
                let run = ContainerRun {
                    namespace: namespace.clone(),
                    pod: name.clone(),
                    uid: uid.clone(),
                    container: text(&container),
                    restarts,
                };
                let file = File::open(&path)?;
                let file =
                    LogFile { run: run.into(), file, rest: vec![], parts: String::new(), last_line: Instant::now() };
                files.insert(path, file);
            }
        }
    }
    Ok(())
}

fn parts_of_name(pod: &Path) -> Option<[String; 3]> {
    let parts: Vec<_> = pod.file_name()?.to_str()?.split('_').map(str::to_owned).collect();
    parts.try_into().ok()
}

impl LogFile {
    /// Whether there may be more.
    fn read_on(&mut self, log: &Log) -> bool {
        let before = self.rest.len();
        if let Err(error) = self.file.read_to_end(&mut self.rest) {
            eprintln!("the log of {} cannot be read: {error}", self.run.pod);
            return false;
        }
        if self.rest.len() == before {
            let removed = self.file.metadata().is_ok_and(|file| file.nlink() == 0);
            return !removed || self.last_line.elapsed() < READ_AFTER_REMOVAL;
        }
        self.last_line = Instant::now();
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            // TIME STREAM TAG TEXT; the tag is P where the runtime had to divide the line.
            let mut fields = line.splitn(4, ' ');
            let (Some(time), Some(_), Some(tag)) = (fields.next(), fields.next(), fields.next()) else { continue };
            self.parts.push_str(fields.next().unwrap_or_default());
            if tag != "P" {
                log.push(PodEvent::new(&self.run, time, &self.parts));
                self.parts.clear();
            }
        }
        true
    }
}

/// Follows the containers that run and are not followed yet.
fn follow_new(
    kubectl: &Command,
    namespace: &str,
    seen: &mut BTreeSet<(String, String, u32)>,
    shared: &Shared,
    log: &Log,
) -> Result<()> {
    let output = again(kubectl).args(["--namespace", namespace, "get", "pods", "--output=json"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A list as kubectl makes it, which the type for the API's own does not take.
    let mut list: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let pods: Vec<Pod> = serde_json::from_value(list["items"].take())?;
    for pod in pods {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
        for status in statuses {
            let state = status.state.unwrap_or_default();
            let run = ContainerRun {
                namespace: namespace.to_owned(),
                pod: pod.name_any(),
                uid: pod.uid().unwrap_or_default(),
                container: status.name,
                restarts: u32::try_from(status.restart_count)?,
            };
            let key = (run.uid.clone(), run.container.clone(), run.restarts);
            if (state.running.is_none() && state.terminated.is_none()) || !seen.insert(key) {
                continue;
            }
            let mut following = again(kubectl)
                .args(["--namespace", namespace, "logs", "--follow", "--timestamps", "--container", &run.container])
                .arg(&run.pod)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let lines = following.stdout.take().context("stdout is piped")?;
            lock(&shared.children).push(following);
            let (log, run) = (log.clone(), Arc::new(run));
            thread::spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    if let Some((time, text)) = line.split_once(' ') {
                        log.push(PodEvent::new(&run, time, text));
                    }
                }
            });
        }
    }
    Ok(())
}

/// The same call once more.
fn again(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.args(command.get_args());
    same
}
