//! What happens is seen on the page, without a reload and without anything that jumps.

use std::fs;

use leasehold_tests::build::guest;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    assert_at_peace,
    chromium::Chromium,
    row_says, says,
    scene::{Scene, prints, task},
};

/// Notes what has moved without having been touched, as browsers tell (`layout-shift`). The timeline moves with the time, and a
/// word at the right end of its row begins where its length says.
const WATCH_FOR_JUMPS: &str = "window.jumped = []; new PerformanceObserver((list) => {
  const moved = list.getEntries().flatMap((entry) => entry.sources.map((source) => source.node));
  const jumped = moved.filter((node) => node && !(node.closest ? node : node.parentElement)?.closest('#timeline, .label, .age'));
  window.jumped.push(...jumped.map((node) => (node.outerHTML ?? node.data).slice(0, 80)));
}).observe({ type: 'layout-shift' })";

#[test]
fn a_handover_and_new_output_are_seen_without_a_reload_and_nothing_jumps() {
    let scene = Scene::new();
    let tasks =
        [prints("nightly", 300, &["invoices are sent", "receipts are sent"]), prints("hourly", 1000, &["done"])];
    let mut first = scene.host("first", &tasks);
    first.process.wait_for_event("guest-output", 2);
    let second = scene.host("second", &tasks);
    second.process.wait_for_event("new-leader", 2);
    let leader = first.process.wait_for_event("leading", 1).line["identity"].as_str().expect("an identity").to_owned();

    let chromium = Chromium::start();
    chromium.resize(1280, 900);
    chromium.open(&second.url("#/nightly"));
    chromium.wait_until("the standby's row", &row_says("nightly", "Standing by"));
    chromium.wait_until("the leader", &row_says("nightly", &leader));
    chromium.wait_until("the open task", &says("#task-state", "Standing by"));
    assert_eq!(chromium.text("#task-title"), "nightly");
    chromium.wait_until("the other's term", &says("#terms", &leader));
    chromium.wait_until("the connection", &says("#connection", "Live"));
    assert_eq!(chromium.value("document.querySelectorAll('#output p').length"), 0, "it runs nothing");
    chromium.value("window.isTheSamePage = true");
    chromium.value(WATCH_FOR_JUMPS);

    first.process.signal(Signal::TERM);
    assert_eq!(first.process.wait().code(), Some(0));
    chromium.wait_until("the new leader's row", &row_says("nightly", "Leading"));
    chromium.wait_until("the other's, too", &row_says("hourly", "Leading"));
    chromium.wait_until("its words", &says("#sentence", "This replica leads"));
    chromium.wait_until("two terms", "document.querySelectorAll('#timeline .own, #timeline .other').length === 2");
    let leading = second.process.events_named("leading").into_iter().find(|event| event.line["task"] == "nightly");
    let token = leading.expect("it leads").token().to_string();
    chromium.wait_until("its token", &says("#facts", &token));
    chromium.wait_until("its term in the table", &says("#terms tbody tr:first-child", "this replica"));
    chromium.wait_until("its output", &says("#output", "receipts are sent"));
    chromium.wait_until("its progress", &says("#facts", "are sent ("));
    chromium.wait_until("how long that is certain", &says("#facts", "another "));
    let lines = "document.querySelectorAll('#output p').length";
    chromium.wait_until("more lines than fit", &format!("{lines} > 20"));
    chromium.wait_until(
        "the last line is in view",
        "{ const box = document.querySelector('#output'); box.scrollHeight - box.scrollTop - box.clientHeight < 30 }",
    );
    chromium.wait_until("what is said aloud", &says("#said", "nightly: Leading"));
    assert_eq!(chromium.value("window.isTheSamePage"), true);
    assert_eq!(chromium.value("window.jumped"), json!([]));
    assert_at_peace(&chromium, &second.page());
}

#[test]
fn a_swap_and_a_module_that_is_not_taken_are_seen_when_they_happen() {
    let scene = Scene::new();
    let module = scene.path("task.wasm");
    fs::copy(guest("heartbeat"), &module).expect("copied");
    let host = scene.host("only", &[task("nightly", &module, json!({}))]);
    let started = host.process.wait_for_event("guest-started", 1);
    let digest = |event: &leasehold_tests::event_log::Event| {
        let digest = event.line["digest"].as_str().expect("a digest").to_owned();
        digest.trim_start_matches("sha256:")[..12].to_owned()
    };
    let before = digest(&started);
    let chromium = Chromium::start();
    chromium.resize(1280, 900);
    chromium.open(&host.url("#/nightly"));
    chromium.wait_until("the module that runs", &says("#modules", &before));
    chromium.value("window.isTheSamePage = true");

    let replace = |with: &[u8]| {
        fs::write(scene.path("next.wasm"), with).expect("written");
        fs::rename(scene.path("next.wasm"), &module).expect("renamed");
    };
    replace(&fs::read(guest("prints")).expect("a module"));
    let swapped = host.process.wait_for_event("module-swapped", 1);
    chromium.wait_until("the swap", &says("#modules", &format!("took over from {before}")));
    chromium.wait_until("what runs now", &says("#modules tbody tr:first-child", &digest(&swapped)));
    chromium.wait_until("the run that has ended", &says("#runs", "module-replaced"));

    replace(b"no component");
    let rejected = host.process.wait_for_event("module-rejected", 1);
    chromium.wait_until("the one that is not taken", &says("#modules", &digest(&rejected)));
    chromium.wait_until("why", &says("#modules", "was not taken"));
    chromium.wait_until("that somebody should look", "document.title.startsWith('(1)')");
    assert_eq!(chromium.value("window.isTheSamePage"), true);
    assert_at_peace(&chromium, &host.page());
}
