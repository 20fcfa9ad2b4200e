//! What blocks of lower resolution will take.
//!
//! ```text
//!  windows   at least   as if samples came every 15 s, or one per series
//!            at most    one per series and window of each source, or one per sample
//!  bytes     by what the sources take per sample: values that repeat make small
//!            columns, values that share no bits make large ones
//! ```
//!
//! Nobody knows how long series live, so few samples per window may be long
//! intervals or short lives: the ends lie apart by that. Where windows are full,
//! both are the same.

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

/// The shortest time between samples that is reckoned with, ms: shorter ones
/// are seen in full windows.
const INTERVAL_MS: i64 = 15_000;

/// Share of the windows that are there for certain: targets are down at times,
/// and stale markers alone make no window.
const SHARE_OF_WINDOWS: f64 = 0.85;

/// Bytes of one window of raw samples: so many, and so many for each byte that
/// a sample takes in the sources. Constants need five columns of one bit for the
/// time and one for the value.
const OF_RAW: [(f64, f64); 2] = [(1.25, 2.0), (4.0, 5.0)];

/// The same for windows of lower ones, by the bytes of a window there.
const OF_WINDOWS: [(f64, f64); 2] = [(1.0, 0.5), (4.0, 2.0)];

/// Bytes of a chunk besides its windows: heads and first samples of columns.
const CHUNK_BYTES: Span = (30, 110);

/// Windows of a chunk, at least in the mean.
const WINDOWS_OF_CHUNK: u64 = 70;

/// Bytes of a chunk in the index: at least, of a raw one; at most, of any.
const CHUNK_ENTRY_BYTES: Span = (4, 16);

/// Predicts the blocks of lower resolution of a job.
pub(super) fn predict(cost: &Cost, sources: &[LiveBlock], products: Products) -> Vec<LowerCost> {
    let wanted = [
        (products.five_minutes, FIVE_MINUTES_MS),
        (products.one_hour, ONE_HOUR_MS),
    ];
    let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
    wanted
        .map(|(_, resolution)| one(cost, sources, products.from, resolution))
        .collect()
}

fn one(cost: &Cost, sources: &[LiveBlock], from: i64, resolution: i64) -> LowerCost {
    let samples = windows(cost, sources, from, resolution);
    let chunk_bytes = cost.bytes_in.saturating_sub(cost.index_bytes_in);
    let per_sample = chunk_bytes as f64 / cost.samples_in.max(1) as f64;
    let [low, high] = if from == 0 { OF_RAW } else { OF_WINDOWS };
    let bytes = |windows: u64, (least, each): (f64, f64)| {
        (windows as f64 * (least + each * per_sample)) as u64
    };
    let chunks = (
        cost.series.0.min(samples.0),
        (samples.1 / WINDOWS_OF_CHUNK).saturating_add(cost.series.1),
    );
    // All of an index but its chunks, and other chunks.
    let entries = cost.chunks_in.saturating_mul(CHUNK_ENTRY_BYTES.0);
    let kept = cost.index_bytes_in.saturating_sub(entries);
    let new = chunks.1.saturating_mul(CHUNK_ENTRY_BYTES.1);
    let index_bytes = (cost.index_bytes.0 / 8, kept.saturating_add(new));
    let least = bytes(samples.0, low) + chunks.0.saturating_mul(CHUNK_BYTES.0);
    let most = bytes(samples.1, high).saturating_add(chunks.1.saturating_mul(CHUNK_BYTES.1));
    LowerCost {
        resolution,
        bytes: (
            least.saturating_add(index_bytes.0),
            most.saturating_add(index_bytes.1),
        ),
        index_bytes,
        samples,
        series: (0, cost.series.1),
    }
}

/// Windows of all series.
fn windows(cost: &Cost, sources: &[LiveBlock], from: i64, resolution: i64) -> Span {
    let of = |block: &LiveBlock| {
        let length = block.max_time().saturating_sub(block.min_time()).max(0);
        // Both ends may lie inside of a window.
        let windows = (length / resolution).unsigned_abs() + 2;
        block.series().saturating_mul(windows)
    };
    let all = sources.iter().map(of);
    let all = all.fold(0_u64, u64::saturating_add);
    // Chunks that end inside of a window give it a second point.
    let split = sources.iter().map(LiveBlock::chunks);
    let split = split.fold(0_u64, u64::saturating_add);
    let most = all.saturating_add(split).min(cost.samples.1);
    let of_window = (resolution / from.max(INTERVAL_MS)).unsigned_abs().max(1);
    let full = cost.samples.0 / of_window;
    let certain = |windows: u64| (windows as f64 * SHARE_OF_WINDOWS) as u64;
    (certain(full.min(all)).min(most), most)
}
