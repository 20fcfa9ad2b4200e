//! Aggregates of floats into those of longer windows.
//!
//! ```text
//!  5m chunks    |----|----|----|----|----|     chunks per batch: whole ones, so
//!  1h batches   `--- 1 ---´--- 2 --------´     that the first and last value of
//!                                              a counter stay known
//! ```
//!
//! Each column is windowed on its own: counts and sums are added, of minima the
//! least is taken, of maxima the greatest. Counters are first chained: the last
//! value of a chunk tells whether the next one begins with a reset.

use std::ops::Range;

use super::Counts;
use super::columns::Columns;
use super::window::{chunk_count, next_border, window_end};
use crate::tsdb::chunkenc::{Aggr, FloatSamples, is_stale};

/// What aggregates of floats need besides their input; memory is kept.
#[derive(Debug, Default)]
pub(super) struct Aggregator {
    buffer: FloatSamples,
}

impl Aggregator {
    /// Appends to `out` what the chunks `run` of `from`, one run of windows of
    /// `resolutions.0` ms, become in windows of `resolutions.1` ms.
    pub fn run(
        &mut self,
        from: &Columns,
        run: Range<usize>,
        resolutions: (i64, i64),
        out: &mut Columns,
        counts: &mut Counts,
    ) {
        if run.is_empty() {
            return;
        }
        let windows: usize = run.clone().map(|chunk| from.windows(chunk)).sum();
        let times = (from.times(run.start).0, from.times(run.end - 1).1);
        let chunks = chunk_count(times, resolutions.0, resolutions.1, windows as u64);
        // Upstream rounds down to 0 where more chunks are wanted than there
        // are, and never ends.
        let size = (run.len() / chunks).max(1);
        let mut start = run.start;
        while start < run.end {
            let batch = start..(start + size).min(run.end);
            start = batch.end;
            counts.read += batch.clone().map(|chunk| from.counted(chunk)).sum::<u64>();
            if let Some(times) = self.batch(from, batch, resolutions.1, out) {
                out.close(times);
                counts.counted += out.counted(out.len() - 1);
            }
        }
    }

    /// Fills the columns of one chunk. Returns its times, `None` without any
    /// sample.
    fn batch(
        &mut self,
        from: &Columns,
        batch: Range<usize>,
        resolution: i64,
        out: &mut Columns,
    ) -> Option<(i64, i64)> {
        let inside = batch.clone();
        let mut times: Option<(i64, i64)> = None;
        let mut seen = |(first, last): (i64, i64)| {
            let (min, max) = times.unwrap_or((first, last));
            times = Some((min.min(first), max.max(last)));
        };
        for aggr in [Aggr::Count, Aggr::Sum, Aggr::Min, Aggr::Max] {
            let (samples, out) = (self.gather(from, batch.clone(), aggr), out.open(aggr));
            let ends = match aggr {
                Aggr::Min => windows(samples, resolution, f64::NAN, least, out),
                Aggr::Max => windows(samples, resolution, f64::NAN, greatest, out),
                _ => windows(samples, resolution, 0.0, |sum, v| sum + v, out),
            };
            ends.map(&mut seen);
        }
        let last_raw = self.chain(from, batch);
        if let Some(last_raw) = last_raw {
            counter(
                (&self.buffer.ts, &self.buffer.vs),
                resolution,
                last_raw,
                out.open(Aggr::Counter),
            )
            .map(&mut seen);
        }
        // A counter begins before its first window; the chunk before may end there.
        let (least, most) = (from.times(inside.start).0, from.times(inside.end - 1).1);
        let inside = |t: i64| t.max(least).min(most);
        times.map(|(first, last)| (inside(first), inside(last)))
    }

    /// All samples of one column of a batch, without stale markers.
    fn gather<'a>(
        &'a mut self,
        from: &'a Columns,
        batch: Range<usize>,
        aggr: Aggr,
    ) -> (&'a [i64], &'a [f64]) {
        let (ts, vs) = from.columns(batch, aggr);
        if !vs.iter().fold(false, |stale, v| stale | is_stale(*v)) {
            return (ts, vs);
        }
        self.buffer.clear();
        for (&t, &v) in ts.iter().zip(vs).filter(|(_, v)| !is_stale(**v)) {
            self.buffer.push(t, v);
        }
        (&self.buffer.ts, &self.buffer.vs)
    }

    /// The counters of a batch as one that never falls. Returns the raw value
    /// that it ended at; `None` without any.
    ///
    /// A sample at the time of the one before tells the true value there.
    fn chain(&mut self, from: &Columns, batch: Range<usize>) -> Option<f64> {
        self.buffer.clear();
        let mut state: Option<(i64, f64, f64)> = None;
        let (ts, vs) = from.columns(batch, Aggr::Counter);
        for (&t, &v) in ts.iter().zip(vs) {
            if v.is_nan() {
                continue;
            }
            let Some((last_t, last, total)) = &mut state else {
                state = Some((t, v, v));
                self.buffer.push(t, v);
                continue;
            };
            if t > *last_t {
                *total += if v >= *last { v - *last } else { v };
                (*last_t, *last) = (t, v);
                self.buffer.push(t, *total);
            } else if t == *last_t {
                *last = v;
            }
        }
        state.map(|(_, last, _)| last)
    }
}

/// The smaller one, the first of equal ones; NaN only of NaNs.
fn least(min: f64, v: f64) -> f64 {
    if v < min || min.is_nan() { v } else { min }
}

/// The greater one, the first of equal ones; NaN only of NaNs.
fn greatest(max: f64, v: f64) -> f64 {
    if v > max || max.is_nan() { v } else { max }
}

/// Calls `each` with the end of every window, in ms, and the samples in it.
fn each_window(
    (mut ts, mut vs): (&[i64], &[f64]),
    resolution: i64,
    mut each: impl FnMut(i64, &[f64]),
) {
    let (Some(&first), Some(&last)) = (ts.first(), ts.last()) else {
        return;
    };
    let mut border = window_end(first, resolution);
    while let Some((&first, later)) = ts.split_first() {
        border = next_border(first, border, resolution);
        let end = border.min(last);
        // The first one belongs to it even if time went back.
        let len = 1 + later.iter().take_while(|&&t| t <= end).count();
        each(end, &vs[..len]);
        (ts, vs) = (&ts[len..], &vs[len..]);
    }
}

/// Folds the samples of each window. Returns the first and the last end of a
/// window.
fn windows(
    samples: (&[i64], &[f64]),
    resolution: i64,
    initial: f64,
    fold: impl Fn(f64, f64) -> f64,
    out: &mut FloatSamples,
) -> Option<(i64, i64)> {
    let start = out.len();
    each_window(samples, resolution, |end, vs| {
        out.push(end, vs.iter().fold(initial, |so_far, &v| fold(so_far, v)));
    });
    Some((*out.ts.get(start)?, *out.ts.last()?))
}

/// Totals at the ends of windows, behind the first sample and before the last
/// raw value. Returns the first and the last end of a window.
fn counter(
    samples: (&[i64], &[f64]),
    resolution: i64,
    last_raw: f64,
    out: &mut FloatSamples,
) -> Option<(i64, i64)> {
    let (&first_t, &first) = (samples.0.first()?, samples.1.first()?);
    out.push(first_t, first);
    let start = out.len();
    // Totals rise, but for rounding: upstream adds up differences again.
    let (mut total, mut before) = (first, None);
    each_window(samples, resolution, |end, vs| {
        for &v in vs {
            total = match before {
                None => v,
                Some(before) if v < before => total + v,
                Some(before) => total + (v - before),
            };
            before = Some(v);
        }
        out.push(end, total);
    });
    let times = (*out.ts.get(start)?, *out.ts.last()?);
    out.push(times.1, last_raw);
    Some(times)
}
