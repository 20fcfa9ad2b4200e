//! Consecutive series of the result with all their pieces, in flat arrays that
//! are used again: no allocation per series or chunk once they have grown.

use std::ops::Range;
use std::sync::Arc;

use super::ledger::Ledger;
use super::pipeline::Dedup;
use super::products::{LEVELS, Products};
use super::worker::{OutChunk, OutData};
use crate::downsample::Counts;
use crate::tsdb::Error;
use crate::tsdb::chunks::{ChunkMeta, ChunkRecord, segment_file_name};
use crate::tsdb::encoding::CRC_LEN;
use crate::tsdb::tombstones::Interval;

/// When a batch is handed on. The result does not depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of chunk data. Large enough to hide the hand-over, small enough
    /// that some per core stay inside the last cache.
    pub bytes: usize,
    /// Series, however small their chunks are.
    pub series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            series: 2048,
        }
    }
}

/// One chunk of one source, as found.
#[derive(Debug)]
pub(super) struct InputChunk {
    /// Index of the source.
    pub source: u32,
    /// Run and replica of that source.
    pub run: u32,
    pub replica: u32,
    /// What the source's index says of it.
    pub meta: ChunkMeta,
    /// Its bytes, framed as in the segment.
    pub record: ChunkRecord,
    /// Times to leave out: deleted, or outside of the result's range.
    pub cut: Option<Arc<[Interval]>>,
}

impl InputChunk {
    /// Completes an error in its data: adds the path of its segment in the
    /// block called `name`, and where in that segment the data begins.
    pub fn locate(&self, error: Error, name: &str) -> Error {
        let at = self.meta.chunk_ref();
        let head = self.record.framed().len() - CRC_LEN - self.record.data().len();
        let file = format!("{name}/chunks/{}", segment_file_name(at.segment()));
        error.in_file(&file, u64::from(at.offset()) + head as u64)
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

/// Chunks of one product: 0 the merged ones, then the lower resolutions.
#[derive(Debug, Default)]
pub(super) struct LevelOut {
    /// Of all series of the batch.
    pub chunks: Vec<OutChunk>,
    /// End of each series' chunks in `chunks`.
    pub ends: Vec<u32>,
    /// What became of the samples, for the lower resolutions.
    pub counts: Counts,
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
    /// How samples of several sources become one series.
    pub dedup: Dedup,
    /// What is made of them; `None` until the batch is filled.
    pub products: Option<Products>,

    /// Result: chunks of all series, by level.
    pub levels: [LevelOut; LEVELS],
    /// Result: framed bytes of chunks that were encoded anew.
    pub framed: Vec<u8>,
    /// Result: the books of this batch.
    pub ledger: Ledger,
    /// Result: samples read from each source.
    pub samples_of: Vec<u64>,
}

impl Batch {
    /// True once it should be handed on.
    pub fn is_full(&self, limits: Limits) -> bool {
        self.bytes >= limits.bytes || self.series.len() >= limits.series
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.inputs.clear();
        self.series.clear();
        self.bytes = 0;
        for level in &mut self.levels {
            level.chunks.clear();
            level.ends.clear();
            level.counts = Counts::default();
        }
        self.framed.clear();
        self.ledger = Ledger::default();
        self.samples_of.clear();
    }

    /// Framed bytes of a chunk of the result.
    pub fn framed_bytes(&self, data: OutData) -> &[u8] {
        match data {
            OutData::Input(i) => self.inputs[i as usize].record.framed(),
            OutData::Framed(start, end) => &self.framed[start..end],
        }
    }

    /// Symbol numbers of one of its series.
    pub fn labels_of(&self, series: &SeriesEntry) -> &[(u32, u32)] {
        &self.labels[series.labels.start as usize..series.labels.end as usize]
    }
}
