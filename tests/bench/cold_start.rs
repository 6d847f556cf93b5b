//! From the start of a host to all its tasks being ready, with the cache of compiled modules cold and warm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build, from_env,
    host_process::{HostProcess, PATIENCE, leasehold},
    table::{Samples, table},
};
use rustix::process::Signal;
use tempfile::TempDir;

/// With so many, some cold starts on a busy machine take minutes.
const LONG: Duration = Duration::from_secs(600);

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

struct Scene {
    folder: TempDir,
    modules: Vec<PathBuf>,
}

impl Scene {
    /// So many modules, none of which is another: a custom section tells them apart, and is not compiled.
    fn new(count: u8) -> Self {
        let folder = TempDir::new().expect("a folder");
        let guest = fs::read(build::guest("heartbeat")).expect("it was built");
        let module = |number: u8| {
            let path = folder.path().join(format!("task-{number}.wasm"));
            let own = [&guest[..], &[0, 3, 1, b'n', number]].concat();
            fs::write(&path, own).expect("written");
            path
        };
        Self { modules: (0..count).map(module).collect(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A host with a task for each module, started and ready: how long that took, and how many came from the cache.
    fn start(&self, cache: Option<&Path>) -> (i64, usize) {
        let mut text = format!("leaseStore: file:{}\n", self.path("leases").display());
        if let Some(cache) = cache {
            text += &format!("cache: {}\n", cache.display());
        }
        text += "tasks:\n";
        for (number, module) in self.modules.iter().enumerate() {
            text += &format!("- {{name: task-{number}, module: {}, env: {{BEAT_MS: '3600000'}}}}\n", module.display());
        }
        let config = self.path("host.yaml");
        fs::write(&config, text).expect("written");
        let mut command = Command::new(build::leasehold());
        command.args(["run", "--log-format", "json", "--config"]).arg(config);
        let begun = Instant::now();
        let mut host = HostProcess::spawn("bench", command);
        while host.count("module-loaded") < self.modules.len() {
            assert!(begun.elapsed() < LONG && host.is_running(), "{}", host.last_lines(5));
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = micros(begun);
        let cached = host.events_named("module-loaded").iter().filter(|event| event.line["cached"] == true).count();
        host.signal(Signal::TERM);
        let ending = Instant::now();
        while host.is_running() {
            assert!(ending.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        (took, cached)
    }

    /// What there is no way around: the process, and reading and hashing each module.
    fn limit(&self) -> i64 {
        let begun = Instant::now();
        leasehold(&["wit"], &[]);
        for module in &self.modules {
            leasehold::guest::module::digest(&fs::read(module).expect("it is there"));
        }
        micros(begun)
    }
}

/// Prints the table.
pub(crate) fn cold_start() {
    // Built before anything is measured.
    build::leasehold();
    let rounds = from_env("LEASEHOLD_BENCH_ROUNDS").unwrap_or(10);
    let mut printed = table(&["start of the host to all ready", "modules", "p50 (max, n), ms", "ratio"]);
    for count in [1, 100] {
        let scene = Scene::new(count);
        let modules = usize::from(count);
        let [mut limit, mut without, mut cold, mut warm] = [(); 4].map(|()| Samples::new());
        for round in 0..rounds {
            let cache = scene.path(&format!("cache-{round}"));
            limit.add_micros(scene.limit());
            without.add_micros(scene.start(None).0);
            let (took, cached) = scene.start(Some(&cache));
            assert_eq!(cached, 0, "an empty cache has nothing");
            cold.add_micros(took);
            let (took, cached) = scene.start(Some(&cache));
            assert_eq!(cached, modules, "all were compiled before");
            warm.add_micros(took);
            fs::remove_dir_all(cache).expect("removed");
        }
        let rows = [
            ("no cache", &without),
            ("cache cold", &cold),
            ("cache warm", &warm),
            ("the limit: a process that reads and hashes them", &limit),
        ];
        for (name, samples) in rows {
            let ratio = format!("{:.3}", samples.p50_ms() / without.p50_ms());
            printed.add_row([name.to_owned(), count.to_string(), samples.cell(), ratio]);
        }
    }
    println!("{printed}\n");
}
