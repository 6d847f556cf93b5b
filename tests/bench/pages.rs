//! What status pages cost the thread that renews: a host with a thousand tasks, each of which prints a line a second and
//! reports progress, and nobody, one page or all there may be looking. A page is two event streams.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build,
    host_process::PATIENCE,
    table::{Samples, table},
};
use serde_json::{Value, json};

const TASKS: usize = 1000;
const PAGES_MAX: usize = 16;
const MEASURED: Duration = Duration::from_secs(20);
const SETTLED_AFTER: Duration = Duration::from_secs(3);

pub(crate) fn pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let task = |index: usize| {
        json!({
            "name": format!("task-{index}"),
            "module": build::guest("prints"),
            "args": [format!("item {index} is done")],
            "limits": {"progressDeadline": "60s"},
            "lease": {"duration": "120s", "renewDeadline": "90s", "retryPeriod": "5s"},
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    let store = format!("file:{}", folder.path().join("leases").display());
    let config = folder.path().join("host.yaml");
    let text = json!({"leaseStore": store, "identity": "only", "admin": "127.0.0.1:0", "tasks": tasks});
    fs::write(&config, text.to_string()).expect("written");
    let mut command = Command::new(build::leasehold());
    // Into a file: a thousand lines a second are not to wait for who reads them here.
    let log = folder.path().join("log");
    command.args(["run", "--log-format", "json", "--config"]).arg(config).stdout(File::create(&log).expect("a file"));
    let host = Host(command.spawn().expect("leasehold starts"));
    let lines_with = |what: &str| -> Vec<String> {
        let log = fs::read_to_string(&log).expect("text");
        log.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    };
    let begun = Instant::now();
    while lines_with("\"guest-started\"").len() < TASKS {
        assert!(begun.elapsed() < PATIENCE, "its tasks do not start");
        thread::sleep(Duration::from_millis(200));
    }
    let admin: Value = serde_json::from_str(&lines_with("\"admin\"")[0]).expect("JSON");
    let address = admin["address"].as_str().expect("an address").to_owned();

    let received = Arc::new(AtomicU64::new(0));
    let mut rows = table(&["pages", "its CPU, of a core", "sent a second", "/livez p50", "/livez p99"]);
    let mut open = 0;
    for pages in [0, 1, PAGES_MAX] {
        for page in open..pages {
            for path in ["/tasks/events".to_owned(), format!("/tasks/task-{page}/events")] {
                let (address, received) = (address.clone(), received.clone());
                // Until the host ends.
                thread::spawn(move || read(&address, &path, &received));
            }
        }
        open = pages;
        thread::sleep(SETTLED_AFTER);
        let (cpu, bytes, begun) =
            (cpu_of_control_thread(host.0.id()), received.load(Ordering::Relaxed), Instant::now());
        let mut answers = Samples::new();
        while begun.elapsed() < MEASURED {
            let asked = Instant::now();
            read(&address, "/livez", &AtomicU64::new(0));
            answers.add_micros(i64::try_from(asked.elapsed().as_micros()).unwrap_or(i64::MAX));
            thread::sleep(Duration::from_millis(20));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = (cpu_of_control_thread(host.0.id()) - cpu).as_secs_f64() / seconds;
        let bytes = (received.load(Ordering::Relaxed) - bytes) as f64 / seconds / 1024.0;
        rows.add_row([
            pages.to_string(),
            format!("{:.1} %", cpu * 100.0),
            format!("{bytes:.0} KiB"),
            format!("{:.1}", answers.p50_ms()),
            format!("{:.1}", answers.p99_ms()),
        ]);
    }
    println!("{TASKS} tasks that print and report, on the thread that renews their Leases:\n");
    println!("{rows}\n");
}

/// Ended when it is dropped.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that comes.
fn read(address: &str, path: &str, received: &AtomicU64) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
    let mut buffer = [0; 64 * 1024];
    // An error is the host's end.
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// The thread that a process begins with (Linux).
fn cpu_of_control_thread(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("this is Linux");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}
