//! What memory a guest may use, and what it ran into. A refused growth is an answer to the guest (`-1`), which mostly
//! traps then; so what was refused is remembered, for the words about its end.

use bytesize::ByteSize;
use wasmtime::ResourceLimiter;

/// Entries of all of a guest's tables together, 8 bytes each.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances, memories and tables that one component may consist of: Python's has some dozens.
const INSTANCES_MAX: usize = 100;
/// Handles (streams, pollables, requests, ...) that a guest may have at a time. Each is memory of the host's.
pub const HANDLES_MAX: usize = 10_000;

/// Refuses growth above the limits and remembers that it did.
#[derive(Debug)]
pub struct Limiter {
    memory: Bounded,
    tables: Bounded,
}

/// So much of something, in all its places together.
#[derive(Debug)]
struct Bounded {
    max: usize,
    used: usize,
    /// The last growth that was allowed, until it is known to have failed.
    last: usize,
    refused: bool,
}

impl Bounded {
    fn new(max: usize) -> Self {
        Self { max, used: 0, last: 0, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        let allowed = more <= self.max - self.used;
        self.last = if allowed { more } else { 0 };
        self.used += self.last;
        self.refused |= !allowed;
        allowed
    }

    fn failed(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl Limiter {
    /// `memory` bounds all linear memories of the guest together.
    pub fn new(memory: ByteSize) -> Self {
        let bytes = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
        Self { memory: Bounded::new(bytes), tables: Bounded::new(TABLE_ELEMENTS_MAX) }
    }

    /// What the guest asked for more of than it may have, and how much that is.
    pub fn exceeded(&self) -> Option<String> {
        if self.memory.refused {
            return Some(format!("its memory is limited to {}", ByteSize(self.memory.max as u64)));
        }
        self.tables.refused.then(|| format!("its tables are limited to {TABLE_ELEMENTS_MAX} entries"))
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.tables.grow(current, desired))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.tables.failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn several_memories_share_one_limit() {
        let mut limiter = Limiter::new(ByteSize::mib(64));
        assert!(limiter.memory_growing(0, 40 * MIB, None).expect("an answer"));
        assert!(!limiter.memory_growing(0, 30 * MIB, None).expect("an answer"));
        assert!(limiter.memory_growing(0, 24 * MIB, None).expect("an answer"));
        assert_eq!(limiter.exceeded().as_deref(), Some("its memory is limited to 64.0 MiB"));
    }

    #[test]
    fn growth_that_the_machine_refuses_is_not_counted() {
        let mut limiter = Limiter::new(ByteSize::mib(64));
        assert!(limiter.memory_growing(0, 40 * MIB, None).expect("an answer"));
        limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("it goes on");
        assert!(limiter.memory_growing(0, 64 * MIB, None).expect("an answer"));
        assert_eq!(limiter.exceeded(), None);
    }
}
