//! Compressed modules, from whatever source, known by their first bytes. They are expanded as they are read, up to a
//! bound: what a few kilobytes expand to may be anything.

use std::io::{self, Read, Write};

use bytesize::ByteSize;
use flate2::bufread::MultiGzDecoder;

use super::MODULE_BYTES_MAX;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The most that zstd keeps of what it has expanded, as a power of two: no module is larger.
const ZSTD_WINDOW_LOG_MAX: u32 = MODULE_BYTES_MAX.as_u64().ilog2();

/// The slowest level before those that need more memory for expanding, too.
const ZSTD_LEVEL: i32 = 19;

/// Why compressed bytes have no module in them.
#[derive(Debug, thiserror::Error)]
pub enum CompressedError {
    /// Its end is missing, or some of it was changed.
    #[error("it is compressed ({format}), and cut off or damaged: compress or copy it again ({error})")]
    Damaged {
        /// By its first bytes.
        format: &'static str,
        /// The decoder's words.
        error: io::Error,
    },
    /// It expands to more than [`MODULE_BYTES_MAX`].
    #[error(
        "its {compressed} ({format}) expand to more than {MODULE_BYTES_MAX}, and more than that is not taken for a task"
    )]
    TooLarge {
        /// By its first bytes.
        format: &'static str,
        /// Its size as it came.
        compressed: ByteSize,
    },
}

/// Whether [`expand`] has something to do.
pub(super) fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&GZIP) || bytes.starts_with(&ZSTD)
}

/// The bytes themselves where they are not compressed, else what they expand to. Takes its time for a large module, and
/// at most some twice [`MODULE_BYTES_MAX`] of memory.
///
/// # Errors
/// They are damaged, or expand to more than any task.
pub(super) fn expand(bytes: Vec<u8>) -> Result<Vec<u8>, CompressedError> {
    let (format, decoder): (_, io::Result<Box<dyn Read + '_>>) = if bytes.starts_with(&GZIP) {
        ("gzip", Ok(Box::new(MultiGzDecoder::new(&bytes[..]))))
    } else if bytes.starts_with(&ZSTD) {
        ("zstd", zstd_decoder(&bytes))
    } else {
        return Ok(bytes);
    };
    let mut expanded = Vec::new();
    // One more than may be, to know that there are more.
    let read = decoder.and_then(|decoder| decoder.take(MODULE_BYTES_MAX.as_u64() + 1).read_to_end(&mut expanded));
    match read {
        Err(error) => Err(CompressedError::Damaged { format, error }),
        Ok(len) if len as u64 > MODULE_BYTES_MAX.as_u64() => {
            Err(CompressedError::TooLarge { format, compressed: ByteSize(bytes.len() as u64) })
        }
        Ok(_) => Ok(expanded),
    }
}

fn zstd_decoder(bytes: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    let mut decoder = zstd::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(Box::new(decoder))
}

/// As small as zstd makes it without needing more memory where it is expanded. Takes seconds for a large module.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress(bytes).expect("there is memory")
    }

    #[test]
    fn what_is_compressed_is_expanded_and_what_is_not_stays_as_it_is() {
        let module = b"\0asm\x0d\0\x01\0 and so on".repeat(100);
        for compressed in [gzip(&module), zstd(&module), module.clone()] {
            assert_eq!(expand(compressed).expect("it is right"), module);
        }
        assert_eq!(expand(Vec::new()).expect("nothing to expand"), b"");
    }

    #[test]
    fn what_is_cut_off_or_changed_is_said_to_be() {
        let module = b"\0asm\x0d\0\x01\0 and so on".repeat(100);
        for (format, compressed) in [("gzip", gzip(&module)), ("zstd", zstd(&module))] {
            for cut in [compressed.len() - 1, compressed.len() / 2, 5] {
                let error = expand(compressed[..cut].to_owned()).expect_err("a part is missing").to_string();
                assert!(error.contains(format) && error.contains("cut off or damaged"), "{error}");
            }
            let mut changed = compressed.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x55;
            expand(changed).expect_err("both formats have a checksum");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound_and_a_module_of_just_that_size_is_not() {
        let bound = usize::try_from(MODULE_BYTES_MAX.as_u64()).expect("64 MiB");
        // Ten times as much as is taken, of which only the first part is ever made.
        let mut bomb = GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::copy(&mut io::repeat(0).take(10 * bound as u64), &mut bomb).expect("in memory");
        let bomb = bomb.finish().expect("in memory");
        let error = expand(bomb).expect_err("it is a bomb").to_string();
        assert!(error.contains("64.0 MiB") && error.contains("gzip"), "{error}");
        let zeros = |len| zstd::encode_all(io::repeat(0).take(len), 3).expect("in memory");
        let error = expand(zeros(bound as u64 + 1)).expect_err("it is a bomb").to_string();
        assert!(error.contains("64.0 MiB") && error.contains("zstd"), "{error}");
        assert_eq!(expand(zeros(bound as u64)).expect("it is not too large").len(), bound);
    }
}
