//! Core modules built for WASI preview 1 (`wasm32-wasip1`, `GOOS=wasip1`, older SDKs), made components by the
//! standard adapter of the Bytecode Alliance, as `wasm-tools component new --adapt` would.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wit_component::ComponentEncoder;

use super::module::ModuleError;

/// The component that the core module `bytes` is wrapped in.
///
/// # Errors
/// It is damaged, or nothing in it says what its component would export, or it imports something else.
pub(super) fn componentize(bytes: &[u8]) -> Result<Vec<u8>, ModuleError> {
    let adapter = match kind(bytes).map_err(|error| ModuleError::Invalid(error.to_string()))? {
        Some(Kind::Program) => COMMAND,
        Some(Kind::ForWorld) => REACTOR,
        None => return Err(ModuleError::CoreModule),
    };
    let wrap = |bytes| ComponentEncoder::default().module(bytes)?.adapter(PREVIEW1, adapter)?.validate(true).encode();
    wrap(bytes).map_err(|error| ModuleError::NotAdaptable(format!("{error:#}")))
}

enum Kind {
    /// It exports `_start`: a program with a `main`.
    Program,
    /// It carries the world it was built for, as `wit-bindgen` and `wasm-tools component embed` write it.
    ForWorld,
}

fn kind(bytes: &[u8]) -> wasmparser::Result<Option<Kind>> {
    let mut kind = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                kind = Some(Kind::ForWorld);
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    if export?.name == "_start" {
                        return Ok(Some(Kind::Program));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(kind)
}

/// `bytes` if they are a component, or the component that is made of them.
///
/// # Errors
/// As [`componentize`]; or they are neither.
pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ModuleError> {
    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(ModuleError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm(bytes[..bytes.len().min(4)].to_vec()));
    }
    // Two bytes of version, two of layer: 0 is a core module, 1 a component.
    match bytes.get(4..8) {
        Some([_, _, 0, 0]) => componentize(bytes).map(Cow::Owned),
        Some(_) => Ok(Cow::Borrowed(bytes)),
        None => Err(ModuleError::Invalid(format!("{} bytes are less than a header", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        let engine = Engine::default();
        let compiled = engine.precompile_component(b"\0asm\x0d\0\x01\0").expect("it is a component");
        assert!(matches!(component(&compiled), Err(ModuleError::Precompiled)));
        let compiled = engine.precompile_module(b"\0asm\x01\0\0\0").expect("it is a module");
        assert!(matches!(component(&compiled), Err(ModuleError::Precompiled)));
        assert!(matches!(component(b""), Err(ModuleError::Empty)));
        assert!(matches!(component(b"#!/bin/sh"), Err(ModuleError::NotWasm(_))));
        assert!(matches!(component(b"\0asm\x01\0\0\0"), Err(ModuleError::CoreModule)));
        assert!(matches!(component(b"\0asm\x01\0\0\0\x07"), Err(ModuleError::Invalid(_))));
        assert!(matches!(component(b"\0asm\x0d"), Err(ModuleError::Invalid(_))));
        assert!(matches!(component(&[0; 16]), Err(ModuleError::NotWasm(_))));
        assert!(matches!(component(b"\0asm\x0d\0\x01\0"), Ok(Cow::Borrowed(_))));
    }
}
