//! What blocks of lower resolution will take.
//!
//! ```text
//!  windows   at least   as many as there are samples, were they all in one window each 12
//!            at most    one per series and window of the range, or one per sample
//! ```

use super::cost::{Cost, Span};
use super::filter::LiveBlock;
use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::merge::Products;

/// One block that a job makes.
#[derive(Debug, Clone, PartialEq)]
pub struct LowerCost {
    /// Window of its samples, ms; 0 for raw.
    pub resolution: i64,
    /// Bytes of index and segments.
    pub bytes: Span,
    /// Bytes of its index.
    pub index_bytes: Span,
    /// Samples; windows for lower resolutions.
    pub samples: Span,
    /// Series.
    pub series: Span,
}

/// Bytes of the columns of one window: constants, at least (five columns of one
/// bit for the time and one for the value), and floats that share no bits, at most.
const WINDOW_BYTES: (u64, u64) = (1, 52);

/// Bytes of a series in the index besides its chunks, at most.
const CHUNK_ENTRY_BYTES: u64 = 16;

/// Predicts the blocks of lower resolution of a job.
pub(super) fn predict(cost: &Cost, sources: &[LiveBlock], products: Products) -> Vec<LowerCost> {
    let start = sources.iter().map(LiveBlock::min_time).min().unwrap_or(0);
    let end = sources.iter().map(LiveBlock::max_time).max().unwrap_or(0);
    let length = end.saturating_sub(start).max(0);
    let wanted = [
        (products.five_minutes, FIVE_MINUTES_MS),
        (products.one_hour, ONE_HOUR_MS),
    ];
    let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
    wanted
        .map(|(_, resolution)| one(cost, length, resolution))
        .collect()
}

fn one(cost: &Cost, length: i64, resolution: i64) -> LowerCost {
    // Both ends may lie inside of a window, and chunks may end in any.
    let windows = (length / resolution).unsigned_abs() + 2;
    let (least, most) = (cost.series.0, cost.series.1.saturating_mul(windows));
    let most = most.min(cost.samples.1);
    let samples = (least.min(most), most);
    // All but the chunks' entries; as many chunks of 140 windows, or fewer.
    let chunks = most / 140 + cost.series.1;
    let index_bytes = (
        cost.index_bytes.0 / 8,
        cost.index_bytes.1 + chunks * CHUNK_ENTRY_BYTES,
    );
    let bytes = |samples: u64, each: u64, index: u64| samples.saturating_mul(each) + index;
    LowerCost {
        resolution,
        bytes: (
            bytes(samples.0, WINDOW_BYTES.0, index_bytes.0),
            bytes(samples.1, WINDOW_BYTES.1, index_bytes.1),
        ),
        index_bytes,
        samples,
        series: (0, cost.series.1),
    }
}
