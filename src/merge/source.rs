//! An input block, and what the merge knows of it while it reads it.

use crate::tsdb::chunks::{ChunkMeta, ChunkRecord, ChunkRef, SegmentReader};
use crate::tsdb::index::RawSeries;
use crate::tsdb::source::BlobReader;
use crate::tsdb::tombstones::Tombstones;
use crate::tsdb::{Corrupt, Damage, Error, Result};

/// Opens segment `seq` (from 0, as chunk references count) of a block.
pub type OpenSegment = Box<dyn FnMut(u32) -> Result<Box<dyn BlobReader>> + Send>;

/// One input block. Its place in the list handed to the merge is its rank.
pub struct Source {
    /// Name of its folder for messages, the ULID.
    pub name: String,
    /// Its index.
    pub index: Box<dyn BlobReader>,
    /// Its segments, opened when they are reached.
    pub open_segment: OpenSegment,
    /// Start of its range, ms.
    pub min_time: i64,
    /// End of its range, ms, exclusive.
    pub max_time: i64,
    /// The samples to take, ms, end exclusive; all others are left out.
    pub keep: (i64, i64),
    /// Number of the connected run of overlapping blocks that it belongs to.
    /// [`super::Dedup::Penalty`] begins afresh in each.
    pub run: u32,
    /// Which replica it is a block of: equal numbers are blocks of one replica,
    /// and [`super::Dedup::Penalty`] prefers the lower one.
    pub replica: u32,
    /// Deleted ranges, if it has any.
    pub tombstones: Option<Tombstones>,
    /// What it says that it holds, to be compared with what is read; `None`
    /// where that means something else, as for downsampled blocks.
    pub stated: Option<Stated>,
}

/// Chunk records of one block, usually asked for front to back.
pub(super) struct Segments {
    open: OpenSegment,
    current: Option<(u32, SegmentReader)>,
}

impl Segments {
    pub fn new(open: OpenSegment) -> Self {
        Self {
            open,
            current: None,
        }
    }

    /// The framed bytes at a reference, not yet checked.
    pub fn record(&mut self, reference: ChunkRef) -> Result<ChunkRecord> {
        let seq = reference.segment();
        let reader = match &mut self.current {
            Some((at, reader)) if *at == seq => reader,
            current => {
                let reader = SegmentReader::open(seq, (self.open)(seq)?)?;
                &mut current.insert((seq, reader)).1
            }
        };
        reader.record(reference)
    }
}

/// What `meta.json` of a source says that it holds; 0 where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stated {
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples.
    pub samples: u64,
}

/// Checks the labels of a series entry, its chunks against each other and
/// against the range of the block `[min_time, max_time)`.
///
/// The end itself is tolerated, as upstream does: old producers wrote it, and
/// the merge cuts it off where the result ends there, too.
pub(super) fn check_series(
    series: &RawSeries,
    min_time: i64,
    max_time: i64,
    file: &str,
) -> Result<()> {
    let fail = |damage: Damage, what: String| -> Result<()> {
        let corrupt = Corrupt::at(0, what).because(damage);
        Err(Error::Corrupt(corrupt.in_file(file, series.offset)))
    };
    if !series.labels.is_sorted_by(|a, b| a.0 < b.0) {
        let what = "labels of the series do not ascend by name";
        return fail(Damage::UnsortedLabels, what.to_owned());
    }
    if series.chunks.is_empty() {
        let what = "series has no chunks";
        return fail(Damage::SeriesWithoutChunks, what.to_owned());
    }
    let mut before: Option<(i64, i64)> = None;
    for chunk in &series.chunks {
        if let Err((damage, what)) = check_chunk(chunk, before, (min_time, max_time)) {
            return fail(damage, what);
        }
        before = Some((chunk.min_time, chunk.max_time));
    }
    Ok(())
}

/// Checks one chunk against the one before it in its series and against the
/// range of its block.
fn check_chunk(
    chunk: &ChunkMeta,
    before: Option<(i64, i64)>,
    (min_time, max_time): (i64, i64),
) -> Result<(), (Damage, String)> {
    let (min, max) = (chunk.min_time, chunk.max_time);
    if min > max {
        let what = format!("chunk begins at {min} ms, after its end at {max} ms");
        return Err((Damage::IndexMalformed, what));
    }
    if min == max_time && max > max_time {
        let what =
            format!("chunk {min}..={max} ms begins where the block ends (prometheus issue 347)");
        return Err((Damage::Issue347Chunk, what));
    }
    if min < min_time || max > max_time {
        let what = format!(
            "chunk {min}..={max} ms lies outside of the block's range {min_time}..{max_time}"
        );
        return Err((Damage::ChunkOutsideBlock, what));
    }
    // The same chunk twice is harmless: the merge drops exact copies.
    let Some((b_min, b_max)) = before.filter(|b| min <= b.1 && *b != (min, max)) else {
        return Ok(());
    };
    if min < b_min {
        let what =
            format!("chunk {min}..={max} ms is out of order: it follows {b_min}..={b_max} ms");
        return Err((Damage::OutOfOrderChunk, what));
    }
    let what = format!("chunk {min}..={max} ms overlaps the one before it, {b_min}..={b_max} ms");
    Err((Damage::OverlappingChunks, what))
}
