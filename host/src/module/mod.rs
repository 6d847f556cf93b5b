//! Where modules come from: bytes, and every later change of them.

pub mod cargo;
pub mod file;

use bytesize::ByteSize;

/// The largest module that is read: a Python guest is 20 MB, and nothing sane is three times that.
pub const MODULE_BYTES_MAX: ByteSize = ByteSize::mib(64);
