//! What the page says changes with the time alone, and in which zone its times are.

use std::{
    fs, io,
    net::TcpListener,
    sync::mpsc::{Sender, channel},
    thread,
};

use jiff::{Timestamp, tz::Offset};
use leasehold_tests::build::{guest, stamped};
use serde_json::{Value, json};

use crate::{
    assert_at_peace,
    chromium::{Chromium, ZONE},
    row, row_says, says,
    scene::{Scene, prints, task},
};

/// The page goes by the host's clock, which it is told with each event. From here on that says what `window.hostTime`
/// makes of it; and tasks that have changed are counted, and the last one kept.
const MOVE_THE_CLOCK: &str = "(() => {
  const parse = JSON.parse;
  Object.assign(window, { hostTime: (ms) => ms, changes: 0 });
  JSON.parse = (text) => {
    const event = parse(text);
    event.time = new Date(hostTime(Date.parse(event.time))).toISOString();
    if (event.tasks?.length) Object.assign(window, { changes: changes + 1, changed: event.tasks.at(-1) });
    return event;
  };
})()";

fn go_on_to(chromium: &Chromium, seconds: u32) {
    chromium.value(&format!("window.hostTime = (ms) => ms + {seconds}000"));
}

/// A server that closes its first connection when it is told to, and reads all that comes on others. It ends with this process.
fn refuses_once() -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    let (refuse, refused) = channel();
    thread::spawn(move || {
        let (first, _) = listener.accept().expect("a connection");
        refused.recv().expect("the test says when");
        drop(first);
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // The component goes on for as long as the test does.
            thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
        }
    });
    (format!("http://{address}/"), refuse)
}

#[test]
fn a_task_that_failed_and_runs_quietly_since_is_no_longer_one_to_look_at() {
    let scene = Scene::new();
    let (url, refuse) = refuses_once();
    let more = json!({"args": [format!("upload {url}")], "allow": {"http": [url]}, "swap": {"probation": "0s"}});
    let host = scene.host("only", &[task("uploads", &guest("http-requests"), more)]);
    let chromium = Chromium::start();
    chromium.open(&host.url("#/uploads"));
    chromium.wait_until("that it runs", &row_says("uploads", "Leading"));
    chromium.value(MOVE_THE_CLOCK);
    host.process.wait_for_event("guest-output", 1);
    refuse.send(()).expect("the server is there");
    chromium.wait_until("that it has failed", &row_says("uploads", "Failing"));
    chromium.wait_until("that it runs again", "!!window.changed?.running && changed.lastRun?.outcome === 'error'");
    // It is quiet for a minute: so long the host waits for an answer to it.
    chromium.value("window.changes = 0");
    assert_eq!(chromium.value("document.title"), "(1) Leasehold");

    go_on_to(&chromium, 100);
    chromium.wait_until("that the time has passed", &format!("/ min/.test({}?.innerText)", row("uploads")));
    assert_eq!(chromium.value(&row_says("uploads", "Failing")), true, "it is news for five minutes");
    assert_eq!(chromium.value("document.title"), "(1) Leasehold");

    go_on_to(&chromium, 400);
    chromium.wait_until("that it is well", &format!("!{}", row_says("uploads", "Failing")));
    chromium.wait_until("in its row", &row_says("uploads", "Leading"));
    chromium.wait_until("above its facts", &says("#task-state", "Leading"));
    chromium.wait_until("in words", &says("#sentence", "This replica leads, and the component runs."));
    chromium.wait_until("aloud", "document.querySelector('#said').textContent.startsWith('uploads: Leading')");
    assert_eq!(chromium.value("document.title"), "Leasehold");
    assert!(chromium.text("#shows").contains("To look at 0"), "{}", chromium.text("#shows"));
    assert_eq!(chromium.value("window.changes"), 0, "the host has told of a change, and the time alone was to be seen");
    assert_at_peace(&chromium, &host.page());
}

#[test]
fn all_times_are_in_the_zone_of_the_browser_which_is_named_once() {
    let scene = Scene::new();
    let module = scene.path("nightly.wasm");
    fs::copy(guest("prints"), &module).expect("copied");
    let mut nightly = prints("nightly", 300, &["done"]);
    nightly["module"] = json!(module);
    let host = scene.host("only", &[nightly]);
    host.process.wait_for_event("guest-output", 2);
    fs::write(scene.path("next.wasm"), stamped("prints", 1)).expect("written");
    fs::rename(scene.path("next.wasm"), &module).expect("renamed");
    host.process.wait_for_event("module-swapped", 1);

    let chromium = Chromium::start();
    for (zone, minutes, words) in [(ZONE, 9 * 60 + 30, "Australia/Darwin, UTC+09:30"), ("UTC", 0, "UTC")] {
        let offset = Offset::from_seconds(minutes * 60).expect("there is one");
        if zone != ZONE {
            chromium.call("Emulation.setTimezoneOverride", json!({"timezoneId": zone}));
        }
        chromium.open("about:blank");
        chromium.open(&host.url("#/nightly"));
        chromium.wait_until("output", "document.querySelectorAll('#output time').length > 2");
        chromium.wait_until("the swap", &says("#modules", "took over from"));
        assert_eq!(chromium.text(".zone"), format!("Times are in {words}"));
        let named = format!("document.body.innerText.split({}).length - 1", json!(words));
        assert_eq!(chromium.value(&named), 1, "{words}");

        let at = |time: &Value, format: &str| {
            let at: Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
            offset.to_datetime(at).strftime(format).to_string()
        };
        let stamps =
            chromium.value("[...document.querySelectorAll('#output time')].map((at) => [at.dateTime, at.textContent])");
        for stamp in stamps.as_array().expect("a list") {
            assert_eq!(stamp[1], at(&stamp[0], "%H:%M:%S"), "{zone}: {}", stamp[0]);
        }
        let task = chromium.value("fetch('tasks').then((answer) => answer.json()).then(({ tasks }) => tasks[0])");
        let now = &task["holders"][0]["since"];
        let shown = [
            ("#facts", now),
            ("#terms tbody tr:first-child", now),
            ("#runs tbody tr:first-child", &task["run"]["since"]),
            ("#modules", &task["swaps"][0]["at"]),
        ];
        for (selector, time) in shown {
            // Without seconds: after midnight it is said with its day.
            let (wanted, text) = (at(time, "%H:%M"), chromium.text(selector));
            assert!(text.contains(&wanted), "{zone}: no {wanted} in {selector}: {text}");
        }
    }
    assert_at_peace(&chromium, &host.page());
}

#[test]
fn what_was_before_this_host_has_seen_anything_is_not_known() {
    let scene = Scene::new();
    let host = scene.host("only", &[prints("nightly", 1000, &["done"])]);
    host.process.wait_for_event("guest-output", 1);
    let chromium = Chromium::start();
    chromium.resize(1280, 900);
    chromium.open(&host.url("#/nightly"));
    chromium.wait_until("its term", "document.querySelectorAll('#timeline .own').length === 1");
    chromium.value(MOVE_THE_CLOCK);
    let since =
        "fetch('tasks').then((answer) => answer.json()).then(({ tasks }) => Date.parse(tasks[0].holders[0].since))";
    let since = chromium.value(since);
    // The timeline shows ten seconds at least, and of these it has seen four.
    chromium.value(&format!("window.hostTime = () => {since} + 4000"));
    let of = "const box = (name) => document.querySelector(`#timeline ${name}`)?.getBoundingClientRect();
      const [whole, own, unknown] = [document.querySelector('#timeline').getBoundingClientRect(), box('.own'), box('.unknown')];";
    let is_before = format!(
        "(() => {{ {of} return !!unknown && unknown.width > whole.width * 0.3 && own.width > whole.width * 0.3
          && Math.abs(unknown.left - whole.left) < 1 && Math.abs(unknown.right - own.left) < 1 && Math.abs(own.right - whole.right) < 1 }})()"
    );
    chromium.wait_until("what is not known, before its term", &is_before);
    assert!(chromium.text(".key").ends_with("not known"), "{}", chromium.text(".key"));
    let looks = "['#timeline', '#timeline .own', '#timeline .unknown', '.key .own', '.key .unknown']
      .map((name) => getComputedStyle(document.querySelector(name)).background)";
    let looks = chromium.value(looks);
    assert_eq!((&looks[1], &looks[2]), (&looks[3], &looks[4]), "the legend has them as they are");
    assert!(looks[2] != looks[0] && looks[2] != looks[1], "{looks}");

    go_on_to(&chromium, 60);
    let is_known = format!(
        "(() => {{ {of} return !unknown && Math.abs(own.left - whole.left) < 1 && Math.abs(own.right - whole.right) < 1 }})()"
    );
    chromium.wait_until("its term alone", &is_known);
    assert_at_peace(&chromium, &host.page());
}
