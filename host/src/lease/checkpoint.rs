//! A checkpoint as text, as it stands on a Lease: base64 (RFC 4648, section 4), padded, in one line.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use leasehold_core::checkpoint::{Checkpoint, SavedState};

/// What this text says. Text that nobody can have saved is kept as it is.
pub(super) fn read(text: &str) -> Checkpoint {
    let state = BASE64_STANDARD.decode(text).ok().and_then(|bytes| SavedState::new(bytes).ok());
    state.map_or_else(|| Checkpoint::Unreadable(Arc::from(text)), Checkpoint::Saved)
}

/// The text of it.
pub(super) fn text(checkpoint: &Checkpoint) -> String {
    match checkpoint {
        Checkpoint::Saved(state) => BASE64_STANDARD.encode(state.bytes()),
        Checkpoint::Unreadable(text) => text.as_ref().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::checkpoint::STATE_BYTES_MAX;

    use super::*;

    #[test]
    fn every_text_is_written_back_as_it_was_read() {
        let largest = BASE64_STANDARD.encode(vec![0xff; STATE_BYTES_MAX]);
        let one_more = BASE64_STANDARD.encode(vec![0xff; STATE_BYTES_MAX + 1]);
        for saved in ["", "AA==", "aGVsbG8=", &largest] {
            assert!(matches!(read(saved), Checkpoint::Saved(_)), "{saved:.20}");
            assert_eq!(text(&read(saved)), saved);
        }
        for edited in ["?", "AA", "AB==", "aGVs bG8=", "aGVsbG8=\n", "_-8=", &one_more] {
            assert_eq!(read(edited), Checkpoint::Unreadable(edited.into()), "{edited:.20}");
            assert_eq!(text(&read(edited)), edited);
        }
    }
}
