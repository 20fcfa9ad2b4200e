//! Raw floats into windows, whatever they are like: samples are stored first.
//! Most runs take the shorter way of [`super::plain`].
//!
//! ```text
//!  samples    x x x x x|x x x x|x x   x|x x x       window borders: |
//!  batch 1    `-- n/chunks + 1 -´- to the end of its last window
//!  windows            ^       ^                     at their last ms, the last
//!  count              5       4                     one at the batch's last
//!  counter    ^first  ^       ^ ^raw value at last  sample if that is earlier
//! ```

use super::Counts;
use super::columns::Columns;
use super::window::{RAW_INTERVAL_MS, chunk_count, next_border, window_end};
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{Encoding, FloatSamples, decode_floats, is_stale};

/// Windows of one chunk, at most: its columns count samples in 16 bits, and the
/// counter has two more.
pub(super) const MAX_WINDOWS: usize = 60_000;

/// How samples become windows.
#[derive(Debug, Clone, Copy)]
struct How {
    /// Length of a window, ms.
    resolution: i64,
    /// Times never go back.
    ordered: bool,
}

/// Samples of one run, in order.
#[derive(Debug, Default)]
pub(super) struct RawFloats {
    samples: FloatSamples,
    /// A batch without its NaNs.
    clean: FloatSamples,
    has_nan: bool,
}

impl RawFloats {
    /// Drops what was read.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.has_nan = false;
    }

    /// Appends a chunk, without stale markers and without samples that go back
    /// in time within it; equal times stay, as upstream. Returns the times of
    /// its first and last sample.
    ///
    /// # Errors
    /// Corrupt data; nothing of the chunk is kept then.
    pub fn read(
        &mut self,
        encoding: Encoding,
        data: &[u8],
        counts: &mut Counts,
    ) -> Result<Option<(i64, i64)>> {
        let start = self.samples.len();
        decode_floats(encoding, data, &mut self.samples)?;
        let (ts, vs) = (&self.samples.ts[start..], &self.samples.vs[start..]);
        counts.read += ts.len() as u64;
        let times = ts.first().copied().zip(ts.last().copied());
        // Without a way out early, so that it becomes vector code.
        let nan = vs.iter().fold(false, |nan, v| nan | v.is_nan());
        let ascending = ts.windows(2).fold(true, |ok, two| ok & (two[0] <= two[1]));
        if nan || !ascending {
            self.sift(start, counts);
        }
        Ok(times)
    }

    /// Drops stale markers and disorder from sample `start` on.
    #[cold]
    fn sift(&mut self, start: usize, counts: &mut Counts) {
        let FloatSamples { ts, vs } = &mut self.samples;
        let mut kept = start;
        let mut last = i64::MIN;
        for i in start..ts.len() {
            let (t, v) = (ts[i], vs[i]);
            if is_stale(v) {
                counts.stale += 1;
            } else if t < last {
                counts.disordered += 1;
            } else {
                self.has_nan |= v.is_nan();
                (ts[kept], vs[kept]) = (t, v);
                kept += 1;
                last = t;
            }
        }
        ts.truncate(kept);
        vs.truncate(kept);
    }

    /// Appends the chunks of the run to `out`: windows of `resolution` ms.
    pub fn downsample(&mut self, resolution: i64, out: &mut Columns, counts: &mut Counts) {
        let FloatSamples { ts, vs } = &self.samples;
        let (Some(&first), Some(&last)) = (ts.first(), ts.last()) else {
            return;
        };
        let chunks = chunk_count((first, last), RAW_INTERVAL_MS, resolution, ts.len() as u64);
        let size = ts.len() / chunks + 1;
        let (clean, has_nan) = (&mut self.clean, self.has_nan);
        let how = How {
            resolution,
            ordered: ts.is_sorted(),
        };
        batches(ts, vs, (size, resolution), |ts, vs| {
            if !has_nan {
                counts.counted += batch(ts, vs, how, out);
                return;
            }
            clean.clear();
            for (&t, &v) in ts.iter().zip(vs).filter(|(_, v)| !v.is_nan()) {
                clean.push(t, v);
            }
            counts.nan += (ts.len() - clean.len()) as u64;
            counts.counted += batch(&clean.ts, &clean.vs, how, out);
        });
    }
}

/// Calls `each` with the samples of each batch of `size` and more.
fn batches(
    ts: &[i64],
    vs: &[f64],
    (size, resolution): (usize, i64),
    mut each: impl FnMut(&[i64], &[f64]),
) {
    let mut start = 0;
    while start < ts.len() {
        let end = start + batch_end(&ts[start..], size, resolution);
        each(&ts[start..end], &vs[start..end]);
        start = end;
    }
}

/// How many of the samples are the first batch: `size`, and what else lies in
/// the window of the last of them.
fn batch_end(ts: &[i64], size: usize, resolution: i64) -> usize {
    let size = size.min(ts.len());
    let Some(&last) = size.checked_sub(1).and_then(|at| ts.get(at)) else {
        return ts.len();
    };
    let end = window_end(last, resolution);
    let more = ts[size..].iter().take_while(|&&t| t <= end).count();
    size + more
}

/// Makes chunks of a batch, one unless it has too many windows. Returns how many
/// samples they count.
fn batch(mut ts: &[i64], mut vs: &[f64], how: How, out: &mut Columns) -> u64 {
    let mut counted = 0;
    while !ts.is_empty() {
        let done = chunk(ts, vs, how, out);
        counted += done as u64;
        (ts, vs) = (&ts[done..], &vs[done..]);
    }
    counted
}

/// Makes one chunk of the first samples, of all if they have no more windows
/// than fit. Returns of how many.
fn chunk(ts: &[i64], vs: &[f64], how: How, out: &mut Columns) -> usize {
    let last = ts[ts.len() - 1];
    let [count, sum, min, max, counter] = out.open_all();
    let start = count.len();
    counter.push(ts[0], vs[0]);
    let (mut total, mut before) = (vs[0], vs[0]);
    let (mut at, mut len) = (0, 1);
    let mut border = window_end(ts[0], how.resolution);
    while at < ts.len() && count.len() - start < MAX_WINDOWS {
        border = next_border(ts[at], border, how.resolution);
        let end = border.min(last);
        len = window_len(&ts[at..], end, len, how.ordered);
        let window = Window::of(&vs[at..at + len], &mut total, &mut before, at == 0);
        at += len;
        count.push(end, len as f64);
        sum.vs.push(window.sum);
        min.vs.push(window.min);
        max.vs.push(window.max);
        counter.push(end, total);
    }
    let ends = &count.ts[start..];
    for column in [sum, min, max] {
        column.ts.extend_from_slice(ends);
    }
    let (first_end, last_end) = (ends[0], ends[ends.len() - 1]);
    counter.push(last_end, before);
    out.close((first_end, last_end));
    at
}

/// How many samples the first window has, which ends at `end`: at least one, as
/// the first one belongs to it even if time went back. `guess` is what the window
/// before had, which is right for regular scrapes.
#[inline(always)]
fn window_len(ts: &[i64], end: i64, guess: usize, ordered: bool) -> usize {
    let inside = ts.get(guess - 1).is_some_and(|t| *t <= end);
    let outside = ts.get(guess).is_none_or(|t| *t > end);
    // Where time went back, samples before the last one may lie behind it.
    if ordered && inside && outside {
        return guess;
    }
    1 + ts[1..].iter().take_while(|&&t| t <= end).count()
}

/// Aggregates of one window.
struct Window {
    sum: f64,
    min: f64,
    max: f64,
}

impl Window {
    /// Of at least one value, none of them NaN. `total` is the counter so far and
    /// `before` the value that came last; the very `first` value of a chunk is in
    /// the total already.
    #[inline(always)]
    fn of(vs: &[f64], total: &mut f64, before: &mut f64, first: bool) -> Self {
        let mut window = Self {
            // Not -0, to which 0 is added: upstream starts at 0, too.
            sum: 0.0,
            min: vs[0],
            max: vs[0],
        };
        let (mut sum, mut last) = (*total, *before);
        let mut rest = vs;
        if first {
            window.sum += vs[0];
            rest = &vs[1..];
        }
        // Both sums in one loop: each waits for its own last addition only.
        for &v in rest {
            window.sum += v;
            window.min = if v < window.min { v } else { window.min };
            window.max = if v > window.max { v } else { window.max };
            sum += if v < last { v } else { v - last };
            last = v;
        }
        (*total, *before) = (sum, last);
        window
    }
}
