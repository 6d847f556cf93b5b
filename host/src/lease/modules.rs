//! Modules as they stand on a Lease: by their digests, and nothing else is taken for one.

use leasehold_core::task::Digest;

use crate::config::parse_digest;

/// What such a text says, which somebody may have edited.
pub(super) fn read(text: Option<&str>) -> Option<Digest> {
    text.and_then(|text| parse_digest(text).ok())
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
            assert_eq!(read(Some(edited)), None, "{edited:.80}");
        }
        assert_eq!(read(None), None);
        assert_eq!(text(read(Some(&digest)).as_ref()), Some(digest));
    }
}
