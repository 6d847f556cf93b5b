//! Compiled modules as files, and the only `unsafe` of this project: taking such a file back.
//!
//! wasmtime runs the machine code in it as it stands. Bytes that wasmtime did not write may do whatever this process
//! may do, so [`Component::deserialize`] is `unsafe`, and asks for one thing: that it is given nothing but what
//! [`Component::serialize`] has returned, of this or any other version of wasmtime. Here is why it is:
//!
//! 1. Who can write into the folder could as well replace this program's other files. The folder is therefore the
//!    user's own that this process runs as, and nobody else may write there ([`super::folder`] looks at the open
//!    folder, and at each open file, not at paths). That is the boundary of trust: against its own user, and against
//!    root, no process can defend itself.
//! 2. Within it, each file is sealed: an HMAC over all of it, by a random key that is made in the folder when it is
//!    first used and never leaves it. A file that was damaged, cut off, written half, made by hand, or copied from
//!    another folder or machine does not have the right one, and is not looked at further.
//! 3. Under the seal stand the digest of the module, the build of this host and the settings of the engine. A file
//!    with another module's name, or of another host that shares the folder, is whole, and is refused all the same.
//!    (wasmtime checks its own version and settings once more.)
//! 4. What was checked is what is used: the file is read into memory once, and never mapped, so that nothing that
//!    becomes of it afterwards can reach the code.
//! 5. The seal is put only on what `Component::serialize` has returned, in this module ([`Seal::put_on`]).
#![allow(unsafe_code)]

use std::hash::{Hash, Hasher};

use leasehold_core::task::Digest;
use ring::hmac;
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

/// What is sealed by: [`Seal::new`].
pub(super) const KEY_BYTES: usize = 32;

/// What a sealed file begins with, after the HMAC.
const MAGIC: &[u8] = b"leasehold compiled module 1\n";

/// Whatever takes part in compiling stands in there, with its checksum: wasmtime, cranelift, the adapter.
const DEPENDENCIES: &[u8] = include_bytes!("../../../../Cargo.lock");

/// How long an HMAC is.
const TAG_BYTES: usize = 32;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("it was not written by a host of this folder, or is damaged")]
    Unsealed,
    #[error("it is another module's, or another host's")]
    Another,
    #[error("wasmtime does not take it: {0}")]
    Engine(String),
}

/// Puts seals on compiled modules, and takes those that have one.
pub(super) struct Seal {
    key: hmac::Key,
    engine: Engine,
    /// Of this host and its engine.
    build: [u8; 32],
}

/// A compiled module, ready to be written: `head`, then `code`.
pub(super) struct Sealed {
    pub(super) head: Vec<u8>,
    pub(super) code: Vec<u8>,
}

impl Seal {
    pub(super) fn new(key: &[u8; KEY_BYTES], engine: &Engine) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), engine: engine.clone(), build: build(engine) }
    }

    /// The name of a module's file. Other builds of this host, and other machines, have other names.
    pub(super) fn file_stem(&self, module: &Digest) -> String {
        let build: String = self.build[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{build}", module.trim_start_matches("sha256:"))
    }

    fn about(&self, module: &Digest) -> Vec<u8> {
        [MAGIC, &self.build, module.as_bytes(), b"\n"].concat()
    }

    /// What `module` was compiled to, under the seal.
    ///
    /// # Errors
    /// wasmtime cannot write it down.
    pub(super) fn put_on(&self, module: &Digest, compiled: &Component) -> wasmtime::Result<Sealed> {
        let code = compiled.serialize()?;
        let about = self.about(module);
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(&about);
        signing.update(&code);
        Ok(Sealed { head: [signing.sign().as_ref(), &about].concat(), code })
    }

    /// What `module` was compiled to, out of a file's bytes.
    ///
    /// # Errors
    /// They are not what [`Seal::put_on`] has made of this very module, with this key, in this build.
    pub(super) fn take(&self, module: &Digest, file: &[u8]) -> Result<Component, Refused> {
        let (tag, sealed) = file.split_at_checked(TAG_BYTES).ok_or(Refused::Unsealed)?;
        hmac::verify(&self.key, sealed, tag).map_err(|ring::error::Unspecified| Refused::Unsealed)?;
        let code = sealed.strip_prefix(&*self.about(module)).ok_or(Refused::Another)?;
        // SAFETY: `code` is under the seal of this folder's key, which is put on nothing but what `serialize` has
        // returned; it is of this module, build and engine; and it is this process's own memory. See above.
        unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| Refused::Engine(format!("{error:#}")))
    }
}

/// Of this host, whatever it was built with, and of all that makes its engine compile as it does on this machine.
fn build(engine: &Engine) -> [u8; 32] {
    let mut hasher = Hashing(Sha256::new());
    (env!("CARGO_PKG_VERSION"), DEPENDENCIES).hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// [`Hash`] by a hash that does not collide.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(engine: &Engine) -> Component {
        // The empty one: `\0asm`, version 13, layer 1.
        Component::from_binary(engine, b"\0asm\x0d\0\x01\0").expect("it is a component")
    }

    fn file(seal: &Seal, module: &str) -> Vec<u8> {
        let Sealed { head, code } = seal.put_on(&module.into(), &component(&seal.engine)).expect("it is written");
        [head, code].concat()
    }

    #[test]
    fn what_was_sealed_is_taken_and_nothing_that_differs_in_a_bit_or_was_cut_off() {
        let seal = Seal::new(&[7; KEY_BYTES], &crate::guest::engine::engine().expect("an engine"));
        let whole = file(&seal, "sha256:a");
        let module = "sha256:a".into();
        seal.take(&module, &whole).expect("it is what was sealed");
        let steps = (0..whole.len()).step_by(97).chain([whole.len() - 1]);
        for at in steps {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(matches!(seal.take(&module, &damaged), Err(Refused::Unsealed)), "byte {at}");
            assert!(matches!(seal.take(&module, &whole[..at]), Err(Refused::Unsealed)), "cut off at {at}");
        }
        assert!(matches!(seal.take(&module, &[whole, vec![0]].concat()), Err(Refused::Unsealed)), "longer");
    }

    #[test]
    fn of_another_module_another_build_another_engine_or_another_folder_is_refused() {
        let engine = crate::guest::engine::engine().expect("an engine");
        let seal = Seal::new(&[7; KEY_BYTES], &engine);
        let module = "sha256:a".into();
        assert!(matches!(seal.take(&module, &file(&seal, "sha256:b")), Err(Refused::Another)), "another module");
        let newer = Seal { build: [1; 32], ..Seal::new(&[7; KEY_BYTES], &engine) };
        assert!(matches!(seal.take(&module, &file(&newer, "sha256:a")), Err(Refused::Another)), "another build");
        let folder = Seal::new(&[8; KEY_BYTES], &engine);
        assert!(matches!(seal.take(&module, &file(&folder, "sha256:a")), Err(Refused::Unsealed)), "another folder");

        let mut config = wasmtime::Config::new();
        config.wasm_component_model(true).epoch_interruption(false);
        let other = Seal::new(&[7; KEY_BYTES], &Engine::new(&config).expect("an engine"));
        assert_ne!(other.file_stem(&module), seal.file_stem(&module));
        assert!(matches!(seal.take(&module, &file(&other, "sha256:a")), Err(Refused::Another)), "another engine");
        // And if only the engine's own check were left:
        let lenient = Seal { build: other.build, ..Seal::new(&[7; KEY_BYTES], &engine) };
        assert!(matches!(lenient.take(&module, &file(&other, "sha256:a")), Err(Refused::Engine(_))));
    }
}
