//! Modules as they stand on a Lease: by their digests, and nothing else is taken for one.

use leasehold_core::{lease::LeaseModules, task::Digest};

use crate::config::parse_digest;

/// What these texts say, of which somebody may have edited any.
pub(super) fn read<'a>(module: Option<&'a str>, good: Option<&'a str>, refused: Option<&'a str>) -> Box<LeaseModules> {
    let digest = |text: Option<&str>| text.and_then(|text| parse_digest(text).ok());
    Box::new(LeaseModules { module: digest(module), good: digest(good), refused: digest(refused) })
}

/// The text of one.
pub(super) fn text(digest: Option<&Digest>) -> Option<String> {
    digest.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_digest_is_read_as_absent() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let long = format!("{digest}00");
        for edited in ["", "?", "sha256:", "sha256:abc", &long, &"x".repeat(100_000)] {
            assert_eq!(read(Some(edited), None, Some(edited)), Box::default(), "{edited:.80}");
        }
        let read = read(Some(&digest), None, None);
        assert_eq!(text(read.module.as_ref()), Some(digest));
        assert_eq!((read.good, read.refused), (None, None));
    }
}
