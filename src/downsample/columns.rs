//! The columns of float chunks, decoded: what windows are written to, what the
//! next resolution is made from, and what a chunk is encoded from.

use std::ops::Range;

use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunk, EncodedChunks, Encoding, FloatSamples, XorEncoder,
    decode_floats, put_aggr_column,
};
use crate::tsdb::{Corrupt, Damage, Result};

/// Columns of consecutive chunks, back to back. Memory is kept.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// In the order of [`Aggr::ALL`].
    columns: [FloatSamples; 5],
    chunks: Vec<Bounds>,
}

/// Samples that a window can be said to have: no store of samples comes near.
const MOST_SAMPLES: f64 = (1_u64 << 40) as f64;

/// Where one chunk lies in [`Columns`].
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Where its columns end; they start where those of the chunk before end.
    ends: [usize; 5],
    /// First and last ms, as its index entry says.
    times: (i64, i64),
}

/// The aggregates of one window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// What it is named by: its last ms, or that of its last sample.
    pub end: i64,
    /// Samples.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
    /// The counter at its end.
    pub total: f64,
}

impl Columns {
    /// Drops all chunks.
    pub fn clear(&mut self) {
        self.columns.iter_mut().for_each(FloatSamples::clear);
        self.chunks.clear();
    }

    /// Drops all chunks but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.chunks.truncate(len);
        let ends = self.chunks.last().map_or([0; 5], |c| c.ends);
        for (column, end) in self.columns.iter_mut().zip(ends) {
            column.ts.truncate(end);
            column.vs.truncate(end);
        }
    }

    /// Chunks held.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// The column that is being filled.
    pub fn open(&mut self, aggr: Aggr) -> &mut FloatSamples {
        &mut self.columns[aggr as usize]
    }

    /// All columns that are being filled, in the order of [`Aggr::ALL`].
    pub fn open_all(&mut self) -> &mut [FloatSamples; 5] {
        &mut self.columns
    }

    /// Ends the chunk that is being filled.
    pub fn close(&mut self, times: (i64, i64)) {
        let ends = std::array::from_fn(|i| self.columns[i].len());
        self.chunks.push(Bounds { ends, times });
    }

    /// Appends a chunk: its windows, which are to be at least one, between its
    /// `first` sample (ms) and the raw value that its counter ends at.
    pub fn push_rows(&mut self, first: (i64, f64), rows: &[Row], last_raw: f64) {
        let (Some(head), Some(tail)) = (rows.first(), rows.last()) else {
            return;
        };
        let [count, sum, min, max, counter] = &mut self.columns;
        let value = |column: &mut FloatSamples, of: fn(&Row) -> f64| {
            column.ts.extend(rows.iter().map(|row| row.end));
            column.vs.extend(rows.iter().map(of));
        };
        value(count, |row| row.count);
        value(sum, |row| row.sum);
        value(min, |row| row.min);
        value(max, |row| row.max);
        counter.push(first.0, first.1);
        value(counter, |row| row.total);
        counter.push(tail.end, last_raw);
        self.close((head.end, tail.end));
    }

    /// First and last ms of a chunk.
    pub fn times(&self, chunk: usize) -> (i64, i64) {
        self.chunks.get(chunk).map_or((0, 0), |c| c.times)
    }

    /// Samples of one column of a chunk.
    pub fn column(&self, chunk: usize, aggr: Aggr) -> (&[i64], &[f64]) {
        self.columns(chunk..chunk + 1, aggr)
    }

    /// Samples of one column of consecutive chunks.
    pub fn columns(&self, chunks: Range<usize>, aggr: Aggr) -> (&[i64], &[f64]) {
        let aggr = aggr as usize;
        let end_of = |chunk: usize| self.chunks.get(chunk).map_or(0, |c| c.ends[aggr]);
        let start = chunks.start.checked_sub(1).map_or(0, end_of);
        let end = chunks.end.checked_sub(1).map_or(start, end_of).max(start);
        let column = &self.columns[aggr];
        (&column.ts[start..end], &column.vs[start..end])
    }

    /// Windows of a chunk: samples of its count column, as upstream counts.
    pub fn windows(&self, chunk: usize) -> usize {
        self.column(chunk, Aggr::Count).0.len()
    }

    /// Samples that the windows of a chunk were made of.
    pub fn counted(&self, chunk: usize) -> u64 {
        let (_, counts) = self.column(chunk, Aggr::Count);
        counts.iter().map(|&n| n as u64).sum()
    }

    /// Appends an encoded chunk.
    ///
    /// # Errors
    /// Corrupt data with its byte offset in `chunk`; a column that holds no
    /// floats, whose times do not ascend or do not lie in `times`, its index
    /// entry (ms), or whose counts are none. `resolution` is the length of its
    /// windows, ms.
    pub fn decode(
        &mut self,
        chunk: &AggrChunk<'_>,
        times: (i64, i64),
        resolution: i64,
    ) -> Result<()> {
        for (aggr, out) in Aggr::ALL.into_iter().zip(&mut self.columns) {
            let Some(column) = chunk.column(aggr) else {
                continue;
            };
            if column.encoding != Encoding::Xor {
                let what = format!(
                    "aggregate {} of a chunk of floats is encoded as {}",
                    aggr.name(),
                    column.encoding.name()
                );
                return Err(Corrupt::at(column.offset, what).into());
            }
            let start = out.len();
            decode_floats(column.encoding, column.data, out)
                .map_err(|e| e.in_file("", column.offset as u64))?;
            let (ts, vs) = (&out.ts[start..], &out.vs[start..]);
            let checked = check_column(aggr, ts, vs);
            let ends = ts.first().copied().zip(ts.last().copied());
            let checked = checked.and_then(|()| match ends {
                Some(ends) => check_window_times(aggr, ends, times, resolution),
                None => Ok(()),
            });
            checked.map_err(|c| c.in_file("", column.offset as u64))?;
        }
        self.close(times);
        Ok(())
    }

    /// Encodes chunk number `chunk` and appends it to `out`.
    ///
    /// # Errors
    /// [`crate::tsdb::Error::Limit`] with more windows than a chunk can hold.
    pub fn encode(
        &self,
        chunk: usize,
        encoder: &mut XorEncoder,
        out: &mut EncodedChunks,
    ) -> Result<()> {
        let start = out.bytes.len();
        for aggr in Aggr::ALL {
            let (ts, vs) = self.column(chunk, aggr);
            if ts.is_empty() {
                put_aggr_column(None, &mut out.bytes);
                continue;
            }
            encoder.push_all(ts, vs);
            put_aggr_column(Some((Encoding::Xor, encoder.finish()?)), &mut out.bytes);
        }
        let (min_time, max_time) = self.times(chunk);
        out.metas.push(EncodedChunk {
            encoding: Encoding::Aggr,
            min_time,
            max_time,
            start,
            len: out.bytes.len() - start,
            samples: self.windows(chunk),
        });
        Ok(())
    }
}

/// What every column has to be like for the books to mean something.
fn check_column(aggr: Aggr, ts: &[i64], vs: &[f64]) -> Result<(), Corrupt> {
    // Counters repeat the last time.
    let ascending = ts.windows(2).fold(true, |ok, two| ok & (two[0] <= two[1]));
    if !ascending {
        let what = format!("times of aggregate {} do not ascend", aggr.name());
        return Err(Corrupt::at(0, what).because(Damage::UnsortedSamples));
    }
    let possible = |n: &f64| *n >= 0.0 && *n <= MOST_SAMPLES && n.fract() == 0.0;
    if aggr == Aggr::Count
        && let Some(wrong) = vs.iter().find(|n| !possible(n))
    {
        let what = format!("a window counts {wrong} samples");
        return Err(Corrupt::at(0, what));
    }
    Ok(())
}

/// Windows lie where the index entry of their chunk says, in ms: what is made of
/// them would not be in order. A counter begins at the first sample of the first
/// window, which is named by its end.
pub(super) fn check_window_times(
    aggr: Aggr,
    (first, last): (i64, i64),
    times: (i64, i64),
    resolution: i64,
) -> Result<(), Corrupt> {
    let start = if aggr == Aggr::Counter {
        times.0.saturating_sub(times.0.rem_euclid(resolution))
    } else {
        times.0
    };
    if first >= start && last <= times.1 {
        return Ok(());
    }
    let what = format!(
        "aggregate {} has windows from {first} to {last} ms, outside of the times in the index \
         entry of its chunk, {}..={} ms",
        aggr.name(),
        times.0,
        times.1
    );
    Err(Corrupt::at(0, what).because(Damage::ChunkTimeMismatch))
}
