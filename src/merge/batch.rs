//! Consecutive series of the result with all their pieces, in flat arrays that
//! are used again: no allocation per series or chunk once they have grown.

use std::ops::Range;
use std::sync::Arc;

use super::ledger::Ledger;
use super::worker::OutChunk;
use crate::tsdb::chunks::{ChunkMeta, ChunkRecord, segment_file_name};
use crate::tsdb::encoding::CRC_LEN;
use crate::tsdb::tombstones::Interval;

/// Bytes of chunk data after which a batch is handed on. Large enough to hide
/// the hand-over, small enough that some per core stay inside the last cache.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Series after which a batch is handed on, however small their chunks are.
pub(super) const BATCH_SERIES: usize = 2048;

/// One chunk of one source, as found.
#[derive(Debug)]
pub(super) struct InputChunk {
    /// Index of the source.
    pub source: u32,
    /// What the source's index says of it.
    pub meta: ChunkMeta,
    /// Its bytes, framed as in the segment.
    pub record: ChunkRecord,
    /// Times to leave out: deleted, or outside of the result's range.
    pub cut: Option<Arc<[Interval]>>,
}

impl InputChunk {
    /// Path of its segment below the block.
    pub fn file(&self) -> String {
        let segment = segment_file_name(self.meta.chunk_ref().segment());
        format!("chunks/{segment}")
    }

    /// Where its data begins, bytes from the start of the segment.
    pub fn data_start(&self) -> u64 {
        let record = u64::from(self.meta.chunk_ref().offset());
        let head = self.record.framed().len() - CRC_LEN - self.record.data().len();
        record + head as u64
    }
}

/// One series of the result.
#[derive(Debug, Clone)]
pub(super) struct SeriesEntry {
    /// Its `(name, value)` symbol numbers in [`Batch::labels`].
    pub labels: Range<u32>,
    /// Its pieces in [`Batch::inputs`], source by source.
    pub inputs: Range<u32>,
}

/// The unit of work of one core, before and after.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Symbol numbers of all series, one after the other.
    pub labels: Vec<(u32, u32)>,
    /// Pieces of all series.
    pub inputs: Vec<InputChunk>,
    /// The series, in label order.
    pub series: Vec<SeriesEntry>,
    /// Bytes of all pieces.
    pub bytes: usize,

    /// Result: chunks of all series.
    pub outputs: Vec<OutChunk>,
    /// Result: end of each series' chunks in `outputs`.
    pub output_ends: Vec<u32>,
    /// Result: framed bytes of chunks that were encoded anew.
    pub framed: Vec<u8>,
    /// Result: the books of this batch.
    pub ledger: Ledger,
}

impl Batch {
    /// True once it should be handed on.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.series.len() >= BATCH_SERIES
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.inputs.clear();
        self.series.clear();
        self.bytes = 0;
        self.outputs.clear();
        self.output_ends.clear();
        self.framed.clear();
        self.ledger = Ledger::default();
    }

    /// Symbol numbers of one of its series.
    pub fn labels_of(&self, series: &SeriesEntry) -> &[(u32, u32)] {
        &self.labels[series.labels.start as usize..series.labels.end as usize]
    }
}
