//! Bytes as a module: loaded, or refused with an error. What is loaded is started as well, and has to end with its term.
//!
//! Bytes that begin as a module does are taken as they are. From others a valid one is made, because hardly any made by
//! chance gets past the first checks.

#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use leasehold_tests::guest_bench::GuestBench;
use libfuzzer_sys::{
    arbitrary::{self, Unstructured},
    fuzz_target,
};
use wasm_smith::{Component, Config, Module};

/// Long enough for what has an end by itself.
const TERM: Duration = Duration::from_millis(30);
const MAGIC: &[u8] = b"\0asm";

static BENCH: LazyLock<GuestBench> = LazyLock::new(GuestBench::default);

fuzz_target!(|data: &[u8]| {
    if data.starts_with(MAGIC) {
        load(data);
    } else if let Ok(made) = module_from(data) {
        load(&made);
    }
});

fn module_from(data: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let mut from = Unstructured::new(data);
    let config =
        Config { max_memories: 2, allow_start_export: true, export_everything: from.arbitrary()?, ..Config::default() };
    match from.arbitrary()? {
        true => Ok(Component::new(config, &mut from)?.to_bytes()),
        false => Ok(Module::new(config, &mut from)?.to_bytes()),
    }
}

fn load(bytes: &[u8]) {
    if let Ok(module) = BENCH.guests.prepare(bytes) {
        BENCH.start(&Arc::new(module), TERM).outcome();
    }
}
