//! Whatever a component prints, or a module is called, is text.

use serde_json::json;

use crate::{
    assert_at_peace,
    chromium::Chromium,
    row_says, says,
    scene::{Scene, prints, task},
};

const MARKUP: &str = "<img src=x onerror=\"window.isOwned=1\"><script>window.isOwned=1</script><b>bold</b> &lt;";

#[test]
fn what_a_component_prints_reports_and_fails_with_stays_text() {
    let scene = Scene::new();
    let long = format!("{}{}", "long".repeat(1000), "\u{fdfa}".repeat(100));
    let ansi = "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}ti\u{8}e\rhome \u{1b}[2Jcleared\u{9b}31m";
    let turned = "left \u{202e}thgir\u{202c} \u{2066}isolated";
    let lines = [MARKUP, &long, ansi, turned, "and the last one"];
    let mut tasks = vec![prints("prints", 100, &lines)];
    let mut fails = prints("fails", 50, &[MARKUP]);
    fails["env"]["FAIL"] = MARKUP.into();
    tasks.push(fails);
    // A module's name is in what is said about it.
    let named = scene.path("<img src=x onerror='window.isOwned=1'>.wasm");
    std::fs::write(&named, "no component").expect("written");
    tasks.push(task("named", &named, json!({})));
    let missing = scene.path("<script>window.isOwned=1<").join("script>.wasm");
    tasks.push(task("missing", &missing, json!({})));
    let host = scene.host("only", &tasks);
    host.process.wait_for("the last line", |event| event.message() == "and the last one");
    host.process.wait_until("two failures", |events| {
        let failed = events.iter().filter(|event| event.name() == "guest-stopped" && event.line["task"] == "fails");
        (failed.count() >= 2).then_some(())
    });

    let chromium = Chromium::start();
    chromium.resize(1000, 900);
    chromium.open(&host.url("#/prints"));
    chromium.wait_until("the markup as text", &says("#output", MARKUP));
    chromium.wait_until("the long line, cut", &says("#output", "long … (cut)"));
    chromium.wait_until("the escapes, without what they do", &says("#output", "red ti␈e␍home cleared⟨U+009B⟩31m"));
    chromium
        .wait_until("what turns text around, shown", &says("#output", "left ⟨U+202E⟩thgir⟨U+202C⟩ ⟨U+2066⟩isolated"));
    chromium.wait_until("it all as progress, too", &says("#facts", "ago)"));
    let controls = "/[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e]/.test(document.body.textContent)";
    assert_eq!(chromium.value(controls), false);

    chromium.value("location.hash = '#/fails'");
    chromium.wait_until("the error as text", &says("#runs", MARKUP));
    chromium.wait_until("and in the list", &row_says("fails", "has returned an error"));
    chromium.value("location.hash = '#/named'");
    chromium.wait_until("why it waits", &says("#task-state", "Waiting"));
    chromium.value("location.hash = '#/missing'");
    chromium.wait_until("where its module should be", &says("#sentence", "<script>window.isOwned=1<"));

    assert_eq!(chromium.value("window.isOwned ?? null"), json!(null));
    // Of the page's own there is one of each.
    assert_eq!(
        chromium.value("[...document.querySelectorAll('img, script, b')].map((e) => e.tagName)"),
        json!(["SCRIPT", "IMG"])
    );
    assert_eq!(chromium.value("document.scrollingElement.scrollWidth <= innerWidth"), true);
    assert_at_peace(&chromium, &host.page());
}

#[test]
fn the_browser_itself_would_not_run_markup_that_got_into_the_page() {
    let scene = Scene::new();
    let host = scene.host("only", &[prints("nightly", 1000, &["done"])]);
    let chromium = Chromium::start();
    chromium.open(&host.page());
    chromium.wait_until("the task", &row_says("nightly", "Leading"));
    // As text that a careless script takes for markup: Trusted Types refuse the assignment.
    let careless =
        format!("try {{ document.body.innerHTML = {}; 'taken' }} catch (error) {{ error.name }}", json!(MARKUP));
    assert_eq!(chromium.value(&careless), "TypeError");
    // As elements: the policy knows no inline script, and nobody else's.
    let inserted = "new Promise((done) => {
      const inline = document.createElement('img');
      inline.setAttribute('src', 'http://192.0.2.1/x.png');
      document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
      document.body.append(inline);
    })";
    assert_eq!(chromium.value(inserted), "img-src");
    assert_eq!(chromium.value("window.isOwned ?? null"), json!(null));
}
