//! What a source had last: so that a host starts with it while a registry is down, and does so with what was checked
//! when it was up.
//!
//! A file for each source says which module, and is sealed as compiled modules are, by a key that is made from theirs.

use bytesize::ByteSize;
use leasehold_core::task::Digest;
use ring::hmac;

use super::sealed::KEY_BYTES;
use crate::{config::parse_digest, guest::module::digest};

/// What the names of the files end with.
pub(super) const SUFFIX: &str = ".source";

/// What all of them may have together: some thousands of sources.
pub(super) const ALL_BYTES_MAX: u64 = 1024 * 1024;

/// What one has, and some more.
pub(super) const BYTES_MAX: u64 = 1024;

/// What a file begins with, after the HMAC; and what its key is made of.
const MAGIC: &[u8] = b"leasehold last module of a source 1\n";

/// How long an HMAC is.
const TAG_BYTES: usize = 32;

/// Which module a source had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guest) struct LastKnown {
    pub(in crate::guest) digest: Digest,
    /// Of its bytes.
    pub(in crate::guest) size: ByteSize,
}

pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), MAGIC);
        Self(hmac::Key::new(hmac::HMAC_SHA256, made.as_ref()))
    }

    pub(super) fn file_name(source: &str) -> String {
        format!("{}{SUFFIX}", digest(source.as_bytes()).trim_start_matches("sha256:"))
    }

    fn about(source: &str) -> Vec<u8> {
        [MAGIC, digest(source.as_bytes()).as_bytes(), b"\n"].concat()
    }

    pub(super) fn put_on(&self, source: &str, known: &LastKnown) -> Vec<u8> {
        let LastKnown { digest, size } = known;
        let text = [&Self::about(source)[..], format!("{digest} {}\n", size.as_u64()).as_bytes()].concat();
        [hmac::sign(&self.0, &text).as_ref(), &text].concat()
    }

    /// `None`: it is not what [`Seal::put_on`] has made for this very source.
    pub(super) fn take(&self, source: &str, file: &[u8]) -> Option<LastKnown> {
        let (tag, text) = file.split_at_checked(TAG_BYTES)?;
        hmac::verify(&self.0, text, tag).ok()?;
        let known = std::str::from_utf8(text.strip_prefix(&*Self::about(source))?).ok()?;
        let (digest, size) = known.strip_suffix('\n')?.split_once(' ')?;
        Some(LastKnown { digest: parse_digest(digest).ok()?, size: ByteSize(size.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_believed_of_its_own_source_in_its_own_folder_and_as_it_was_written() {
        let seal = Seal::new(&[7; KEY_BYTES]);
        let known = LastKnown { digest: digest(b"module"), size: ByteSize(6) };
        let file = seal.put_on("oci:a/b:1", &known);
        assert!(file.len() as u64 <= BYTES_MAX);
        assert_eq!(seal.take("oci:a/b:1", &file), Some(known.clone()));
        assert_eq!(seal.take("oci:a/b:2", &file), None, "another source");
        assert_eq!(Seal::new(&[8; KEY_BYTES]).take("oci:a/b:1", &file), None, "another folder");
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(seal.take("oci:a/b:1", &damaged), None, "byte {at}");
            assert_eq!(seal.take("oci:a/b:1", &file[..at]), None, "cut off at {at}");
        }
    }
}
