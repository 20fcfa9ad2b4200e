//! Reading one object mostly from front to back, from a plain thread.
//!
//! - A **window** is the unit of reading: one ranged request, one `pread`.
//! - The **queue** holds windows that lie in memory or are on their way, one
//!   after the other without a gap.
//! - The **bridge** is a copy of bytes that straddle windows.
//!
//! ```text
//!   remote   offset
//!              v    |------------- depth windows -------------|
//!   ...........[====|====]|[=========]|[~~~~~~~~~]|[~~~~~~~~~]|..........
//!               served     in memory    on its way  on its way  not asked
//!
//!   crossing   [=====####]|[###======]   # copied once into the bridge
//! ```
//!
//! Invariants:
//!
//! - A reader holds at most `depth` windows plus one bridge; whoever keeps a
//!   returned `Bytes` keeps its window alive besides.
//! - A byte is copied at most about twice while `offset` grows, however small
//!   the steps are, and asked for once.
//! - All bytes of one reader belong to one version of the object: same size
//!   and, where the store gives one, same ETag. Otherwise it is an error.

mod ahead;
mod file;
mod pool;

use bytes::Bytes;

pub(super) use ahead::AheadReader;
pub(super) use file::{FileReader, map};

/// How far a reader runs ahead. It costs `window * depth` bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAhead {
    /// Bytes of one request.
    pub window: usize,
    /// Windows held or under way at the same time; 1 reads nothing ahead.
    pub depth: usize,
}

impl Default for ReadAhead {
    /// 4 windows of 2 MiB: keeps a connection busy at 20 ms of latency.
    fn default() -> Self {
        Self {
            window: 2 << 20,
            depth: 4,
        }
    }
}

impl ReadAhead {
    /// The bytes that one reader may hold.
    #[must_use]
    pub fn memory(self) -> usize {
        self.window.saturating_mul(self.depth)
    }
}

/// Bytes of the object with their place.
#[derive(Debug, Clone)]
struct Piece {
    start: u64,
    data: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.data.len() as u64
    }

    /// The bytes from `offset` on, if `offset` lies inside.
    fn from(&self, offset: u64) -> Option<Bytes> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (skip < self.data.len()).then(|| self.data.slice(skip..))
    }
}

/// Where a request for `min_len` bytes ends within an object of `size` bytes.
fn end_of(offset: u64, min_len: usize, size: u64) -> u64 {
    offset.saturating_add(min_len.max(1) as u64).min(size)
}

/// Where to stop copying when a request straddles windows: so far beyond its
/// end that steps of any size are paid for by the bytes they advance.
fn copy_end(offset: u64, end: u64, window: usize, size: u64) -> u64 {
    let more = (end - offset).min(window as u64);
    end.saturating_add(more).min(size)
}

#[cfg(test)]
mod tests;
