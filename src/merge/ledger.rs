//! The books of a merge: every sample that was read is accounted for.

use std::ops::AddAssign;

/// Samples (or count-column samples of downsampled chunks) by fate.
///
/// Invariant of a finished merge, see [`Ledger::balances`]:
/// `read = written + deduplicated + deleted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// In the chunks of the sources, by their headers.
    pub read: u64,
    /// In the chunks of the result, counted as they were encoded or passed on.
    pub written: u64,
    /// Left out because another source had the same timestamp or chunk.
    pub deduplicated: u64,
    /// Left out because a tombstone or the block's range excludes them.
    pub deleted: u64,
    /// Chunks in the sources.
    pub chunks_read: u64,
    /// Chunks of the result that are copies, byte for byte.
    pub chunks_passed: u64,
    /// Chunks of the result that were encoded anew.
    pub chunks_encoded: u64,
    /// Start timestamps that the written encodings cannot carry.
    pub start_times_dropped: u64,
}

impl Ledger {
    /// True if no sample was lost or made up.
    pub fn balances(&self) -> bool {
        self.read == self.written + self.deduplicated + self.deleted
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        // Named one by one so that a new column cannot be forgotten here.
        let Self {
            read,
            written,
            deduplicated,
            deleted,
            chunks_read,
            chunks_passed,
            chunks_encoded,
            start_times_dropped,
        } = other;
        self.read += read;
        self.written += written;
        self.deduplicated += deduplicated;
        self.deleted += deleted;
        self.chunks_read += chunks_read;
        self.chunks_passed += chunks_passed;
        self.chunks_encoded += chunks_encoded;
        self.start_times_dropped += start_times_dropped;
    }
}
