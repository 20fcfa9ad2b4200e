//! Measuring a job without doing it: the real merge over one in so many of its
//! series, into nothing.
//!
//! Indexes are read whole, so the number of series is exact; chunks only of
//! the series that are looked at. Nothing is written, neither to the bucket
//! nor to a disk.

use std::sync::Arc;

use rayon::ThreadPool;

use super::job::{on_a_thread, open_sources};
use crate::block;
use crate::error::Result;
use crate::merge::{self, MergeMemory, MergeOptions, Merged, MergedBlock, Output};
use crate::objstore::Bucket;
use crate::plan::Job;
use crate::plan::cost::Cost;
use crate::tsdb::chunks::DEFAULT_SEGMENT_SIZE;

/// Replaces the ranges in the cost of a job by what one in `one_in` of its
/// series shows.
///
/// # Errors
/// A source that is damaged or cannot be read.
pub async fn measure(
    bucket: &Bucket,
    pool: &Arc<ThreadPool>,
    job: &mut Job,
    one_in: u32,
) -> Result<()> {
    let (sources, ids) = open_sources(bucket, job).await?;
    let options = MergeOptions {
        pool: Arc::clone(pool),
        range: (job.min_time(), job.max_time()),
        dedup: job.dedup,
        products: job.products,
        one_in: one_in.max(1),
        segment_bytes: DEFAULT_SEGMENT_SIZE,
        memory: MergeMemory::default(),
    };
    let merged = on_a_thread("sample", move || {
        let outputs = options.products.resolutions().map(|_| Output::nowhere());
        let outputs = outputs.collect();
        merge::merge(sources, &options, outputs).map_err(|e| block::of_merge(e, &ids))
    })
    .await?;
    extrapolate(&merged, &mut job.cost);
    job.cost.sampled = Some(one_in);
    Ok(())
}

/// From the series that were looked at to all of them.
fn extrapolate(sample: &Merged, cost: &mut Cost) {
    let looked_at = sample.ledger.series_written + sample.ledger.series_emptied;
    if looked_at == 0 {
        return;
    }
    let factor = sample.series_seen as f64 / looked_at as f64;
    let all = |part: u64| (part as f64 * factor).round() as u64;
    let exact = |n: u64| (n, n);
    cost.series = exact(all(sample.ledger.series_written));
    cost.samples = exact(all(sample.ledger.written));
    let sizes = |block: &MergedBlock| {
        let chunks = all(block.segment_bytes.iter().sum());
        // Symbols are written whole; what follows them grows with the series.
        let below = block.index_bytes.saturating_sub(block.symbol_bytes);
        let index = block.symbol_bytes + all(below);
        (exact(chunks + index), exact(index))
    };
    for block in &sample.blocks {
        let (bytes, index_bytes) = sizes(block);
        if block.counts.is_none() {
            (cost.bytes, cost.index_bytes) = (bytes, index_bytes);
            continue;
        }
        let mut lower = cost.lower.iter_mut();
        if let Some(lower) = lower.find(|l| l.resolution == block.resolution) {
            (lower.bytes, lower.index_bytes) = (bytes, index_bytes);
            lower.samples = exact(all(block.stats.num_samples));
            lower.series = exact(all(block.stats.num_series));
        }
    }
}
