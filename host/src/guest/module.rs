//! From bytes to a component that only has to be instantiated.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use leasehold_core::task::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::{imports::LeaderTaskPre, runtime::GuestRuntime, state::State};

/// Compiled, linked, and checked against the world (wasmtime's `Pre`): starting it costs one
/// instantiation.
pub struct ReadyModule {
    pub(super) pre: LeaderTaskPre<State>,
    /// `sha256:...` of the bytes.
    pub digest: Digest,
    /// The size of the bytes.
    pub size: ByteSize,
    /// How long compiling took.
    pub compile_time: Duration,
}

/// Why some bytes cannot be a task.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Nothing there.
    #[error("it is empty (0 bytes)")]
    Empty,
    /// The first bytes are not `\0asm`.
    #[error("it is not WebAssembly: it begins with \"{}\" instead of \"\\0asm\"", _0.escape_ascii())]
    NotWasm(Vec<u8>),
    /// A core module.
    #[error(
        "it is a core module, not a component: build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Cut off, or damaged.
    #[error("it is cut off or damaged; copy or build it again ({0})")]
    Invalid(String),
    /// An import that this host does not have.
    #[error("it needs something this host does not have: {0} (`leasehold wit` prints what there is)")]
    Import(String),
    /// The export is missing or has another type.
    #[error(
        "it does not export `on-start-leading: func(term) -> result<_, string>`, so it is not a task: {0} (`leasehold \
         wit` prints the world to build for)"
    )]
    Export(String),
}

impl ReadyModule {
    /// The names of what it imports.
    pub fn imports(&self) -> Vec<String> {
        let component = self.pre.instance_pre().component();
        component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect()
    }
}

/// What the first bytes say.
fn check_header(bytes: &[u8]) -> Result<(), ModuleError> {
    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm(bytes[..bytes.len().min(4)].to_vec()));
    }
    // Two bytes of version, two of layer: 0 is a core module, 1 a component.
    match bytes.get(4..8) {
        Some([_, _, 0, 0]) => Err(ModuleError::CoreModule),
        Some(_) => Ok(()),
        None => Err(ModuleError::Invalid(format!("{} bytes are less than a header", bytes.len()))),
    }
}

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Arc::from(format!("sha256:{hex}"))
}

impl GuestRuntime {
    /// Compiles, links, and checks a component. Takes seconds for a large one: call it where
    /// blocking is fine.
    ///
    /// # Errors
    /// Says what the bytes are not.
    pub fn prepare(&self, bytes: &[u8]) -> Result<ReadyModule, ModuleError> {
        check_header(bytes)?;
        let begun = Instant::now();
        let component =
            Component::from_binary(self.engine(), bytes).map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        let compile_time = begun.elapsed();
        let linked = self.linker().instantiate_pre(&component).map_err(|error| {
            // "component imports instance `a:b/c`, but a matching implementation was not found in the linker: ..."
            let words = format!("{error:#}").replace("component imports instance ", "");
            ModuleError::Import(words.replace(", but a matching implementation was not found in the linker", ""))
        })?;
        let pre = LeaderTaskPre::new(linked).map_err(|error| ModuleError::Export(format!("{error:#}")))?;
        Ok(ReadyModule { pre, digest: digest(bytes), size: ByteSize(bytes.len() as u64), compile_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        assert!(matches!(check_header(b""), Err(ModuleError::Empty)));
        assert!(matches!(check_header(b"#!/bin/sh"), Err(ModuleError::NotWasm(_))));
        assert!(matches!(check_header(b"\0asm\x01\0\0\0"), Err(ModuleError::CoreModule)));
        assert!(matches!(check_header(b"\0asm\x0d"), Err(ModuleError::Invalid(_))));
        assert!(matches!(check_header(&[0; 16]), Err(ModuleError::NotWasm(_))));
        assert!(check_header(b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn a_digest_is_written_as_registries_write_it() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(&*digest(b""), empty);
    }
}
