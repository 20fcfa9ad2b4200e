//! Writing the histograms of a chunk.

use super::super::bits::{BitRun, BitWriter};
use super::super::varbit::put_int;
use super::super::window::{WriteWindow, put_xor};
use super::super::xor::MAX_SAMPLES;
use super::super::xor_encoder::too_many;
use super::fit::{Fit, fit};
use super::iter::{HEADER, Iter, Scratch, reset_to};
use super::spans::{are_sane, count_buckets, relayout, union};
use super::{CUSTOM_SCHEMA, CounterReset, FINEST_SCHEMA, Flavour, HistogramOf, Number, layout};
use crate::tsdb::{Error, Result};

/// Most bits of a number: a float with a new window.
const MAX_NUMBER_BITS: usize = 13 + 64;

/// What became of a histogram that was to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// It is in the chunk.
    Done,
    /// It is in the chunk, all samples of which were written again to make room
    /// for new buckets.
    Widened,
    /// It does not fit the chunk: finish this one, start the next with this
    /// header, append again.
    Cut(CounterReset),
}

/// Writes chunks of histograms, one after the other, into reused buffers.
///
/// The rules for appending are those of Prometheus, see `fit.rs`.
#[derive(Debug, Clone)]
pub struct Encoder<F: Flavour> {
    stream: Stream<F>,
    /// The stream of the next widening.
    spare: Stream<F>,
    header: CounterReset,
    /// The header was given, not to be derived from the first sample.
    header_given: bool,
    /// A sample that was padded or widened.
    adjusted: HistogramOf<F>,
    reading: Scratch<F>,
}

impl<F: Flavour> Default for Encoder<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Flavour> Encoder<F> {
    /// An encoder with an empty chunk.
    pub fn new() -> Self {
        Self {
            stream: Stream::default(),
            spare: Stream::default(),
            header: CounterReset::Unknown,
            header_given: false,
            adjusted: HistogramOf::default(),
            reading: Scratch::default(),
        }
    }

    /// Samples in the chunk so far.
    pub fn len(&self) -> usize {
        self.stream.count
    }

    /// True before the first sample of a chunk.
    pub fn is_empty(&self) -> bool {
        self.stream.count == 0
    }

    /// Drops what was written since the last [`Self::finish`]; the header of
    /// the next chunk follows from its first sample.
    pub fn clear(&mut self) {
        self.stream.count = 0;
        self.header_given = false;
    }

    /// Drops the same and sets the header of the next chunk, as told by
    /// [`Append::Cut`].
    pub fn start(&mut self, header: CounterReset) {
        self.stream.count = 0;
        self.header = header;
        self.header_given = true;
    }

    /// Appends a histogram, `t` in ms.
    ///
    /// # Errors
    /// [`Error::Misuse`] when buckets and spans disagree or the schema is none
    /// that is written; [`Error::Limit`] when the chunk is full.
    pub fn append(&mut self, t: i64, h: &HistogramOf<F>) -> Result<Append> {
        check(h)?;
        if self.is_empty() {
            // What came before is not known here, so only the sample itself can
            // say whether there was a reset.
            if !self.header_given {
                self.header = match h.counter_reset {
                    known @ (CounterReset::Gauge | CounterReset::Yes) => known,
                    _ => CounterReset::Unknown,
                };
            }
            self.stream.put_first(t, h);
            return Ok(Append::Done);
        }
        if self.stream.count >= MAX_SAMPLES {
            return Err(too_many(self.stream.count + 1));
        }
        let fit = match fit(self.header, &self.stream.last, h) {
            Ok(fit) => fit,
            Err(header) => return Ok(Append::Cut(header)),
        };
        if fit == Fit::default() {
            self.stream.put_later(t, h);
            return Ok(Append::Done);
        }
        self.append_adjusted(t, h, fit)
    }

    #[cold]
    fn append_adjusted(&mut self, t: i64, h: &HistogramOf<F>, fit: Fit) -> Result<Append> {
        let mut target = std::mem::take(&mut self.adjusted);
        let done = self.append_as(t, h, fit, &mut target);
        self.adjusted = target;
        done
    }

    fn append_as(
        &mut self,
        t: i64,
        h: &HistogramOf<F>,
        fit: Fit,
        target: &mut HistogramOf<F>,
    ) -> Result<Append> {
        self.choose_layout(h, fit, target).ok_or_else(|| {
            Error::Limit("histograms with buckets too far apart to share a chunk".to_owned())
        })?;
        if fit.widens() {
            self.widen(target)?;
        }
        relayout_into(h, target);
        self.stream.put_later(t, target);
        Ok(if fit.widens() {
            Append::Widened
        } else {
            Append::Done
        })
    }

    /// Sets the spans of `target` to those of chunk and sample together.
    ///
    /// Which of several ways to write the same buckets is taken shows in the
    /// bytes of a widened chunk, so it is the way of upstream: the spans of the
    /// sample where they cover the chunk, else the fewest spans; and for gauges
    /// the fewest spans on both sides when either side is padded.
    fn choose_layout(
        &self,
        h: &HistogramOf<F>,
        fit: Fit,
        target: &mut HistogramOf<F>,
    ) -> Option<()> {
        let last = &self.stream.last;
        target.copy_layout_from(last);
        // The layout of the chunk stays, the sample is padded to it.
        if !fit.widens() {
            return Some(());
        }
        let gauge = self.header == CounterReset::Gauge && fit.pads();
        if fit.positive.pad || gauge {
            let (a, b) = (&last.positive_spans, &h.positive_spans);
            union(a, b, &mut target.positive_spans)?;
        } else {
            target.positive_spans.clone_from(&h.positive_spans);
        }
        if fit.negative.pad || gauge {
            let (a, b) = (&last.negative_spans, &h.negative_spans);
            union(a, b, &mut target.negative_spans)?;
        } else {
            target.negative_spans.clone_from(&h.negative_spans);
        }
        Some(())
    }

    /// Writes the chunk again with the spans of `target`.
    fn widen(&mut self, target: &HistogramOf<F>) -> Result<()> {
        // The old chunk is read from `spare` while the new one is written.
        std::mem::swap(&mut self.stream, &mut self.spare);
        self.spare.seal(self.header)?;
        let reading = std::mem::take(&mut self.reading);
        let mut samples = Iter::with_scratch(F::ENCODING, self.spare.w.bytes(), reading)?;
        let mut wide = HistogramOf::default();
        std::mem::swap(&mut wide, &mut self.spare.wide);
        wide.copy_layout_from(target);
        self.stream.count = 0;
        while let Some(t) = samples.next()? {
            relayout_into(samples.current(), &mut wide);
            if self.stream.count == 0 {
                self.stream.put_first(t, &wide);
            } else {
                self.stream.put_later(t, &wide);
            }
        }
        self.reading = samples.into_scratch();
        self.spare.wide = wide;
        Ok(())
    }

    /// The bytes of the chunk. The next append starts a new one, whose header
    /// follows from its first sample; without a sample this is the empty chunk.
    ///
    /// # Errors
    /// [`Error::Limit`] with more samples than the 16-bit count can say.
    pub fn finish(&mut self) -> Result<&[u8]> {
        if self.is_empty() {
            self.stream.w.restart(HEADER);
            if !self.header_given {
                self.header = CounterReset::Unknown;
            }
        }
        self.stream.seal(self.header)?;
        self.clear();
        Ok(self.stream.w.bytes())
    }
}

/// Refuses what cannot be written or would be read back as something else.
fn check<F: Flavour>(h: &HistogramOf<F>) -> Result<()> {
    // Only the sum of a stale sample is written.
    if h.is_stale() {
        return Ok(());
    }
    if !(-9..=FINEST_SCHEMA).contains(&h.schema) && h.schema != CUSTOM_SCHEMA {
        return Err(Error::Misuse(format!("histogram of schema {}", h.schema)));
    }
    let sane = are_sane(&h.positive_spans)
        && are_sane(&h.negative_spans)
        && count_buckets(&h.positive_spans) == h.positive_buckets.len()
        && count_buckets(&h.negative_spans) == h.negative_buckets.len();
    if sane {
        Ok(())
    } else {
        Err(Error::Misuse(
            "histogram whose buckets and spans disagree".to_owned(),
        ))
    }
}

/// Fills `to`, whose spans are set, with the numbers of `from`.
fn relayout_into<F: Flavour>(from: &HistogramOf<F>, to: &mut HistogramOf<F>) {
    to.counter_reset = from.counter_reset;
    to.zero_count = from.zero_count;
    to.count = from.count;
    to.sum = from.sum;
    relayout(
        &from.positive_spans,
        &from.positive_buckets,
        &to.positive_spans,
        &mut to.positive_buckets,
    );
    relayout(
        &from.negative_spans,
        &from.negative_buckets,
        &to.negative_spans,
        &mut to.negative_buckets,
    );
}

/// A chunk that is being written, and what the next sample is coded against.
#[derive(Debug, Clone)]
struct Stream<F: Flavour> {
    w: BitWriter,
    count: usize,
    t: i64,
    delta: i64,
    /// The sample before, with the layout of the chunk.
    last: HistogramOf<F>,
    sum: WriteWindow,
    observations: <F::Count as Number>::Writing,
    zero_count: <F::Count as Number>::Writing,
    positive: Vec<<F::Bucket as Number>::Writing>,
    negative: Vec<<F::Bucket as Number>::Writing>,
    /// A sample on its way into a wider chunk.
    wide: HistogramOf<F>,
}

impl<F: Flavour> Default for Stream<F> {
    fn default() -> Self {
        Self {
            w: BitWriter::default(),
            count: 0,
            t: 0,
            delta: 0,
            last: HistogramOf::default(),
            sum: WriteWindow::NONE,
            observations: Default::default(),
            zero_count: Default::default(),
            positive: Vec::new(),
            negative: Vec::new(),
            wide: HistogramOf::default(),
        }
    }
}

impl<F: Flavour> Stream<F> {
    /// Most bits of a sample, its layout aside: time, counts, sum, buckets.
    fn max_bits(h: &HistogramOf<F>) -> usize {
        (4 + h.positive_buckets.len() + h.negative_buckets.len()) * MAX_NUMBER_BITS
    }

    /// Writes the layout and sample 0.
    fn put_first(&mut self, t: i64, h: &HistogramOf<F>) {
        self.last.copy_from(h);
        // A chunk that starts stale has an empty layout.
        if h.is_stale() {
            self.last.make_stale();
        }
        let h = &self.last;
        self.w.restart(HEADER);
        let mut w = self.w.run(layout::max_bits(h) + Self::max_bits(h));
        layout::put(&mut w, h);
        put_int(&mut w, t);
        h.count.put_first(&mut w);
        h.zero_count.put_first(&mut w);
        h.sum.put_first(&mut w);
        for bucket in h.positive_buckets.iter().chain(&h.negative_buckets) {
            bucket.put_first(&mut w);
        }
        let end = w.end();
        self.w.resume(end);
        (self.t, self.delta, self.count) = (t, 0, 1);
        self.sum = WriteWindow::NONE;
        self.observations = Default::default();
        self.zero_count = Default::default();
        reset_to(&mut self.positive, h.positive_buckets.len());
        reset_to(&mut self.negative, h.negative_buckets.len());
    }

    /// Writes any later sample; it has the spans of the chunk.
    fn put_later(&mut self, t: i64, h: &HistogramOf<F>) {
        let mut w = self.w.run(Self::max_bits(h));
        let last = &mut self.last;
        let delta = t.wrapping_sub(self.t);
        put_int(&mut w, delta.wrapping_sub(self.delta));
        (self.t, self.delta) = (t, delta);
        self.count += 1;
        let sum = h.sum.to_bits() ^ last.sum.to_bits();
        last.sum = h.sum;
        // The windows and deltas of the buckets stay as they are: no sample
        // with buckets follows a stale one.
        if h.is_stale() {
            F::Count::put_stale(&mut w, last.count, &mut self.observations);
            F::Count::put_stale(&mut w, last.zero_count, &mut self.zero_count);
            put_xor(&mut w, sum, &mut self.sum);
            last.count = F::Count::default();
            last.zero_count = F::Count::default();
        } else {
            h.count.put_next(&mut w, last.count, &mut self.observations);
            let zero_count = h.zero_count;
            zero_count.put_next(&mut w, last.zero_count, &mut self.zero_count);
            put_xor(&mut w, sum, &mut self.sum);
            (last.count, last.zero_count) = (h.count, h.zero_count);
            let memory = (&mut self.positive, &mut self.negative);
            let buckets = (&h.positive_buckets, &mut last.positive_buckets);
            put_buckets(&mut w, buckets.0, buckets.1, memory.0);
            let buckets = (&h.negative_buckets, &mut last.negative_buckets);
            put_buckets(&mut w, buckets.0, buckets.1, memory.1);
        }
        let end = w.end();
        self.w.resume(end);
    }

    /// Fills in the header.
    fn seal(&mut self, header: CounterReset) -> Result<()> {
        let count = u16::try_from(self.count).map_err(|_| too_many(self.count))?;
        let [high, low] = count.to_be_bytes();
        if let Some(bytes) = self.w.header_mut() {
            *bytes = [high, low, header.header()];
        }
        Ok(())
    }
}

/// Writes the buckets of one sign and remembers them.
#[inline(always)]
fn put_buckets<B: Number>(
    w: &mut BitRun<'_>,
    buckets: &[B],
    last: &mut [B],
    memory: &mut [B::Writing],
) {
    for ((bucket, last), memory) in buckets.iter().zip(last).zip(memory) {
        bucket.put_next(w, *last, memory);
        *last = *bucket;
    }
}
