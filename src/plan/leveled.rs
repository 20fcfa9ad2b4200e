//! Which blocks of one stream to merge next: the leveled planner of
//! Prometheus with the additions of Thanos.
//!
//! ```text
//!  2h  |--|--|--|--|--|--|--|--|--|-      newest block: left alone
//!  8h  |-----------|-----------|          a window is taken when its blocks
//!  2d  |----------------------------…     span it, or when a later block
//!                                         shows that it is past
//! ```
//!
//! Order of the choices, first hit wins:
//!
//! 1. the first run of overlapping blocks (the newest block included);
//! 2. without the newest block: for each range in ascending order, the first
//!    window with at least two blocks that is complete or past;
//! 3. the newest large block of which more than 5 % of the series carry
//!    deletions.

use super::filter::LiveBlock;
use super::model::Reason;

/// What the planner sees of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Start, ms.
    pub min_time: i64,
    /// End, ms, exclusive.
    pub max_time: i64,
    /// A no-compact mark, or damage: never picked, but still counts for its
    /// window.
    pub no_compact: bool,
    /// Its window waits: a compaction of the block failed in Prometheus, or it
    /// is damaged and nobody has said yet, with a mark, to go on without it.
    pub failed: bool,
    /// Deleted ranges not yet applied.
    pub tombstones: u64,
    /// Series in the block.
    pub series: u64,
}

impl Span {
    /// The span of a block.
    pub fn of(block: &LiveBlock) -> Self {
        let meta = &block.view.meta.tsdb;
        Self {
            min_time: meta.min_time,
            max_time: meta.max_time,
            no_compact: block.view.no_compact.is_some()
                || block.view.damaged.is_some()
                || block.view.is_parquet_migrated(),
            failed: meta.compaction.failed
                || (block.view.damaged.is_some() && block.view.no_compact.is_none()),
            tombstones: meta.stats.num_tombstones,
            series: meta.stats.num_series,
        }
    }
}

/// Picks the next blocks to merge, as indexes into `spans`, with the reason.
///
/// `spans` is by min time; `ranges_ms` is ascending and its first entry is
/// only the smallest block size.
pub fn next(spans: &[Span], ranges_ms: &[i64]) -> Option<(Vec<usize>, Reason)> {
    let overlap = overlapping(spans);
    if !overlap.is_empty() {
        return Some((overlap, Reason::Overlap));
    }
    // The newest block may still be joined by others of its window.
    let older = spans.get(..spans.len().checked_sub(1)?)?;
    if let Some(found) = by_range(older, ranges_ms) {
        return Some(found);
    }
    by_tombstones(older, ranges_ms).map(|i| (vec![i], Reason::Tombstones))
}

/// The first run of unmarked blocks that overlap, as indexes; ranges that touch
/// do not overlap.
///
/// Marked blocks are left out: they take part in no merge, so what they
/// overlap does not matter (upstream counts them and stops).
pub fn overlapping(spans: &[Span]) -> Vec<usize> {
    let mut run: Vec<usize> = Vec::new();
    let mut before: Option<usize> = None;
    let mut end = i64::MIN;
    for (i, span) in spans.iter().enumerate().filter(|(_, s)| !s.no_compact) {
        if let (Some(first), true) = (before, span.min_time < end) {
            if run.is_empty() {
                run.push(first);
            }
            run.push(i);
        } else if !run.is_empty() {
            break;
        }
        before = Some(i);
        end = end.max(span.max_time);
    }
    run
}

/// The first window that is due, ranges ascending, windows in time order.
fn by_range(spans: &[Span], ranges_ms: &[i64]) -> Option<(Vec<usize>, Reason)> {
    let high_time = spans.last()?.min_time;
    for &range in ranges_ms.get(1..)? {
        for window in windows(spans, range) {
            if let Some(run) = due(spans, &window, range, high_time) {
                return Some((run, Reason::Range(range)));
            }
        }
    }
    None
}

/// The blocks to merge in one window, if it is time.
fn due(spans: &[Span], window: &[usize], range: i64, high_time: i64) -> Option<Vec<usize>> {
    let (&first, &last) = (window.first()?, window.last()?);
    if window.len() < 2 || window.iter().any(|&i| spans[i].failed) {
        return None;
    }
    let complete = spans[last].max_time - spans[first].min_time == range;
    let past = spans[last].max_time <= high_time;
    if !complete && !past {
        return None;
    }
    // Marked blocks count for the window but split it.
    window
        .split(|&i| spans[i].no_compact)
        .find(|run| run.len() > 1)
        .map(<[usize]>::to_vec)
}

/// Cuts blocks into windows aligned to multiples of `range` from the epoch.
/// A block that reaches past the end of its window is in none, and the blocks
/// after it start anew.
fn windows(spans: &[Span], range: i64) -> Vec<Vec<usize>> {
    let mut windows: Vec<Vec<usize>> = Vec::new();
    let mut open_until: Option<i64> = None;
    for (i, span) in spans.iter().enumerate() {
        if open_until.is_some_and(|end| span.max_time <= end) {
            if let Some(window) = windows.last_mut() {
                window.push(i);
            }
            continue;
        }
        let start = span.min_time.div_euclid(range).saturating_mul(range);
        let end = start.saturating_add(range);
        open_until = (span.max_time <= end).then_some(end);
        if open_until.is_some() {
            windows.push(vec![i]);
        }
    }
    windows
}

/// The newest large block with deletions on more than 5 % of its series.
fn by_tombstones(spans: &[Span], ranges_ms: &[i64]) -> Option<usize> {
    let large = *ranges_ms.get(ranges_ms.len() / 2)?;
    for (i, span) in spans
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, s)| !s.no_compact)
    {
        // A `meta.json` may state all of time.
        if span.max_time.saturating_sub(span.min_time) < large {
            break;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio of two counts")]
        let ratio = span.tombstones as f64 / (span.series as f64 + 1.0);
        if ratio > 0.05 {
            return Some(i);
        }
    }
    None
}

#[cfg(test)]
#[path = "leveled_tests.rs"]
mod tests;
