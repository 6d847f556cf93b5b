//! What is the same for all languages.

use std::{fs, path::Path, process::Command};

use leasehold_tests::{build::root, host_process::leasehold};
use tempfile::TempDir;

#[test]
fn nothing_is_made_of_a_name_that_is_none_in_a_place_that_is_taken_or_in_another_language() {
    let place = TempDir::new().expect("a folder");
    let path = |name: &str| place.path().join(name).into_os_string().into_string().expect("it is UTF-8");
    fs::write(place.path().join("taken"), "mine").expect("written");
    for (folder, lang, says) in [
        (path("taken"), "go", "taken is there already, and nothing in it was changed"),
        (path("My_Task"), "go", "\"My_Task\" is not a name for a task: use at most 63 lower-case letters"),
        (path("nowhere/my-task"), "go", "nowhere is not a folder: make it first"),
        (path("my-task"), "cobol", "[possible values: rust, js, python, go, c]"),
    ] {
        let said = leasehold(&["new", &folder, "--lang", lang], &[]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(says), "{said:?}");
    }
    assert_eq!(left_in(place.path()), ["taken"]);
    assert_eq!(fs::read_to_string(place.path().join("taken")).expect("it is there"), "mine");
}

fn left_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("the folder can be read");
    names.map(|entry| entry.expect("the folder can be read").file_name().into_string().expect("it is UTF-8")).collect()
}

#[test]
fn the_bindings_that_are_committed_are_of_the_wit_package_that_is() {
    let bindings = root().join("guest-examples/bindings");
    let digest = Command::new(bindings.join("generate")).arg("--digest").output().expect("the script starts");
    let recorded = fs::read_to_string(bindings.join("wit.sha256")).expect("it is there");
    assert_eq!(
        recorded,
        String::from_utf8(digest.stdout).expect("UTF-8"),
        "wit/ or guest-examples/bindings/world.wit has changed: run guest-examples/bindings/generate, which says what it needs"
    );
}
