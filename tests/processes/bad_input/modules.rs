//! Files that are no tasks.

use std::fs::{self, File};

use leasehold_tests::host_process::{Said, leasehold};

use super::{Desk, MISTAKE, good, refused};

/// `leasehold run` and `leasehold check` refuse it, with the same words.
fn refuses(desk: &Desk, module: &str, says: &[&str]) {
    let says = [says, &[module, "cannot be run"]].concat();
    desk.refuses_to_run(&[module], MISTAKE, &says);
    refused(&["check", module], &[], MISTAKE, &says);
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("it is right")
}

#[test]
fn files_that_are_no_components_are_told_apart() {
    let desk = Desk::new();
    let module = component("(module)");
    let foreign = component(r#"(module (import "env" "send" (func)) (func (export "_start")))"#);
    let cases: [(&str, &[u8], &[&str]); 7] = [
        ("empty.wasm", b"", &["it is empty (0 bytes)"]),
        ("text.wasm", b"hello", &["not WebAssembly", "\"hell\""]),
        ("page.wasm", b"<!DOCTYPE html>", &["not WebAssembly", "\"<!DO\""]),
        ("zeros.wasm", &[0; 4096], &["not WebAssembly", r"\x00\x00\x00\x00"]),
        ("header.wasm", b"\0asm\x0d\0", &["cut off or damaged", "copy or build it again", "6 bytes"]),
        ("core.wasm", &module, &["a core module with neither a `_start` nor a world", "wasm32-wasip2"]),
        ("env.wasm", &foreign, &["cannot be made a component", "`env`", "preview 1", "wasm32-wasip2"]),
    ];
    for (name, content, says) in cases {
        refuses(&desk, &desk.write(name, content), says);
    }
}

#[test]
fn a_component_that_was_cut_off_is_told_from_a_whole_one() {
    let desk = Desk::new();
    let whole = fs::read(good()).expect("a guest");
    for (name, length) in [("half.wasm", whole.len() / 2), ("nearly.wasm", whole.len() - 5)] {
        let module = desk.write(name, &whole[..length]);
        refuses(&desk, &module, &["cut off or damaged", "copy or build it again"]);
    }
}

#[test]
fn components_that_are_no_tasks_say_what_they_lack_and_where_to_look() {
    let desk = Desk::new();
    let nothing = component("(component)");
    let wrong_type = component(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "on-start-leading" (func $f)))"#,
    );
    for (name, content) in [("nothing.wasm", nothing), ("type.wasm", wrong_type)] {
        let module = desk.write(name, content);
        refuses(
            &desk,
            &module,
            &["exports neither `on-start-leading: func(term)", "nor `wasi:cli/run`", "leasehold wit"],
        );
    }
    let foreign = component(r#"(component (import "acme:queue/send@1.2.0" (instance (export "send" (func)))))"#);
    let module = desk.write("foreign.wasm", foreign);
    refuses(&desk, &module, &["acme:queue/send@1.2.0", "this host does not have", "leasehold wit"]);
}

#[test]
fn a_component_for_another_version_of_the_world_names_both() {
    let desk = Desk::new();
    let newer = component(
        r#"(component (import "leasehold:task/leadership@0.2.0" (instance (export "certain-for" (func (result u64))))))"#,
    );
    let module = desk.write("newer.wasm", newer);
    refuses(&desk, &module, &["built for leasehold:task@0.2.0", "this host speaks leasehold:task@0.1.0"]);
}

#[test]
fn what_cannot_be_read_or_is_too_large_is_named() {
    let desk = Desk::new();
    refuses(&desk, &desk.text("missing.wasm"), &["there is no such file"]);
    let folder = desk.path("folder.wasm");
    fs::create_dir(&folder).expect("a folder");
    refuses(&desk, &desk.text("folder.wasm"), &["it is a folder"]);
    let below = desk.write("file", "");
    refuses(&desk, &format!("{below}/task.wasm"), &["Not a directory"]);
    let huge = File::create(desk.path("huge.wasm")).expect("a file");
    huge.set_len(100 << 20).expect("a file with a hole");
    refuses(&desk, &desk.text("huge.wasm"), &["100.0 MiB", "64.0 MiB"]);
}

#[test]
fn a_module_that_is_not_the_pinned_one_is_not_run() {
    let desk = Desk::new();
    let pin = format!("sha256:{}", "0".repeat(64));
    let digest = digest_of_good();
    desk.refuses_to_run(&[good(), "--digest", &pin], MISTAKE, &[good(), &pin, &digest, "change the pin"]);
    desk.has_no_lease();
}

fn digest_of_good() -> String {
    let said = leasehold(&["check", good()], &[]);
    let line = said.stdout.lines().find(|line| line.contains("digest")).expect("a line with the digest");
    line.split_whitespace().last().expect("the digest").to_owned()
}

#[test]
fn check_tells_what_a_good_module_is_and_needs() {
    let Said { code, stdout, stderr } = leasehold(&["check", good()], &[]);
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    for wanted in ["this host can run it", "sha256:", "KiB", "on-start-leading", "leasehold:task/types@0.1.0"] {
        assert!(stdout.contains(wanted), "no {wanted:?} in:\n{stdout}");
    }
}
