//! Raw floats into windows while they are decoded: the plain case, in which all
//! times ascend and no value is a NaN, which is nearly every run.
//!
//! ```text
//!  bits --decode--> t, v --fold--> window that is open: sum, min, max, total
//!                                        | border passed
//!                                        v
//!                                  rows of the batch --full--> columns of a chunk
//! ```
//!
//! The same chunks as [`super::floats`] makes of stored samples, which a property
//! test holds.

use super::columns::{Columns, Row};
use super::floats::MAX_WINDOWS;
use super::window::{RAW_INTERVAL_MS, chunk_count, next_border, window_end};
use super::{ChunkView, Counts};
use crate::tsdb::chunkenc::{
    Aggr, FloatFold, FloatSamples, Times, fold_floats, fold_samples, num_samples,
};
use crate::tsdb::{Error, Result};

/// Downsamples plain runs; memory is kept.
#[derive(Debug, Default)]
pub(super) struct PlainFloats {
    rows: Vec<Row>,
    /// Samples of encodings that are not folded while they are decoded.
    buffer: FloatSamples,
}

impl PlainFloats {
    /// Appends the chunks of a whole run to `out`, in windows of `resolution` ms.
    /// False, with nothing done, if the run is not plain: then how many samples it
    /// has and where they begin and end is known only once all of it was read.
    ///
    /// # Errors
    /// Corrupt data, with the number of the chunk.
    pub fn run(
        &mut self,
        chunks: &[ChunkView<'_>],
        resolution: i64,
        out: &mut Columns,
        counts: &mut Counts,
    ) -> Result<bool, (usize, Error)> {
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
            return Ok(true);
        };
        let mut total = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let samples = num_samples(chunk.encoding, chunk.data);
            total += samples.map_err(|e| (number, e))? as u64;
        }
        let range = (first.min_time, last.max_time);
        let wanted = chunk_count(range, RAW_INTERVAL_MS, resolution, total);
        let size = usize::try_from(total).unwrap_or(usize::MAX) / wanted + 1;
        // A batch has at most as many windows as samples before its last window.
        if size >= MAX_WINDOWS || first.min_time == i64::MIN {
            return Ok(false);
        }
        let before = out.len();
        self.rows.clear();
        let mut windows = Windows {
            resolution,
            size,
            first: (0, 0.0),
            counted: 0,
            begun: Open::NOTHING,
            rows: &mut self.rows,
            out,
        };
        let plain = windows.read(chunks, &mut self.buffer);
        // One NaN makes the sum of its window one: cheaper than to look at each.
        let made = before..out.len();
        let sums = out.columns(made.clone(), Aggr::Sum).1;
        if !matches!(plain, Ok(true)) || sums.iter().any(|sum| sum.is_nan()) {
            out.truncate(before);
            return plain.map(|_| false);
        }
        counts.read += total;
        counts.counted += made.map(|chunk| out.counted(chunk)).sum::<u64>();
        Ok(true)
    }
}

/// Makes rows of windows, and chunks of batches of rows.
struct Windows<'a> {
    /// Length of a window, ms.
    resolution: i64,
    /// Samples of a batch, which ends with the window of the last of them.
    size: usize,
    /// First sample of the batch.
    first: (i64, f64),
    /// Samples of the batch in windows that are complete.
    counted: usize,
    /// Where [`Self::next_window`] leaves the window that it has begun.
    begun: Open,
    rows: &'a mut Vec<Row>,
    out: &'a mut Columns,
}

/// The window that is open, and the batch up to it.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Its last ms.
    border: i64,
    /// The last sample.
    last: (i64, f64),
    /// Samples of the batch.
    samples: usize,
    sum: f64,
    min: f64,
    max: f64,
    /// The counter so far.
    total: f64,
}

impl Open {
    /// Before the first sample, whose time passes any border.
    const NOTHING: Self = Self {
        border: i64::MIN,
        last: (0, 0.0),
        samples: 0,
        sum: 0.0,
        min: 0.0,
        max: 0.0,
        total: 0.0,
    };

    /// What the counter gains with the next value: all of it after a reset.
    #[inline(always)]
    fn gain(&self, v: f64) -> f64 {
        let before = self.last.1;
        if v < before { v } else { v - before }
    }
}

impl FloatFold for Windows<'_> {
    type Carry = Open;

    #[inline(always)]
    fn fold(&mut self, open: Open, t: i64, v: f64) -> Open {
        if t > open.border {
            // What a call returns would lie in memory from then on.
            self.next_window(open, t, v);
            return Open { ..self.begun };
        }
        Open {
            last: (t, v),
            samples: open.samples + 1,
            sum: open.sum + v,
            min: if v < open.min { v } else { open.min },
            max: if v > open.max { v } else { open.max },
            total: open.total + open.gain(v),
            ..open
        }
    }
}

impl Windows<'_> {
    /// Reads all chunks; false as soon as the run turns out not to be plain.
    fn read(
        &mut self,
        chunks: &[ChunkView<'_>],
        buffer: &mut FloatSamples,
    ) -> Result<bool, (usize, Error)> {
        let mut open = Open::NOTHING;
        let mut before = None;
        for (number, chunk) in chunks.iter().enumerate() {
            let times = match chunk.samples {
                Some((ts, vs)) => fold_samples(ts, vs, &mut open, self),
                None => fold_floats(chunk.encoding, chunk.data, buffer, &mut open, self)
                    .map_err(|e| (number, e))?,
            };
            if !is_plain(chunk, times, before) {
                return Ok(false);
            }
            before = Some(chunk.max_time);
        }
        if open.samples > 0 {
            self.end_window(&open, open.last.0);
            self.end_batch(&open);
        }
        Ok(true)
    }

    /// Ends the window that is open, and its batch if that is full, and begins
    /// another with this sample.
    #[inline(never)]
    fn next_window(&mut self, open: Open, t: i64, v: f64) {
        let full = open.samples >= self.size;
        if open.samples > 0 {
            self.end_window(&open, if full { open.last.0 } else { open.border });
        }
        let first = open.samples == 0 || full;
        self.begun = Open {
            border: next_border(t, open.border, self.resolution),
            last: (t, v),
            samples: open.samples + 1,
            // Not -0, to which 0 is added: upstream starts at 0, too.
            sum: 0.0 + v,
            min: v,
            max: v,
            total: open.total + open.gain(v),
        };
        if !first {
            return;
        }
        if full {
            self.end_batch(&open);
        }
        self.first = (t, v);
        self.begun = Open {
            border: window_end(t, self.resolution),
            samples: 1,
            total: v,
            ..self.begun
        };
    }

    /// Notes a window that ends at `end` (ms).
    fn end_window(&mut self, open: &Open, end: i64) {
        self.rows.push(Row {
            end,
            count: (open.samples - self.counted) as f64,
            sum: open.sum,
            min: open.min,
            max: open.max,
            total: open.total,
        });
        self.counted = open.samples;
    }

    /// Makes a chunk of the windows so far.
    fn end_batch(&mut self, open: &Open) {
        self.out.push_rows(self.first, self.rows, open.last.1);
        self.rows.clear();
        self.counted = 0;
    }
}

/// True if the times of a chunk ascend from the first to the last that the index
/// states, after what came `before` (ms).
fn is_plain(chunk: &ChunkView<'_>, times: Times, before: Option<i64>) -> bool {
    let stated = times.ends == Some((chunk.min_time, chunk.max_time));
    times.ascending && stated && before.is_none_or(|before| before < chunk.min_time)
}
