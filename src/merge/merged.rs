//! What a merge made, for `meta.json` and the books.

use super::ledger::Ledger;
use crate::downsample::{Counts, FIVE_MINUTES_MS};
use crate::tsdb::meta::BlockStats;

/// What a merge made.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// The books; they balance, or the merge would have failed.
    pub ledger: Ledger,
    /// Series of all sources, those included that were not looked at.
    pub series_seen: u64,
    /// One for each product, in the order of
    /// [`super::Products::resolutions`].
    pub blocks: Vec<MergedBlock>,
}

/// One block that a merge made.
#[derive(Debug, Clone, Default)]
pub struct MergedBlock {
    /// Window of its samples in ms, 0 for raw.
    pub resolution: i64,
    /// For `meta.json`.
    pub stats: BlockStats,
    /// The books of its downsampling; `None` for the merged chunks themselves.
    pub counts: Option<Counts>,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of its symbol table.
    pub symbol_bytes: u64,
    /// Bytes of each segment.
    pub segment_bytes: Vec<u64>,
    /// Largest series entry as Thanos measures it, bytes.
    pub series_max_size: u64,
    /// Largest chunk as Thanos measures it, bytes.
    pub chunk_max_size: u64,
}

impl MergedBlock {
    /// Bytes of index and segments.
    pub fn bytes(&self) -> u64 {
        self.index_bytes + self.segment_bytes.iter().sum::<u64>()
    }
}

impl Merged {
    /// What is wrong with the books; `None` if they balance.
    ///
    /// Samples that the merge wrote are those that were downsampled, and what
    /// aggregates of 5m count is what those of 1h were made from.
    pub fn imbalance(&self) -> Option<String> {
        let merged = self.blocks.iter().find(|b| b.counts.is_none());
        if let Some(what) = self.ledger.imbalance(merged.map(|b| &b.stats)) {
            return Some(what);
        }
        // Windows of 5 minutes are made of raw samples: of all that were written.
        let first = self.blocks.iter().find(|b| b.counts.is_some());
        let mut above = first
            .filter(|b| b.resolution == FIVE_MINUTES_MS)
            .map(|_| (0, self.ledger.written));
        for block in &self.blocks {
            let Some(counts) = &block.counts else {
                continue;
            };
            let resolution = block.resolution;
            let off = counts.imbalance();
            if off != 0 {
                return Some(format!(
                    "{off} samples are missing from {counts} at a resolution of {resolution} ms"
                ));
            }
            if let Some((from, counted)) = above.filter(|(_, counted)| *counted != counts.read) {
                return Some(format!(
                    "windows of {from} ms count {counted} samples where those of {resolution} ms \
                     were made from {}",
                    counts.read
                ));
            }
            above = Some((resolution, counts.counted));
        }
        None
    }
}
