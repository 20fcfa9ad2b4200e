//! The three columns of an aggregate chunk of histograms, while it is written.

use crate::tsdb::chunkenc::{
    Aggr, Append, CounterReset, EncodedChunk, EncodedChunks, Encoding, FloatHistogram,
    FloatHistogramEncoder, XorEncoder, encode_aggr,
};
use crate::tsdb::{Corrupt, Result};

/// First and last timestamp, ms.
pub(super) type Range = (i64, i64);

/// Encoders of the columns, reused from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct Columns {
    count: XorEncoder,
    sum: FloatHistogramEncoder,
    counter: FloatHistogramEncoder,
    gauge: bool,
    range: Option<Range>,
}

impl Columns {
    /// Begins a chunk of gauges or counters; drops what was not finished.
    pub(super) fn start(&mut self, gauge: bool) {
        self.gauge = gauge;
        self.range = None;
        self.count.clear();
        // Sums go up and down, so they are always gauges. Of a counter column
        // upstream says that there is no reset before it, whatever came before.
        self.sum.start(CounterReset::Gauge);
        self.counter.start(if gauge {
            CounterReset::Gauge
        } else {
            CounterReset::No
        });
    }

    fn note(&mut self, t: i64) {
        let (first, last) = self.range.unwrap_or((t, t));
        self.range = Some((first.min(t), last.max(t)));
    }

    /// Adds a window that ends at `t` (ms) and has so many samples.
    pub(super) fn push_count(&mut self, t: i64, count: f64) {
        self.note(t);
        self.count.push(t, count);
    }

    /// Adds the sum of the histograms of a window.
    ///
    /// # Errors
    /// See [`Self::push`].
    pub(super) fn push_sum(&mut self, t: i64, sum: &mut FloatHistogram) -> Result<()> {
        self.note(t);
        sum.counter_reset = CounterReset::Gauge;
        push(&mut self.sum, t, sum, Aggr::Sum)
    }

    /// Adds the total at the end of a window.
    ///
    /// # Errors
    /// See [`Self::push`].
    pub(super) fn push_counter(&mut self, t: i64, total: &mut FloatHistogram) -> Result<()> {
        self.note(t);
        total.counter_reset = if self.gauge {
            CounterReset::Gauge
        } else {
            CounterReset::Unknown
        };
        push(&mut self.counter, t, total, Aggr::Counter)
    }

    /// Appends the chunk to `out`, unless it is empty. Returns its count column's
    /// samples.
    ///
    /// # Errors
    /// More windows than a chunk can hold.
    pub(super) fn finish(&mut self, out: &mut EncodedChunks) -> Result<()> {
        let Some((min_time, max_time)) = self.range.take() else {
            return Ok(());
        };
        let samples = self.count.len();
        let mut columns = [None; 5];
        if !self.count.is_empty() {
            columns[Aggr::Count as usize] = Some((Encoding::Xor, self.count.finish()?));
        }
        if !self.sum.is_empty() {
            columns[Aggr::Sum as usize] = Some((Encoding::FloatHistogram, self.sum.finish()?));
        }
        if !self.counter.is_empty() {
            columns[Aggr::Counter as usize] =
                Some((Encoding::FloatHistogram, self.counter.finish()?));
        }
        let start = out.bytes.len();
        encode_aggr(columns, &mut out.bytes);
        out.metas.push(EncodedChunk {
            encoding: Encoding::Aggr,
            min_time,
            max_time,
            start,
            len: out.bytes.len() - start,
            samples,
        });
        Ok(())
    }
}

/// Appends to a column, whose histograms have all in common that a chunk needs.
///
/// # Errors
/// A counter that goes down though resets were taken out of it: some bucket has
/// a negative count, which no writer makes.
fn push(column: &mut FloatHistogramEncoder, t: i64, h: &FloatHistogram, aggr: Aggr) -> Result<()> {
    match column.append(t, h)? {
        Append::Done | Append::Widened => Ok(()),
        Append::Cut(_) => {
            let what = format!("histograms whose {} goes down", aggr.name());
            Err(Corrupt::at(0, what).into())
        }
    }
}
