//! A headless Chromium with one page, driven by its DevTools protocol over a pipe: without a port that others could
//! connect to, and with an end of its own when this process ends, however that comes about.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use leasehold_tests::{build, host_process::PATIENCE};
use serde_json::{Value, json};
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(30);
/// Where its user is: apart from UTC, by no whole hours. There is no summer time.
pub(super) const ZONE: &str = "Australia/Darwin";

/// See the module's documentation. Ended when it is dropped.
pub(super) struct Chromium {
    child: Child,
    commands: Mutex<(ChildStdin, u64)>,
    heard: Arc<Heard>,
    session: String,
    _profile: TempDir,
}

/// All that it has said.
#[derive(Default)]
struct Heard {
    messages: Mutex<Messages>,
    more: Condvar,
}

#[derive(Default)]
struct Messages {
    all: Vec<Value>,
    have_ended: bool,
}

impl Chromium {
    /// One that asks nobody but this machine for anything.
    pub(super) fn start() -> Self {
        let profile = TempDir::new().expect("a folder");
        let mut shell = Command::new("sh");
        // The pipes of the protocol are the descriptors 3 and 4.
        shell.args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#, "sh"]).arg(browser()).args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--force-color-profile=srgb",
            "--lang=en-US",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]);
        if rustix::process::geteuid().is_root() {
            shell.arg("--no-sandbox");
        }
        shell.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let log = std::fs::File::create(profile.path().join("log")).expect("a file");
        let mut child = shell
            .env("TZ", ZONE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("Chromium starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let heard = Arc::new(Heard::default());
        let hearing = heard.clone();
        thread::spawn(move || {
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                hearing.tell(|messages| messages.all.push(message));
            }
            hearing.tell(|messages| messages.have_ended = true);
        });
        let mut chromium =
            Self { child, commands: Mutex::new((stdin, 0)), heard, session: String::new(), _profile: profile };
        let target = chromium.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = chromium.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        chromium.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "DOM", "Accessibility", "Audits"] {
            chromium.call(&format!("{domain}.enable"), json!({}));
        }
        chromium
    }

    /// The protocol's method of this name, and its answer.
    pub(super) fn call(&self, method: &str, params: Value) -> Value {
        let mut message = json!({"method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let id = {
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            let (stdin, last) = &mut *commands;
            *last += 1;
            message["id"] = (*last).into();
            let mut bytes = serde_json::to_vec(&message).expect("JSON");
            bytes.push(0);
            stdin.write_all(&bytes).expect("Chromium reads");
            *last
        };
        let answer = self.heard.wait_for(method, |message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    /// All events of this name so far.
    pub(super) fn events(&self, name: &str) -> Vec<Value> {
        let messages = self.heard.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.all.iter().filter(|message| message["method"] == name).map(|event| event["params"].clone()).collect()
    }

    /// Opens this address, and waits until it is there.
    pub(super) fn open(&self, address: &str) {
        let before = self.events("Page.loadEventFired").len();
        let opened = self.call("Page.navigate", json!({"url": address}));
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
        let begun = Instant::now();
        while self.events("Page.loadEventFired").len() == before {
            assert!(begun.elapsed() < PATIENCE, "{address} does not load");
            thread::sleep(POLL);
        }
    }

    /// What this expression comes to, in the page.
    pub(super) fn value(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// The text that is shown in the first element that this selector finds.
    pub(super) fn text(&self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({})?.innerText ?? null", json!(selector)));
        text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_owned()
    }

    /// The text of what has the focus, or else its id.
    pub(super) fn text_of_focus(&self) -> String {
        let text = self.value("document.activeElement.innerText || document.activeElement.id");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this expression is true.
    #[track_caller]
    pub(super) fn wait_until(&self, what: &str, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != true {
            assert!(begun.elapsed() < PATIENCE, "not yet: {what}. The page says:\n{}", self.text("body"));
            thread::sleep(POLL);
        }
    }

    /// Presses a key: `Tab`, `Enter`, `ArrowDown`...
    pub(super) fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            other => panic!("the code of {other} is not known here"),
        };
        let mut event = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if key == "Enter" {
            event["text"] = "\r".into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// As wide and as high, in CSS pixels.
    pub(super) fn resize(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// `light` or `dark`.
    pub(super) fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// What is seen, as a PNG.
    pub(super) fn screenshot(&self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(answer["data"].as_str().expect("base64")).expect("base64")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Already gone is fine. Its other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn tell(&self, tell: impl FnOnce(&mut Messages)) {
        tell(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_all();
    }

    fn wait_for(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = messages.all.iter().find(|message| is(message)) {
                return found.clone();
            }
            assert!(!messages.have_ended, "Chromium has ended, before an answer to {what}");
            let left = PATIENCE.checked_sub(begun.elapsed()).unwrap_or_else(|| panic!("no answer to {what}"));
            messages = self.more.wait_timeout(messages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Where Chromium is.
fn browser() -> String {
    let found = Command::new(build::root().join("tests/page/browser")).output().expect("the script runs");
    let words = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(found.status.success(), "there is no Chromium: {words}");
    String::from_utf8(found.stdout).expect("a path").trim().to_owned()
}
