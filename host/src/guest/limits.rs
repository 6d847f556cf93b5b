//! What a guest may use, and whether it ran into that.

use bytesize::ByteSize;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// Entries of all of a guest's tables together.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances, memories and tables that one component may consist of.
const INSTANCES_MAX: usize = 100;

/// Refuses growth above the limits and remembers that it did.
#[derive(Debug)]
pub struct Limiter {
    limits: StoreLimits,
    memory: ByteSize,
    refused_memory: bool,
}

impl Limiter {
    /// `memory` bounds each linear memory.
    pub fn new(memory: ByteSize) -> Self {
        let bytes = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
        let limits = StoreLimitsBuilder::new()
            .memory_size(bytes)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(INSTANCES_MAX)
            .memories(INSTANCES_MAX)
            .tables(INSTANCES_MAX)
            .build();
        Self { limits, memory, refused_memory: false }
    }

    /// The memory limit, if the guest asked for more than that.
    pub fn exceeded_memory(&self) -> Option<ByteSize> {
        self.refused_memory.then_some(self.memory)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = self.limits.memory_growing(current, desired, maximum)?;
        self.refused_memory |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
