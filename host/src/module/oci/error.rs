//! Why an artifact is not had.

use std::time::Duration;

use bytesize::ByteSize;
use leasehold_core::task::Digest;

use crate::module::MODULE_BYTES_MAX;

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// No answer, or not in time, or not to its end.
    #[error("{what}: {why}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// In plain words.
        why: String,
    },
    /// An answer that is none.
    #[error("{what}: it answers {status}{words}")]
    Answered {
        /// What was asked for.
        what: String,
        /// Of the answer.
        status: http::StatusCode,
        /// Its own words, after a colon, if there are any.
        words: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The registry does not know who asks, or does not let them.
    #[error("{what}: {why}")]
    Denied {
        /// What was asked for.
        what: String,
        /// What it says, and which credentials it was given.
        why: String,
    },
    /// What came is not what the digest names.
    #[error("{what} is not what its digest names ({expected}): the registry, or what is before it, gives wrong bytes")]
    WrongBytes {
        /// What was asked for.
        what: String,
        /// By which it was asked for.
        expected: Digest,
    },
    /// There is no such artifact.
    #[error("{0}")]
    Missing(String),
    /// There is one, and no module in it.
    #[error("{0}")]
    NotAModule(String),
    /// It is larger than any task, or than anything of its kind.
    #[error("{what} has {size}, and more than {max} is not taken")]
    TooLarge {
        /// Of which.
        what: String,
        /// As it is said to have.
        size: ByteSize,
        /// The bound.
        max: ByteSize,
    },
    /// It is not signed with the key it has to be signed with.
    #[error("{0}")]
    NotSigned(String),
}

impl OciError {
    pub(super) fn too_large(what: &str, size: u64) -> Self {
        Self::TooLarge { what: what.to_owned(), size: ByteSize(size), max: MODULE_BYTES_MAX }
    }

    /// Whether this says nothing about the module: the registry cannot be reached, or does not do what it should.
    pub fn is_of_the_registry(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Answered { .. } | Self::Denied { .. } | Self::WrongBytes { .. })
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
