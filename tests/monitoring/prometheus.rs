//! The real Prometheus, as a process.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{build::root, guardian::Guardian, host_process::PATIENCE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// `prometheus`, `promtool` or `collector`, built by tests/monitoring/build.
pub(super) fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let output = Command::new(root().join("tests/monitoring/build"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/monitoring/build starts");
        assert!(output.status.success(), "tests/monitoring/build has failed; its words are above");
        String::from_utf8(output.stdout).expect("a path in UTF-8").trim().into()
    });
    folder.join(name)
}

/// An answer to GET: its body.
pub(super) fn get(address: &str, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // 1.0, so that the answer comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}")).1.to_owned()
}

/// See the module's documentation. Ended when it is dropped, and its folder with it.
pub(super) struct Prometheus {
    process: Child,
    address: String,
    _guardian: Guardian,
    folder: TempDir,
}

impl Prometheus {
    /// Scrapes these addresses every second, as the job `leasehold`, with these rules.
    pub(super) fn start(targets: &[String], rules: &Path) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [root().join(rules)],
            "scrape_configs": [{
                "job_name": "leasehold",
                "static_configs": [{"targets": targets, "labels": {"namespace": "default"}}],
            }],
        });
        // JSON is YAML.
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut guardian = Guardian::over(folder.path()).expect("a guardian");
        let process = Command::new(program("prometheus"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        guardian.watch_over(&[process.id()]).expect("the guardian is there");
        let mut this = Self { process, address: String::new(), _guardian: guardian, folder };
        this.address = this.wait_for("address", |this| {
            let log = this.log();
            let (_, listens) = log.split_once("msg=\"Listening on\"")?;
            let (line, _) = listens.split_once('\n')?;
            Some(line.split_once("address=")?.1.to_owned())
        });
        this.wait_for("readiness", |this| get(&this.address, "/-/ready", "*/*").contains("is Ready").then_some(()));
        this
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }

    /// Asks again until there is an answer.
    pub(super) fn wait_for<T>(&self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what}. The log of Prometheus:\n{}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What its API has there, which is no error.
    pub(super) fn api(&self, what: &str, query: &str) -> Value {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = get(&self.address, &format!("/api/v1/{what}?query={query}"), "application/json");
        let mut answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["status"], "success", "{what} {query}: {answer}");
        answer["data"].take()
    }

    /// The series that an expression has now.
    pub(super) fn series(&self, expression: &str) -> Vec<Value> {
        match self.api("query", expression) {
            Value::Object(mut data) if data["resultType"] == "vector" => {
                data["result"].as_array_mut().map(std::mem::take).expect("a vector is a list")
            }
            other => panic!("{expression} is no vector, but {other}"),
        }
    }

    /// All that an expression takes from what was scraped, each as an expression of its own.
    pub(super) fn selectors(&self, expression: &str) -> Vec<String> {
        let mut selectors = Vec::new();
        find_selectors(&self.api("parse_query", expression), &mut selectors);
        selectors
    }
}

fn find_selectors(node: &Value, selectors: &mut Vec<String>) {
    match node {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "vectorSelector" || kind == "matrixSelector") {
                let matchers = fields["matchers"].as_array().expect("matchers").iter().map(|matcher| {
                    let part = |field: &str| matcher[field].as_str().expect("text");
                    format!("{}{}{:?}", part("name"), part("type"), part("value"))
                });
                selectors.push(format!("{{{}}}", matchers.collect::<Vec<_>>().join(", ")));
            }
            fields.values().for_each(|field| find_selectors(field, selectors));
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| find_selectors(node, selectors)),
        _ => {}
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Already gone is fine; nothing else can fail for a child of ours.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
