//! Folders that a task's config names, and nothing outside of them.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use leasehold::guest::{files::Folder, runtime::GuestConfig};
use leasehold_core::task::Outcome;
use leasehold_tests::{captured_log::captured_log, guest_bench::GuestBench};

const LONG: Duration = Duration::from_secs(3600);

/// A folder with a file in it, and beside it a file that is nobody's business.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = tempfile::tempdir().expect("a folder");
        fs::create_dir(desk.path().join("reports")).expect("made");
        fs::write(desk.path().join("reports/one"), "first").expect("written");
        fs::write(desk.path().join("secret"), "not for guests").expect("written");
        Self(desk)
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.0.path().join(below)
    }

    fn folder(&self, more: &str) -> Folder {
        format!("{}:/reports{more}", self.path("reports").display()).parse().expect("a folder")
    }

    fn secret_is_whole(&self) -> bool {
        fs::read_to_string(self.path("secret")).is_ok_and(|text| text == "not for guests")
    }
}

fn said(folders: Vec<Folder>, steps: &[&str]) -> Vec<String> {
    let (log, bench) = (captured_log(), GuestBench::default());
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config: &mut GuestConfig| {
        config.folders = folders;
        config.args = steps.join(" -- ").split(' ').map(str::to_owned).collect();
    });
    assert_eq!(started.outcome(), Outcome::Returned);
    // The step is said before what it came to.
    let line = |(line, step): (&leasehold_tests::event_log::Event, &&str)| {
        line.message().strip_prefix(&format!("{step}: ")).expect("each step prints a line").to_owned()
    };
    log.guest_lines(started.token).iter().zip(steps).map(line).collect()
}

#[test]
fn a_folder_for_reading_can_be_read_and_not_written() {
    let desk = Desk::new();
    let steps = [
        "read /reports/one",
        "list /reports",
        "write /reports/one second",
        "write /reports/two second",
        "append /reports/one second",
        "remove /reports/one",
        "make-folder /reports/two",
        "rename /reports/one /reports/two",
        "hard-link /reports/one /reports/two",
        "link one /reports/two",
    ];
    let said = said(vec![desk.folder("")], &steps);
    assert_eq!(&said[..2], ["first", "one"]);
    let refused =
        |said: &String| said.contains("not permitted") || said.contains("not-permitted") || said.contains("Read-only");
    assert!(said[2..].iter().all(refused), "{said:?}");
    let left: Vec<_> =
        fs::read_dir(desk.path("reports")).expect("there").map(|entry| entry.expect("there").file_name()).collect();
    assert_eq!(left, ["one"]);
    assert_eq!(fs::read_to_string(desk.path("reports/one")).expect("there"), "first");
}

#[test]
fn a_folder_for_writing_can_be_written() {
    let desk = Desk::new();
    let steps = [
        "write /reports/two second",
        "append /reports/two ,third",
        "read /reports/two",
        "rename /reports/two /reports/3",
        "remove /reports/one",
        "list /reports",
    ];
    let said = said(vec![desk.folder(":rw")], &steps);
    assert_eq!(said, ["written", "appended", "second,third", "renamed", "removed", "3"]);
    assert_eq!(fs::read_to_string(desk.path("reports/3")).expect("there"), "second,third");
}

#[test]
fn nothing_outside_of_the_folder_is_reached() {
    let desk = Desk::new();
    let secret = desk.path("secret");
    symlink(&secret, desk.path("reports/absolute")).expect("linked");
    symlink("../secret", desk.path("reports/relative")).expect("linked");
    symlink("..", desk.path("reports/up")).expect("linked");
    symlink("/", desk.path("reports/root")).expect("linked");
    let whole = format!("/reports/root{}", secret.display());
    let mut steps = Vec::new();
    for path in [
        "/reports/../secret",
        "/reports/absolute",
        "/reports/relative",
        "/reports/up/secret",
        whole.as_str(),
        "/reports/./../reports/../secret",
        "/secret",
        "/etc/passwd",
    ] {
        steps.extend([format!("read {path}"), format!("write {path} stolen")]);
    }
    steps.extend([format!("link {} /reports/made", secret.display()), "read /reports/made".into()]);
    for path in ["/reports/../secret", "/reports/up/secret", &whole] {
        steps.push(format!("hard-link {path} /reports/mine"));
    }
    steps.push("rename /reports/one /reports/../one".into());
    steps.push("rename /reports/up/secret /reports/mine".into());
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let said = said(vec![desk.folder(":rw")], &steps);
    for (step, said) in steps.iter().zip(&said) {
        assert!(said.contains(": ") && !said.contains("not for guests"), "{step}: {said}");
    }
    assert!(desk.secret_is_whole() && desk.path("reports/one").exists());
    assert!(!desk.path("one").exists() && !desk.path("reports/mine").exists() && !Path::new("/secret").exists());
}

#[test]
fn without_a_folder_there_are_no_files() {
    let said = said(vec![], &["read /etc/passwd", "list /", "write /tmp/leasehold-probe x"]);
    assert!(said.iter().all(|said| said.contains(": ")), "{said:?}");
    assert!(!Path::new("/tmp/leasehold-probe").exists());
}

#[test]
fn what_is_written_is_in_the_file_when_the_call_has_returned() {
    let desk = Desk::new();
    let said = said(vec![desk.folder(":rw")], &["stream /reports/large 1048576"]);
    assert_eq!(said, ["1048576 bytes, each in the file when its call had returned"]);
}

#[test]
fn a_folder_that_has_gone_keeps_the_guest_from_starting_with_its_name() {
    let (desk, bench) = (Desk::new(), GuestBench::default());
    let folder = desk.folder("");
    fs::remove_dir_all(desk.path("reports")).expect("removed");
    let mut started = bench.start_with(&bench.module("probe"), LONG, |config| config.folders = vec![folder]);
    let outcome = started.outcome();
    let Outcome::NotStarted(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("reports (allow.files) cannot be opened") && why.contains("No such file"), "{why}");
}
