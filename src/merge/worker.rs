//! What one core does with one batch: check, then pass on or mix.

use std::cell::RefCell;

use super::batch::{Batch, InputChunk, SeriesEntry};
use super::cut::CutChunks;
use super::ledger::Ledger;
use super::overlap::{self, Piece, PieceError, Scratch, SeriesOut};
use crate::tsdb::chunkenc::{self, Encoding};
use crate::tsdb::{Corrupt, Error, Result};

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
}

/// Framed bytes of a chunk of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutData {
    /// Those of this input of the batch, unchanged.
    Input(u32),
    /// This part of the batch's own buffer: offset and length in bytes.
    Framed(u32, u32),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Fills the result half of the batch.
pub(super) fn work(batch: &mut Batch) -> Result<(), PieceError> {
    SCRATCH.with_borrow_mut(|scratch| {
        let series = std::mem::take(&mut batch.series);
        let done = series.iter().try_for_each(|s| one_series(batch, s, scratch));
        batch.series = series;
        done
    })
}

fn one_series(
    batch: &mut Batch,
    series: &SeriesEntry,
    scratch: &mut Scratch,
) -> Result<(), PieceError> {
    let range = series.inputs.start as usize..series.inputs.end as usize;
    let inputs = &batch.inputs[range];
    let mut cut = CutChunks::default();
    let mut pieces = Vec::with_capacity(inputs.len());
    for (input, chunk) in (series.inputs.start..).zip(inputs) {
        let at = |error| PieceError { input, error };
        let piece = checked(input, chunk, &mut batch.ledger).map_err(at)?;
        match &chunk.cut {
            None => pieces.push(piece),
            Some(intervals) => cut.add(&piece, intervals, &mut batch.ledger).map_err(at)?,
        }
    }
    cut.extend(&mut pieces);
    let mut out = SeriesOut {
        chunks: &mut batch.outputs,
        framed: &mut batch.framed,
        ledger: &mut batch.ledger,
    };
    overlap::merge_series(&mut pieces, scratch, &mut out)?;
    batch.output_ends.push(batch.outputs.len() as u32);
    Ok(())
}

/// A piece whose CRC fits and whose encoding and sample count are known.
fn checked<'a>(input: u32, chunk: &'a InputChunk, ledger: &mut Ledger) -> Result<Piece<'a>> {
    // This offset counts from the start of the segment already.
    chunk
        .record
        .verify()
        .map_err(|corrupt| corrupt.in_file(&chunk.file(), 0))?;
    let encoding = known_encoding(chunk.record.encoding())?;
    let data = chunk.record.data();
    let samples = chunkenc::num_samples(encoding, data)? as u32;
    ledger.read += u64::from(samples);
    ledger.chunks_read += 1;
    Ok(Piece {
        min_time: chunk.meta.min_time,
        max_time: chunk.meta.max_time,
        rank: chunk.source,
        encoding,
        samples,
        data,
        input,
        intact: true,
    })
}

fn known_encoding(byte: u8) -> Result<Encoding> {
    Encoding::from_byte(byte).ok_or_else(|| {
        let what = format!("chunk encoding {byte} is not known to this version");
        Error::Corrupt(Corrupt::at(0, what))
    })
}
