//! The two sizes that Thanos keeps in `thanos.index_stats` of `meta.json`.

use crate::tsdb::chunks::{ChunkMeta, ChunkRef};

/// Approximate sizes as Thanos measures them, bytes; 0 where nothing could be
/// measured (Thanos leaves such a key out).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeStats {
    /// Largest distance between two neighbouring series entries. The last
    /// entry has no neighbour and does not count.
    pub series_max_size: u64,
    /// Largest distance between two neighbouring chunks of a series that lie
    /// in one segment. Of each series the last two chunks do not count.
    pub chunk_max_size: u64,
    last_offset: Option<u64>,
}

impl SizeStats {
    /// Adds the next series, whose entry begins `offset` bytes into the file.
    pub fn observe(&mut self, offset: u64, chunks: &[ChunkMeta]) {
        if let Some(last) = self.last_offset.replace(offset) {
            self.series_max_size = self.series_max_size.max(offset.saturating_sub(last));
        }
        // Thanos stops one pair early: the distance to the last chunk is left out.
        let pairs = chunks.iter().zip(chunks.iter().skip(1));
        for (a, b) in pairs.take(chunks.len().saturating_sub(2)) {
            let (a, b) = (ChunkRef::from(a.reference), ChunkRef::from(b.reference));
            if a.segment() == b.segment() {
                let size = b.offset().saturating_sub(a.offset());
                self.chunk_max_size = self.chunk_max_size.max(u64::from(size));
            }
        }
    }
}
