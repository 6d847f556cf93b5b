//! How it looks and is used: light, dark, narrow, from a keyboard, by its accessibility tree.

use std::{fs, path::PathBuf, slice};

use leasehold_tests::{
    build::{guest, stamped},
    host_process::leasehold,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    assert_at_peace,
    boxes::assert_tidy,
    chromium::Chromium,
    row_says, says,
    scene::{Host, Scene, prints, task},
};

/// Three hosts with what hosts have: tasks that lead, that stand by, that fail, and one that waits for its module.
struct Hosts {
    /// Ended by one of the tests.
    leads: Host,
    /// Whose page is looked at.
    shown: Host,
    _stays: Host,
    /// The task that is handed over.
    invoices: Value,
}

fn hosts(scene: &Scene) -> Hosts {
    let fails = task("export-ledger", &guest("returns-error"), json!({}));
    let waits = task("rotate-keys", &scene.path("rotate-keys.wasm"), json!({}));
    let invoices = [
        "connected to https://billing.example.com/v2/",
        "page 1 of 3: 50 invoices, all known",
        "page 2 of 3: 50 invoices, 4 new",
        "page 3 of 3: 18 invoices, 18 new",
        "22 invoices sent, cursor is 2026-11-21T22:41:07Z",
    ];
    let mut invoices = prints("nightly-invoices", 700, &invoices);
    let module = scene.path("nightly-invoices.wasm");
    fs::copy(guest("prints"), &module).expect("copied");
    invoices["module"] = json!(module);
    invoices["swap"] = json!({"probation": "2s"});
    let others =
        ["cache-warmer", "cleanup-previews", "dns-reconciler", "metrics-rollup", "outbox-relay", "search-index"];
    let others = others.map(|name| prints(name, 2000, &["in step with the cluster"]));
    let (of_leader, of_third) = others.split_at(4);
    let leads = scene.host("leasehold-7c9d4f-2xkqp", &[&of_leader[..2], slice::from_ref(&invoices)].concat());
    let stays = scene.host("leasehold-7c9d4f-h4tz8", of_third);
    leads.process.wait_for_event("guest-output", 3);
    stays.process.wait_for_event("guest-output", 2);
    let all = [of_leader, of_third, &[invoices.clone(), fails, waits]].concat();
    let shown = scene.host("leasehold-7c9d4f-9mw5z", &all);
    shown.process.wait_for_event("new-leader", 5);
    Hosts { leads, shown, _stays: stays, invoices }
}

fn opened(chromium: &Chromium, host: &Host, task: &str) {
    chromium.open(&host.url(&format!("#/{task}")));
    chromium.wait_until("the connection", &says("#connection", "Live"));
    chromium.wait_until("the failing task", &row_says("export-ledger", "Failing"));
    chromium.wait_until("the one that waits", &row_says("rotate-keys", "Waiting"));
    chromium.wait_until("the open task", &format!("document.querySelector('#task-title').textContent === '{task}'"));
}

/// Of each text that is seen: its contrast with what is behind it, where that is less than WCAG 2.2 asks for (1.4.3 AA).
const TOO_FAINT: &str = "(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('.unseen, .skip, noscript, script')) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const [a, b] = [light(style.color), light(ground(element))].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${element.className || element.tagName} ${ratio.toFixed(2)}: ${texts.currentNode.data.slice(0, 40)}`);
  }
  return { seen, faint: [...new Set(faint)] };
})()";

/// Where `LEASEHOLD_SCREENSHOTS` says.
fn keep(chromium: &Chromium, name: &str) {
    let png = chromium.screenshot();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{} bytes", png.len());
    // Width and height come first in it.
    let side = |at: usize| png[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    assert_eq!(json!([side(16), side(20)]), chromium.value("[innerWidth, innerHeight]"), "{name}");
    if let Some(folder) = std::env::var_os("LEASEHOLD_SCREENSHOTS") {
        fs::write(PathBuf::from(folder).join(name), png).expect("written");
    }
}

/// The task goes from one to the next: from `first` to the host that is shown, to two others, and back. Two modules come
/// meanwhile.
fn hand_over(scene: &Scene, chromium: &Chromium, first: Host, invoices: &Value) {
    const LINES: usize = 18;
    let end = |mut host: Host| {
        host.process.signal(Signal::TERM);
        assert_eq!(host.process.wait().code(), Some(0));
    };
    let replace = |stamp: u32| {
        fs::write(scene.path("next.wasm"), stamped("prints", stamp)).expect("written");
        fs::rename(scene.path("next.wasm"), scene.path("nightly-invoices.wasm")).expect("renamed");
        let swaps = "[...document.querySelectorAll('#modules .why')].filter((cell) => cell.textContent.startsWith('took over from')).length";
        chromium.wait_until("a swap", &format!("{swaps} === {stamp}"));
    };
    chromium.wait_until("the other's term", &says("#terms", "leasehold-7c9d4f-2xkqp"));
    first.process.wait_for_event("guest-output", LINES);
    end(first);
    chromium.wait_until("the handover", &row_says("nightly-invoices", "Leading"));
    chromium.wait_until("its output", &says("#output", "cursor is"));
    replace(1);
    chromium.wait_until("more output", "document.querySelectorAll('#output p').length >= 14");

    // Who is asked to step down stays out for half a minute, in which two others have their terms.
    let others = ["leasehold-7c9d4f-tq6bn", "leasehold-7c9d4f-zl5dw"];
    let with_it = |name: &str| {
        let host = scene.host(name, slice::from_ref(invoices));
        host.process.wait_for_event("new-leader", 1);
        host
    };
    let second = with_it(others[0]);
    let said = leasehold(&["step-down", "nightly-invoices", "--lease-store", &scene.lease_store()], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    chromium.wait_until("the second's term", &says("#terms tbody tr:first-child", others[0]));
    let third = with_it(others[1]);
    second.process.wait_for_event("guest-output", LINES);
    end(second);
    chromium.wait_until("the third's term", &says("#terms tbody tr:first-child", others[1]));
    third.process.wait_for_event("guest-output", LINES);
    end(third);
    chromium.wait_until("that it leads again", &says("#terms tbody tr:first-child", "this replica"));
    replace(2);
    chromium.wait_until("more output", "document.querySelectorAll('#output p').length >= 32");
    // It steps down in between, since it fails again and again.
    chromium.wait_until("the failing task", &row_says("export-ledger", "Failing"));
}

/// What `hand_over` has led to, on any screen: every card has something to show, and all of it fits.
#[track_caller]
fn assert_shows_it_all(chromium: &Chromium) {
    let leaders = "[...document.querySelectorAll('#terms .identity')].map((cell) => cell.textContent.split('_')[0])";
    let [first, second, third] = ["2xkqp", "tq6bn", "zl5dw"].map(|name| format!("leasehold-7c9d4f-{name}"));
    assert_eq!(chromium.value(leaders), json!(["this replica", third, second, "this replica", first]));
    let bars = "[...document.querySelectorAll('#timeline span')].map((bar) => bar.className)";
    assert_eq!(chromium.value(bars), json!(["other", "own", "other", "other", "own"]));
    let now_is_at_its_end = "(() => {
      const [now, line] = [document.querySelector('.axis').lastChild, document.querySelector('#timeline')].map((part) => part.getBoundingClientRect());
      return Math.abs(now.right - line.right) < 2 && now.top >= line.bottom && now.top < line.bottom + 20 })()";
    assert_eq!(chromium.value(now_is_at_its_end), true);
    let [state, sentence] = ["#task-state", "#sentence"].map(|part| chromium.text(part));
    assert_eq!([&*state, &*sentence], ["Leading", "This replica leads, and the component runs."]);
    for (part, words) in [
        ("#terms tbody", "holds the Lease"),
        ("#terms tbody tr:nth-child(4)", "step"),
        ("#output", "22 invoices sent"),
        ("#modules", "runs"),
        ("#runs", "module-replaced"),
        ("#runs", "stepped-down"),
        (".axis", "now"),
    ] {
        let text = chromium.text(part);
        assert!(text.contains(words), "no {words:?} in {part}: {text}");
    }
    for fact in ["this replica", "another ", "default/nightly-invoices", " ago)", "none"] {
        let facts = chromium.text("#facts");
        assert!(facts.contains(fact), "no {fact:?} in {facts}");
    }
    assert!(!chromium.text("#facts").contains("label"), "there is none");
    assert_tidy(chromium);
}

#[test]
fn light_and_dark_have_enough_contrast_and_every_element_has_a_name() {
    let scene = Scene::new();
    let hosts = hosts(&scene);
    let shown = &hosts.shown;
    let chromium = Chromium::start();
    chromium.resize(1280, 1230);
    opened(&chromium, shown, "nightly-invoices");
    hand_over(&scene, &chromium, hosts.leads, &hosts.invoices);
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        chromium.prefer(scheme);
        assert_shows_it_all(&chromium);
        let found = chromium.value(TOO_FAINT);
        assert!(found["seen"].as_u64() > Some(50), "{found}");
        assert_eq!(found["faint"], json!([]), "{scheme}");
        grounds.push(chromium.value("getComputedStyle(document.body).backgroundColor"));
        keep(&chromium, &format!("status-page-{scheme}.png"));
    }
    assert_ne!(grounds[0], grounds[1]);
    assert_named(&chromium);
    chromium.resize(390, 844);
    chromium.prefer("light");
    assert_shows_it_all(&chromium);
    keep(&chromium, "status-page-phone.png");
    chromium.value("document.querySelector('#terms').scrollIntoView()");
    keep(&chromium, "status-page-phone-below.png");
    assert_at_peace(&chromium, &shown.page());
}

/// Whatever can be used or jumped to says what it is.
fn assert_named(chromium: &Chromium) {
    let tree = chromium.call("Accessibility.getFullAXTree", json!({}));
    let nodes: Vec<_> =
        tree["nodes"].as_array().expect("nodes").iter().filter(|node| node["ignored"] != true).collect();
    let of_role = |role: &str| -> Vec<&Value> {
        nodes.iter().filter(|node| node["role"]["value"] == role).map(|node| &node["name"]["value"]).collect()
    };
    for role in ["link", "button", "searchbox", "region", "heading", "table", "columnheader"] {
        let names = of_role(role);
        assert!(!names.is_empty(), "there is no {role}");
        assert!(
            names.iter().all(|name| name.as_str().is_some_and(|name| !name.trim().is_empty())),
            "{role}: {names:?}"
        );
    }
    assert_eq!((of_role("main").len(), of_role("banner").len()), (1, 1));
    assert!(of_role("status").len() == 1 && of_role("listitem").len() >= 9, "{}", of_role("listitem").len());
    assert!(of_role("searchbox").contains(&&json!("Filter by task, lease or leader")), "{:?}", of_role("searchbox"));
    // A row reads as a sentence does: which task, in what state.
    let failing = of_role("link").into_iter().filter_map(Value::as_str).find(|name| name.starts_with("export-ledger"));
    assert!(failing.is_some_and(|name| name.contains("Failing")), "{failing:?}");
    assert_eq!(chromium.value("document.documentElement.lang"), "en");
}

#[test]
fn all_of_it_is_reached_and_opened_from_a_keyboard() {
    let scene = Scene::new();
    let Hosts { shown, leads: _leads, _stays, .. } = hosts(&scene);
    let chromium = Chromium::start();
    chromium.resize(1280, 900);
    opened(&chromium, &shown, "search-index");
    let focused = || chromium.text_of_focus();
    let outline = "(() => { const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 })()";
    let mut order = Vec::new();
    for _ in 0..8 {
        chromium.press("Tab");
        assert_eq!(chromium.value(outline), true, "{} has the focus, and does not show it", focused());
        order.push(focused());
    }
    assert_eq!(order[0], "Skip to the task");
    assert_eq!(order[1], "filter");
    assert!(order[2].starts_with("All") && order[5].starts_with("Standby"), "{order:?}");
    assert!(order[6].starts_with("search-index"), "the open one is the list's entry: {order:?}");
    // Those to look at come first.
    chromium.press("Tab");
    chromium.value(&format!("{}.focus()", crate::row("search-index")));
    chromium.press("Home");
    assert!(focused().starts_with("export-ledger"), "{}", focused());
    chromium.press("ArrowDown");
    assert!(focused().starts_with("rotate-keys"), "{}", focused());
    chromium.press("Enter");
    chromium.wait_until("it is open", "document.querySelector('#task-title').textContent === 'rotate-keys'");
    assert_eq!(chromium.value("location.hash"), "#/rotate-keys");
    chromium.wait_until("the focus is at its beginning", "document.activeElement.id === 'task-title'");
    assert_eq!(chromium.value("document.querySelectorAll('[aria-current=true]').length"), 1);

    chromium.value("document.querySelector('#filter').focus()");
    chromium.call("Input.insertText", json!({"text": "INVOICES"}));
    let rows = "[...document.querySelectorAll('#list li')].filter((item) => !item.hidden).length";
    chromium.wait_until("one is left", &format!("{rows} === 1"));
    chromium.call("Input.insertText", json!({"text": " of nobody"}));
    chromium.wait_until(
        "none is left, and that is said",
        &format!("{rows} === 0 && !document.querySelector('#none').hidden"),
    );
    assert_at_peace(&chromium, &shown.page());
}

#[test]
fn a_narrow_screen_has_the_list_or_a_task_and_nothing_is_wider_than_it() {
    let scene = Scene::new();
    let Hosts { shown, leads: _leads, _stays, .. } = hosts(&scene);
    let chromium = Chromium::start();
    chromium.resize(320, 720);
    opened(&chromium, &shown, "nightly-invoices");
    let is_narrow = "document.scrollingElement.scrollWidth <= 320";
    let is_seen = |id: &str| format!("document.querySelector('{id}').checkVisibility()");
    chromium.wait_until("the task alone", &format!("{} && !{}", is_seen("#open"), is_seen("#list")));
    assert_eq!(chromium.value(is_narrow), true);
    assert_tidy(&chromium);
    keep(&chromium, "status-page-narrow.png");
    chromium.value("document.querySelector('#back').click()");
    chromium.wait_until("the list alone", &format!("{} && !{}", is_seen("#list"), is_seen("#open")));
    assert_eq!(chromium.value(is_narrow), true);
    chromium.wait_until(
        "the focus where it was",
        &format!("document.activeElement === {}", crate::row("nightly-invoices")),
    );
    assert_tidy(&chromium);
    keep(&chromium, "status-page-narrow-list.png");
    assert_at_peace(&chromium, &shown.page());
}
