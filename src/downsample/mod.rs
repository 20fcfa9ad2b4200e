//! Samples into aggregates per window of time: raw to 5 minutes, 5 minutes to
//! 1 hour.
//!
//! Terms:
//!
//! - **Resolution**: length of a window in ms; windows are aligned to the epoch.
//! - **Aggregate**: count, sum, min, max or counter of the samples of a window.
//!   **Column**: one aggregate over the windows of a chunk; a chunk has up to
//!   five, side by side (see `tsdb/chunkenc/aggr.rs`).
//! - **Counter column**: the total since the start of the chunk with resets taken
//!   out; its first sample is the first raw one, its last one says at which raw
//!   value the chunk ended, so that a reset at the border is found.
//! - **Run**: consecutive chunks of a series that are all floats or all
//!   histograms; each run is downsampled on its own.
//! - **Batch**: consecutive samples of a run that become one chunk.
//!
//! ```text
//!  raw chunks --decode--> samples of a run --batches of whole windows--> columns
//!             (a plain run becomes windows while it is decoded)          |   |
//!                              5m chunk: five encoded columns <----------'   |
//!                                                                            |
//!                              columns of 5m chunks, whole chunks per batch -'
//!                                        |
//!                                        '--> 1h chunk
//! ```
//!
//! Invariants:
//!
//! - DS-1: the result is a function of the chunks of the series, the same whether
//!   they come from a block or from the merge that is making it.
//! - DS-2: samples read = sum of the count column + stale + NaN + out of order +
//!   unsupported, for every series ([`Counts`]).
//! - DS-3: a window lies in one batch, unless a chunk that was read ends in it.
//! - DS-4: any input ends in chunks or in an error; a batch is never empty.

mod aggregates;
mod columns;
mod counts;
mod floats;
mod histogram;
mod plain;
mod series;
mod window;

pub use counts::Counts;
pub use series::{ChunkError, ChunkView, Downsampler, Level};

/// Window of the first lower resolution, ms.
pub const FIVE_MINUTES_MS: i64 = 5 * 60 * 1000;

/// Window of the second lower resolution, ms.
pub const ONE_HOUR_MS: i64 = 60 * 60 * 1000;

#[cfg(test)]
mod float_tests;
#[cfg(test)]
mod golden_support;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod plain_tests;
