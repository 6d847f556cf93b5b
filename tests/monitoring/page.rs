//! deploy/on-call.md: the alerts, the log events and its own links are those that there are. (Its metrics are held against
//! the registry by a unit test of the host.)

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use leasehold_tests::build::root;
use serde_json::Value;

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

#[test]
fn the_dashboard_has_every_metric_that_is_on_the_page() {
    // That the page has all that a host exports, a unit test of the host sees to.
    let page = page();
    let rows = section(&page, "Metrics").lines().filter_map(|line| line.strip_prefix("| `"));
    // Only hosts in Pods that are asked for the label have it.
    let but = "leasehold_leader_label";
    assert!(section(&page, "Metrics").contains(&format!("all of it for Grafana, but\n`{but}`")));
    let rows = rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        Some((name, rest.split(" | ").nth(1)?.trim()))
    });
    let dashboard: Value = serde_json::from_str(&deployed("monitoring/dashboard.json")).expect("JSON");
    let targets = dashboard["panels"].as_array().expect("panels").iter().flat_map(|panel| panel["targets"].as_array());
    let asked: String = targets.flatten().map(|target| text(target, "expr").to_owned() + "\n").collect();
    let names: BTreeSet<_> = asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let (mut metrics, mut missing) = (0, Vec::new());
    for (name, metric_type) in rows {
        metrics += 1;
        let series = if metric_type == "histogram" { format!("{name}_bucket") } else { name.to_owned() };
        if name != but && !names.contains(&*series) {
            missing.push(series);
        }
    }
    assert!(metrics > 30, "{metrics} metrics: were they read at all?");
    assert!(missing.is_empty(), "the dashboard has no {missing:?}");
}

#[test]
fn the_recipe_for_ones_own_runbooks_makes_a_whole_url_of_each() {
    let readme = deployed("README.md");
    let recipe = readme.lines().find_map(|line| line.strip_prefix("$ sed -i 's|runbook_url")).expect("the recipe");
    let recipe = format!("sed 's|runbook_url{recipe}");
    let output = Command::new("sh").args(["-c", &recipe]).current_dir(root()).output().expect("a shell");
    assert!(output.status.success(), "{recipe}: {output:?}");
    let changed: Value = serde_saphyr::from_str(&String::from_utf8(output.stdout).expect("UTF-8")).expect("YAML");
    let changed = changed["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array());
    let urls: Vec<_> = changed.flatten().map(|rule| text(&rule["annotations"], "runbook_url").to_owned()).collect();
    let rules = rules();
    let wanted = rules.iter().map(|rule| text(&rule["annotations"], "runbook_url"));
    let wanted: Vec<_> = wanted.map(|url| format!("https://example.com/leasehold/deploy/{url}")).collect();
    assert_eq!(urls, wanted);
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
