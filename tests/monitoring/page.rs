//! deploy/on-call.md: the alerts, the log events and its own links are those that there are. (Its metrics are held against
//! the registry by a unit test of the host.)

use std::{collections::BTreeSet, fs, path::Path};

use leasehold_tests::build::root;

use super::{deployed, rules, text};

fn page() -> String {
    deployed("on-call.md")
}

/// The lines of the section with this heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// What may stand behind `#`, as GitHub makes it of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings =
        page.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn each_alert_has_a_section_that_it_leads_to_and_there_is_no_other() {
    let page = page();
    let sections: Vec<_> = section(&page, "Alerts").lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = rules();
    let alerts: Vec<_> = rules.iter().map(|rule| text(rule, "alert")).collect();
    assert_eq!(sections, alerts, "left: the page; right: the rules");
    for rule in &rules {
        let wanted = format!("on-call.md#{}", text(rule, "alert").to_lowercase());
        assert_eq!(text(&rule["annotations"], "runbook_url"), wanted);
        let critical = text(&rule["labels"], "severity") == "critical";
        let (_, words) = page.split_once(&format!("### {}\n\n", text(rule, "alert"))).expect("it has a section");
        assert_eq!(words.starts_with("Critical."), critical, "{}: what the page says of it", text(rule, "alert"));
    }
}

#[test]
fn its_links_lead_somewhere() {
    let page = page();
    let anchors = anchors(&page);
    let mut links = 0;
    for (_, rest) in page.match_indices("](").map(|(at, found)| page.split_at(at + found.len())) {
        let (link, _) = rest.split_once(')').expect("a link has an end");
        match link.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "there is no #{anchor}"),
            None => {
                let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
                assert!(root().join("deploy").join(file).exists(), "there is no {link}");
                assert!(
                    anchor.is_none_or(|anchor| self::anchors(&deployed(file)).contains(anchor)),
                    "there is no {link}"
                );
            }
        }
        links += 1;
    }
    assert!(links > 10, "{links} links: were they read at all?");
}

/// Every word that a log line of the host has as its `event`, from the sources.
fn events_of(folder: &Path, events: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            events_of(&path, events);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source in UTF-8");
            // A call may go over several lines; its first string is the event.
            let begins = [("say!(", "\""), ("event = ", "\"")];
            for (call, quote) in begins {
                for (at, _) in source.match_indices(call) {
                    let Some((before, rest)) = source[at + call.len()..].split_once(quote) else { continue };
                    let Some((word, _)) = rest.split_once('"') else { continue };
                    let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                    // `event = ` is followed by it at once; in `say!` a level and a subject come first.
                    if is_word
                        && !word.is_empty()
                        && !before.contains([';', '"'])
                        && (call == "say!(" || before.is_empty())
                    {
                        events.insert(word.to_owned());
                    }
                }
            }
        }
    }
}

#[test]
fn each_log_event_is_on_the_page_and_there_is_no_other() {
    let page = page();
    let rows = section(&page, "Log events").lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<_> = rows
        .flat_map(|row| row.split_once("` | ").expect("a row has two cells").0.split("`, `").map(str::to_owned))
        .collect();
    let mut events = BTreeSet::new();
    events_of(&root().join("host/src"), &mut events);
    assert_eq!(documented, events, "left: the page; right: the sources");
}
