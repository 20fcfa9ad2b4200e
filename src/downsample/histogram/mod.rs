//! Native histograms into aggregates: count, sum and counter, no min and max.
//!
//! Terms:
//!
//! - **Kind**: gauge or counter, exponential or custom buckets and these with
//!   which bounds. A chunk has histograms of one kind, but one of gauges takes
//!   counters, too.
//! - **Grid**: schema and zero threshold of a chunk. Finer histograms are made
//!   coarser, narrower zero buckets are widened, *before* anything is added or
//!   compared, so that a column never has to end for them.
//! - **Total**: what the counter column holds, see [`totals::Total`].
//!   **Reset**: a counter that went down, told by comparing on the grid.
//! - **Part**: the windows of a batch that become one chunk.
//!
//! ```text
//!  raw          pass 1  survey.rs   times, kinds, grids --> parts
//!  chunks ---<
//!               pass 2  cursor.rs -> float -> grid -> sum of the window,
//!                       raw.rs       arith.rs         total of the counter
//!                                                              |
//!                                                  columns.rs  v  per window
//!                                              count | sum | - | - | counter
//!                                                              |
//!  aggregates.rs   whole chunks, column by column  <-----------'
//! ```
//!
//! Invariants, besides those of the folder above:
//!
//! - HD-1: the samples of a run are never in memory all at once, only 16 bytes
//!   for each; the histograms are decoded twice instead.
//! - HD-2: all histograms of a column are on one grid and, unless gauges, go up.
//!   So a column never breaks, and no part of one is lost.
//! - HD-3: where no schema, zero threshold, bound or hint changes within a batch,
//!   the bytes are those of Thanos.

mod aggregates;
mod arith;
mod bounds;
mod columns;
mod cursor;
mod raw;
mod shape;
mod survey;
mod totals;

use crate::downsample::Counts;
use crate::tsdb::chunkenc::{
    AggrChunk, DecodeScratch, EncodedChunks, Encoding, FloatHistogram, FloatSamples,
};

/// Which chunk of a run is to blame, and for what; offsets count from its data.
pub(super) type Failure = (usize, crate::tsdb::Error);

/// Works on one run of histogram chunks at a time; buffers are reused from run to
/// run and grow to the largest histogram and to 16 bytes per sample of a run.
#[derive(Debug, Default)]
pub(super) struct HistogramDownsampler {
    survey: survey::Survey,
    heads: aggregates::Heads,
    scratch: DecodeScratch,
    /// The sample in work.
    sample: FloatHistogram,
    sum: totals::Sum,
    total: totals::Total,
    arith: arith::Arith,
    columns: columns::Columns,
    floats: FloatSamples,
}

impl HistogramDownsampler {
    /// Raw histograms (encodings 2, 3, 5 and 6) to aggregates of `resolution` ms.
    ///
    /// `chunks` are those of the run in order: encoding and data. Appends chunks
    /// of [`Encoding::Aggr`] to `out`, whose `samples` are windows, and adds what
    /// became of the samples to `counts`. On error, `out` and `counts` are as
    /// before.
    ///
    /// # Errors
    /// With the index of the chunk: corrupt data; a chunk that has no histograms;
    /// histograms whose buckets are 2^31 numbers apart; counters that go down
    /// although resets were taken out, as negative buckets make them.
    pub(super) fn raw(
        &mut self,
        chunks: &[(Encoding, &[u8])],
        resolution: i64,
        out: &mut EncodedChunks,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        let before = (out.metas.len(), out.bytes.len());
        let done = self.downsample_raw(chunks, resolution, out);
        settle(done, before, out, counts)
    }

    /// First and last timestamp (ms) of the samples of each chunk that the last
    /// call of [`Self::raw`] used, with the index of the chunk.
    pub(super) fn times(&self) -> impl Iterator<Item = (usize, (i64, i64))> {
        self.survey.times()
    }

    /// Aggregates of `in_resolution` ms to those of `resolution` ms.
    ///
    /// `chunks` are those of the run in order, each with first and last timestamp
    /// (ms) as the index has them. A column that a chunk lacks is left out; one
    /// that all lack is absent in the result. Otherwise as [`Self::raw`], where a
    /// sample is an item of the count column and counts for as many.
    ///
    /// # Errors
    /// As [`Self::raw`]; besides: a count that is not a whole number, a zero
    /// threshold or bound that is no number.
    pub(super) fn aggregates(
        &mut self,
        chunks: &[(i64, i64, AggrChunk<'_>)],
        in_resolution: i64,
        resolution: i64,
        out: &mut EncodedChunks,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        let before = (out.metas.len(), out.bytes.len());
        let done = self.downsample_aggregates(chunks, in_resolution, resolution, out);
        settle(done, before, out, counts)
    }
}

/// Books what was done, or takes it back.
fn settle(
    done: Result<Counts, Failure>,
    (metas, bytes): (usize, usize),
    out: &mut EncodedChunks,
    counts: &mut Counts,
) -> Result<(), Failure> {
    match done {
        Ok(done) => {
            *counts += done;
            Ok(())
        }
        Err(failure) => {
            out.metas.truncate(metas);
            out.bytes.truncate(bytes);
            Err(failure)
        }
    }
}

#[cfg(test)]
mod difference_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod test_support;
