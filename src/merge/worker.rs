//! What one core does with one batch: check, then pass on or mix.

use std::cell::RefCell;

use super::batch::{Batch, InputChunk, SeriesEntry};
use super::cut;
use super::ledger::Ledger;
use super::lower;
use super::overlap::{self, NewChunks, Piece, PieceError, Scratch, SeriesOut};
use super::penalty;
use super::pipeline::Dedup;
use crate::tsdb::chunkenc::{self, Encoding};
use crate::tsdb::{Corrupt, Damage, Error, Result};

/// A chunk of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutChunk {
    /// First sample, ms.
    pub min_time: i64,
    /// Last sample, ms.
    pub max_time: i64,
    /// How its data is encoded.
    pub encoding: Encoding,
    /// Samples.
    pub samples: u32,
    /// Where its framed bytes are.
    pub data: OutData,
    /// Where its samples lie in [`Scratch::tap`], if they were kept.
    pub tap: Option<u32>,
}

/// Framed bytes of a chunk of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutData {
    /// Those of this input of the batch, unchanged.
    Input(u32),
    /// This part of the batch's own buffer: first byte, and the one behind.
    Framed(usize, usize),
}

/// Work on a batch; tests put in one that fails.
pub(super) type Work = fn(&mut Batch) -> Result<(), PieceError>;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Fills the result half of the batch.
pub(super) fn work(batch: &mut Batch) -> Result<(), PieceError> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.reset();
        all_series(batch, scratch)
    })
}

fn all_series(batch: &mut Batch, scratch: &mut Scratch) -> Result<(), PieceError> {
    let inputs = batch.inputs.as_slice();
    let [merged, lower @ ..] = &mut batch.levels;
    let mut out = SeriesOut {
        chunks: &mut merged.chunks,
        framed: &mut batch.framed,
        ledger: &mut batch.ledger,
    };
    // Used again from series to series.
    let mut pieces = Vec::new();
    let samples_of = &mut batch.samples_of;
    let downsamples = batch.products.is_some_and(|p| p.downsamples());
    for series in &batch.series {
        let start = out.chunks.len();
        scratch.tap.clear();
        scratch.tapping = downsamples && batch.dedup == Dedup::OneToOne;
        let cut = gather(inputs, series, &mut pieces, out.ledger, samples_of)?;
        if cut.is_empty() {
            merge_series(batch.dedup, &mut pieces, scratch, &mut out)?;
        } else {
            // Rare, and what was cut does not live as long as `pieces`.
            let mut with_cut = pieces.clone();
            cut.extend(&mut with_cut);
            merge_series(batch.dedup, &mut with_cut, scratch, &mut out)?;
        }
        let emptied = out.chunks.len() == start;
        out.ledger.series_emptied += u64::from(emptied);
        out.ledger.series_written += u64::from(!emptied);
        if let Some(products) = batch.products.filter(|p| p.downsamples() && !emptied) {
            let chunks = lower::Chunks {
                inputs,
                chunks: &out.chunks[start..],
                first_input: series.inputs.start,
            };
            lower::downsample(&chunks, products, scratch, out.framed, lower)?;
            if !products.merged {
                // Their bytes, if any, go with the batch.
                out.chunks.truncate(start);
            }
        }
        for level in &mut *lower {
            level.ends.push(level.chunks.len() as u32);
        }
        merged.ends.push(out.chunks.len() as u32);
    }
    Ok(())
}

fn merge_series(
    dedup: Dedup,
    pieces: &mut Vec<Piece<'_>>,
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    match dedup {
        Dedup::OneToOne => overlap::merge_series(pieces, scratch, out),
        Dedup::Penalty => penalty::merge_series(pieces, scratch, out),
    }
}

/// Checks the pieces of a series, and counts their samples by source. Those of which something is to be left out
/// come back apart, without it.
fn gather<'a>(
    inputs: &'a [InputChunk],
    series: &SeriesEntry,
    pieces: &mut Vec<Piece<'a>>,
    ledger: &mut Ledger,
    samples_of: &mut [u64],
) -> Result<NewChunks, PieceError> {
    let range = series.inputs.start as usize..series.inputs.end as usize;
    let mut left = NewChunks::default();
    pieces.clear();
    for (input, chunk) in (series.inputs.start..).zip(&inputs[range]) {
        let at = |error| PieceError { input, error };
        let piece = checked(input, chunk, ledger).map_err(at)?;
        if let Some(samples) = samples_of.get_mut(chunk.source as usize) {
            *samples += u64::from(piece.samples);
        }
        match &chunk.cut {
            None => pieces.push(piece),
            Some(intervals) => cut::cut(&piece, intervals, &mut left, ledger).map_err(at)?,
        }
    }
    Ok(left)
}

/// A piece whose CRC fits and whose encoding and sample count are known.
pub(super) fn checked<'a>(
    input: u32,
    chunk: &'a InputChunk,
    ledger: &mut Ledger,
) -> Result<Piece<'a>> {
    // All errors here count from the start of the data.
    let verified = chunk.record.verify();
    verified.map_err(|corrupt| Corrupt {
        offset: 0,
        ..corrupt
    })?;
    let encoding = known_encoding(chunk.record.encoding())?;
    let data = chunk.record.data();
    let samples = chunkenc::num_samples(encoding, data)? as u32;
    ledger.read += u64::from(samples);
    ledger.chunks_read += 1;
    Ok(Piece {
        min_time: chunk.meta.min_time,
        max_time: chunk.meta.max_time,
        rank: chunk.source,
        run: chunk.run,
        replica: chunk.replica,
        encoding,
        samples,
        data,
        input,
        intact: true,
    })
}

fn known_encoding(byte: u8) -> Result<Encoding> {
    Encoding::from_byte(byte).ok_or_else(|| {
        let what = format!(
            "chunk encoding {byte} is not known to this version of lithify: use a newer one"
        );
        Error::Corrupt(Corrupt::at(0, what).because(Damage::UnknownChunkEncoding))
    })
}
