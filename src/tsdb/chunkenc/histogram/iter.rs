//! Reading the histograms of a chunk.

use super::super::bits::BitReader;
use super::super::start_time::StartTimes;
use super::super::varbit::read_int;
use super::super::window::{BadWindow, ReadWindow, read_xor};
use super::super::{Encoding, Fault, read_count};
use super::{
    CUSTOM_SCHEMA, CounterReset, FINEST_SCHEMA, Flavour, HistogramOf, Number, layout, reduce,
};
use crate::tsdb::Result;

/// Bytes before the layout.
pub(super) const HEADER: usize = 3;
/// The bits of the sample count in a chunk with start timestamps.
const SHORT_COUNT: usize = 0x3fff;

/// Buffers of an [`Iter`]. They grow to the largest histogram seen.
#[derive(Debug, Clone, Default)]
pub struct Scratch<F: Flavour> {
    /// The last sample that was not stale, and what all have in common.
    live: HistogramOf<F>,
    /// What a stale sample looks like.
    stale: HistogramOf<F>,
    /// `live` at the finest schema that is handed out.
    reduced: HistogramOf<F>,
    positive: Vec<<F::Bucket as Number>::Reading>,
    negative: Vec<<F::Bucket as Number>::Reading>,
}

/// Reads a histogram chunk sample by sample.
#[derive(Debug, Clone)]
pub struct Iter<'a, F: Flavour> {
    r: BitReader<'a>,
    header: CounterReset,
    starts: StartTimes,
    total: usize,
    read: usize,
    t: i64,
    delta: i64,
    /// Of the last sample read, stale or not.
    sum: f64,
    sum_window: ReadWindow,
    count: <F::Count as Number>::Reading,
    zero_count: <F::Count as Number>::Reading,
    scratch: Scratch<F>,
}

impl<'a, F: Flavour> Iter<'a, F> {
    /// Starts before the first sample. `encoding` is the plain one of this
    /// flavour or that with start timestamps.
    ///
    /// # Errors
    /// Corrupt when `data` is shorter than its header.
    pub fn new(encoding: Encoding, data: &'a [u8]) -> Result<Self> {
        Self::with_scratch(encoding, data, Scratch::default())
    }

    /// The same with the buffers of an earlier iterator.
    ///
    /// # Errors
    /// Corrupt when `data` is shorter than its header.
    pub fn with_scratch(encoding: Encoding, data: &'a [u8], scratch: Scratch<F>) -> Result<Self> {
        let count = read_count(data)?;
        let (Some(&first), Some(&third)) = (data.first(), data.get(HEADER - 1)) else {
            return Err(Fault::TooShort.at(data.len(), F::ENCODING.name(), count));
        };
        let with_starts = encoding.has_start_times();
        Ok(Self {
            r: BitReader::new(data, HEADER),
            header: CounterReset::from_header(if with_starts { first } else { third }),
            starts: StartTimes::new(if with_starts { third } else { 0 }),
            total: if with_starts {
                count & SHORT_COUNT
            } else {
                count
            },
            read: 0,
            t: 0,
            delta: 0,
            sum: 0.0,
            sum_window: ReadWindow::WHOLE,
            count: Default::default(),
            zero_count: Default::default(),
            scratch,
        })
    }

    /// The buffers, for another chunk.
    pub fn into_scratch(self) -> Scratch<F> {
        self.scratch
    }

    /// Moves to the next sample and returns its timestamp (ms); `None` at the
    /// end and after an error.
    ///
    /// # Errors
    /// Corrupt data: too short for its samples, an unknown schema, a layout
    /// with more buckets than there is room for, or spans that overlap.
    pub fn next(&mut self) -> Result<Option<i64>> {
        if self.read == self.total {
            return Ok(None);
        }
        match self.step() {
            Ok(()) => {
                self.read += 1;
                Ok(Some(self.t))
            }
            Err(fault) => {
                let total = std::mem::replace(&mut self.total, self.read);
                Err(fault.at(self.r.byte_offset(), F::ENCODING.name(), total))
            }
        }
    }

    /// The sample that [`Self::next`] moved to; an empty one before the first.
    ///
    /// A stale sample has only its sum. The first sample of a chunk of counters
    /// has an unknown reset, whatever the header says: the chunk before it may
    /// be gone.
    pub fn current(&self) -> &HistogramOf<F> {
        if super::super::is_stale(self.sum) {
            &self.scratch.stale
        } else if self.is_reduced() {
            &self.scratch.reduced
        } else {
            &self.scratch.live
        }
    }

    /// Start timestamp (ms) of that sample.
    pub fn start_time(&self) -> Option<i64> {
        self.starts.current()
    }

    /// What the header of the chunk says about a reset before it.
    pub fn counter_reset(&self) -> CounterReset {
        self.header
    }

    /// Samples that are still to come.
    pub fn remaining(&self) -> usize {
        self.total - self.read
    }

    fn is_reduced(&self) -> bool {
        let schema = self.scratch.live.schema;
        schema > FINEST_SCHEMA && schema != CUSTOM_SCHEMA
    }

    fn step(&mut self) -> Result<(), Fault> {
        let before = self.t;
        if self.read == 0 {
            self.first()?;
        } else {
            self.later()?;
        }
        self.starts.read(&mut self.r, self.read, self.t, before)?;
        if self.r.overrun() {
            return Err(Fault::TooShort);
        }
        self.scratch.live.counter_reset = match self.header {
            CounterReset::Gauge => CounterReset::Gauge,
            _ if self.read > 0 => CounterReset::No,
            _ => CounterReset::Unknown,
        };
        self.scratch.live.sum = self.sum;
        if self.is_reduced() {
            self.reduce();
        }
        Ok(())
    }

    /// Reads the layout and sample 0.
    fn first(&mut self) -> Result<(), Fault> {
        let (r, scratch) = (&mut self.r, &mut self.scratch);
        let h = &mut scratch.live;
        layout::read(r, h)?;
        reset_to(&mut scratch.positive, h.positive_buckets.len());
        reset_to(&mut scratch.negative, h.negative_buckets.len());
        scratch.stale.make_stale();
        self.t = read_int(r);
        h.count = F::Count::read_first(r);
        h.zero_count = F::Count::read_first(r);
        self.sum = f64::read_first(r);
        for bucket in h.positive_buckets.iter_mut().chain(&mut h.negative_buckets) {
            *bucket = F::Bucket::read_first(r);
        }
        Ok(())
    }

    /// Reads any later sample.
    fn later(&mut self) -> Result<(), Fault> {
        // A copy that nobody else refers to can stay in registers.
        let mut r = self.r;
        let result = self.later_from(&mut r);
        self.r = r;
        Ok(result?)
    }

    #[inline(always)]
    fn later_from(&mut self, r: &mut BitReader<'_>) -> Result<(), BadWindow> {
        let scratch = &mut self.scratch;
        let h = &mut scratch.live;
        self.delta = self.delta.wrapping_add(read_int(r));
        self.t = self.t.wrapping_add(self.delta);
        h.count.read_next(r, &mut self.count)?;
        h.zero_count.read_next(r, &mut self.zero_count)?;
        let sum = read_xor(r, self.sum.to_bits(), &mut self.sum_window)?;
        self.sum = f64::from_bits(sum);
        if super::super::is_stale(self.sum) {
            return Ok(());
        }
        read_buckets(r, &mut h.positive_buckets, &mut scratch.positive)?;
        read_buckets(r, &mut h.negative_buckets, &mut scratch.negative)
    }

    #[cold]
    fn reduce(&mut self) {
        let (live, reduced) = (&self.scratch.live, &mut self.scratch.reduced);
        let steps = live.schema.abs_diff(FINEST_SCHEMA);
        reduced.counter_reset = live.counter_reset;
        reduced.schema = FINEST_SCHEMA;
        reduced.zero_threshold = live.zero_threshold;
        reduced.zero_count = live.zero_count;
        reduced.count = live.count;
        reduced.sum = live.sum;
        reduced.custom_values.clear();
        reduce::reduce(
            &live.positive_spans,
            &live.positive_buckets,
            steps,
            &mut reduced.positive_spans,
            &mut reduced.positive_buckets,
        );
        reduce::reduce(
            &live.negative_spans,
            &live.negative_buckets,
            steps,
            &mut reduced.negative_spans,
            &mut reduced.negative_buckets,
        );
    }
}

/// Reads the buckets of one sign.
#[inline]
fn read_buckets<B: Number>(
    r: &mut BitReader<'_>,
    buckets: &mut [B],
    memory: &mut [B::Reading],
) -> Result<(), BadWindow> {
    for (bucket, memory) in buckets.iter_mut().zip(memory) {
        bucket.read_next(r, memory)?;
    }
    Ok(())
}

/// Makes `memory` as new for `len` numbers.
pub(super) fn reset_to<T: Copy + Default>(memory: &mut Vec<T>, len: usize) {
    memory.clear();
    memory.resize(len, T::default());
}
