//! From bytes to a component that only has to be instantiated.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use leasehold_core::task::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::{
    cache::LastKnown,
    compile, core_module,
    runtime::GuestRuntime,
    world::{self, World},
};

/// Compiled, linked, and checked against the world (wasmtime's `Pre`): starting it costs one
/// instantiation.
pub struct ReadyModule {
    pub(super) world: World,
    /// `sha256:...` of the bytes.
    pub digest: Digest,
    /// The size of the bytes.
    pub size: ByteSize,
    /// How long compiling took, or reading what it was compiled to before.
    pub compile_time: Duration,
    /// It was not compiled now, but by an earlier start of this host, or another one of this folder.
    pub from_cache: bool,
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
    /// Compiled already, by `wasmtime compile` or the like.
    #[error(
        "it is compiled already, which could do anything on this machine, so that a host runs only what it has compiled \
         itself: give the `.wasm` that it was made of"
    )]
    Precompiled,
    /// A core module that says nothing of what it is.
    #[error(
        "it is a core module with neither a `_start` nor a world in it, so nothing in it can be called: build it as a \
         component, for `wasm32-wasip2`, or as a program"
    )]
    CoreModule,
    /// A core module that the adapter for WASI preview 1 does not fit.
    #[error(
        "it is a core module that cannot be made a component: {0} (one for WASI preview 1 is made one on loading; for \
         others, build for `wasm32-wasip2`)"
    )]
    NotAdaptable(String),
    /// Cut off, or damaged.
    #[error("it is cut off or damaged; copy or build it again ({0})")]
    Invalid(String),
    /// An import that this host does not have.
    #[error("it needs something this host does not have: {0} (`leasehold wit` prints what there is)")]
    Import(String),
    /// It was built for another version of the WIT package.
    #[error("it was built for leasehold:task@{built_for}, and this host speaks {ours}: {why}", ours = world::this_version())]
    OtherVersion {
        /// The version in its imports.
        built_for: semver::Version,
        /// What does not fit.
        why: String,
    },
    /// The export is missing or has another type.
    #[error(
        "it exports neither `on-start-leading: func(term) -> result<_, string>` nor `wasi:cli/run`, so it is not a \
         task: {0} (`leasehold wit` prints the world to build for)"
    )]
    Export(String),
    /// One of the callbacks is missing or has another type.
    #[error(
        "it exports a callback, but not both as `on-stop-leading: func(term, stop-reason)` and `on-new-leader: \
         func(identity: string)`: {0} (build it for the world `observing-leader-task`, which `leasehold wit` prints)"
    )]
    Callbacks(String),
    /// There is nothing to compile it with.
    #[error("it cannot be compiled: {0}")]
    NoThreads(#[from] rayon::ThreadPoolBuildError),
}

impl ReadyModule {
    /// The names of what it imports.
    pub fn imports(&self) -> Vec<String> {
        imports(self.world.linked().component())
    }

    /// The names of what it exports.
    pub fn exports(&self) -> Vec<String> {
        let component = self.world.linked().component();
        component.component_type().exports(component.engine()).map(|(name, _)| name.to_owned()).collect()
    }

    /// Whether it hears of the end of terms, and of who leads.
    pub fn observes(&self) -> bool {
        self.world.observes()
    }

    /// What is called, in words.
    pub fn export(&self) -> &'static str {
        self.world.export()
    }
}

fn imports(component: &Component) -> Vec<String> {
    component.component_type().imports(component.engine()).map(|(name, _)| name.to_owned()).collect()
}

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Arc::from(format!("sha256:{hex}"))
}

impl GuestRuntime {
    /// Compiles, links, and checks a component, or a core module that can be made one. Takes seconds for a large one,
    /// on threads of its own that give way to all others: call it where blocking is fine.
    ///
    /// # Errors
    /// Says what the bytes are not.
    pub fn prepare(&self, bytes: &[u8]) -> Result<ReadyModule, ModuleError> {
        compile::at_low_priority(|| self.prepare_here(bytes))?
    }

    fn prepare_here(&self, bytes: &[u8]) -> Result<ReadyModule, ModuleError> {
        let begun = Instant::now();
        let digest = digest(bytes);
        let cached = self.cache().and_then(|cache| cache.load(&digest));
        let from_cache = cached.is_some();
        let component = cached.map_or_else(|| self.compile(bytes), Ok)?;
        let compile_time = begun.elapsed();
        let world = self.link(&component).map_err(|error| {
            match world::other_version(imports(&component).iter().map(String::as_str)) {
                Some(built_for) => ModuleError::OtherVersion { built_for, why: error.to_string() },
                None => error,
            }
        })?;
        // Not what no task can be.
        if let Some(cache) = self.cache().filter(|_| !from_cache) {
            cache.store(&digest, &component);
        }
        Ok(ReadyModule { world, digest, size: ByteSize(bytes.len() as u64), compile_time, from_cache })
    }

    /// Keeps in the cache, where there is one, that `source` has this module.
    pub fn remember(&self, source: &str, module: &ReadyModule) {
        if let Some(cache) = self.cache() {
            cache.remember(source, &LastKnown { digest: module.digest.clone(), size: module.size });
        }
    }

    /// The module that `source` was last remembered with, where the cache still has what it was compiled to. Reads
    /// files: call it where blocking is fine.
    pub fn last_known(&self, source: &str) -> Option<ReadyModule> {
        let begun = Instant::now();
        let cache = self.cache()?;
        let LastKnown { digest, size } = cache.last_known(source)?;
        let component = cache.load(&digest)?;
        // It was linked by a host of the same build before it was kept.
        let world = self.link(&component).ok()?;
        Some(ReadyModule { world, digest, size, compile_time: begun.elapsed(), from_cache: true })
    }

    fn compile(&self, bytes: &[u8]) -> Result<Component, ModuleError> {
        let component = core_module::component(bytes)?;
        Component::from_binary(self.engine(), &component).map_err(|error| ModuleError::Invalid(format!("{error:#}")))
    }

    fn link(&self, component: &Component) -> Result<World, ModuleError> {
        let linked = self.linker().instantiate_pre(component).map_err(|error| {
            // "component imports instance `a:b/c`, but a matching implementation was not found in the linker: ..."
            let words = format!("{error:#}").replace("component imports instance ", "");
            ModuleError::Import(words.replace(", but a matching implementation was not found in the linker", ""))
        })?;
        World::of(linked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_registries_write_it() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(&*digest(b""), empty);
    }
}
