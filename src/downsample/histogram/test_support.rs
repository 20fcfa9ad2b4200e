//! Naive histograms for the tests: maps from bucket numbers to counts.

use std::collections::BTreeMap;

use super::HistogramDownsampler;
use crate::downsample::Counts as Books;
use crate::tsdb::chunkenc::{
    Aggr, AggrChunk, AggrColumn, CUSTOM_SCHEMA, CounterReset, EncodedChunks, Encoding,
    FloatHistogram, FloatHistogramIter, FloatSamples, Histogram, SeriesEncoder, Span, decode_xor,
};

pub(super) type Counts = BTreeMap<i64, f64>;

/// Spans and buckets for some counts; `odd` makes spans that are cut in two, and
/// empty ones, which mean the same.
fn side(counts: &Counts, odd: bool) -> (Vec<Span>, Vec<f64>) {
    let (mut spans, mut next) = (Vec::<Span>::new(), 0);
    for number in counts.keys() {
        match spans.last_mut() {
            Some(span) if *number == next && !(odd && number % 3 == 0) => span.length += 1,
            _ => {
                let mut offset = (number - next) as i32;
                if odd && offset > 1 {
                    spans.push(Span {
                        offset: 1,
                        length: 0,
                    });
                    offset -= 1;
                }
                spans.push(Span { offset, length: 1 });
            }
        }
        next = number + 1;
    }
    (spans, counts.values().copied().collect())
}

/// The counts that spans and buckets say; panics where they disagree.
pub(super) fn counts(spans: &[Span], buckets: &[f64]) -> Counts {
    let mut number = 0_i64;
    let mut counts = Counts::new();
    let mut buckets = buckets.iter();
    for (i, span) in spans.iter().enumerate() {
        assert!(i == 0 || span.offset >= 0);
        number += i64::from(span.offset);
        for _ in 0..span.length {
            counts.insert(number, *buckets.next().unwrap());
            number += 1;
        }
    }
    assert!(buckets.next().is_none());
    counts
}

/// A histogram as maps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub(super) schema: i32,
    pub(super) threshold: f64,
    pub(super) zero: f64,
    pub(super) count: f64,
    pub(super) positive: Counts,
    pub(super) negative: Counts,
    pub(super) gauge: bool,
    pub(super) bounds: Vec<f64>,
}

impl Model {
    /// A counter of schema 0 with so many observations in the buckets from 1 on.
    pub(super) fn simple(buckets: &[u32]) -> Self {
        let number = |(i, n): (usize, &u32)| (i as i64 + 1, f64::from(*n));
        Self {
            schema: 0,
            threshold: 2f64.powi(-128),
            zero: 0.0,
            count: f64::from(buckets.iter().sum::<u32>()),
            positive: buckets.iter().enumerate().map(number).collect(),
            negative: Counts::new(),
            gauge: false,
            bounds: Vec::new(),
        }
    }

    /// The same with custom buckets.
    pub(super) fn custom(bounds: &[f64], buckets: &[u32]) -> Self {
        Self {
            schema: CUSTOM_SCHEMA,
            threshold: 0.0,
            bounds: bounds.to_vec(),
            ..Self::simple(buckets)
        }
    }

    pub(super) fn histogram(&self, odd: bool) -> FloatHistogram {
        let (positive_spans, positive_buckets) = side(&self.positive, odd);
        let (negative_spans, negative_buckets) = side(&self.negative, odd);
        FloatHistogram {
            schema: self.schema,
            zero_threshold: self.threshold,
            zero_count: self.zero,
            count: self.count,
            sum: self.count * 2.0,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: self.bounds.clone(),
            counter_reset: if self.gauge {
                CounterReset::Gauge
            } else {
                CounterReset::Unknown
            },
        }
    }

    pub(super) fn of(h: &FloatHistogram) -> Self {
        assert_eq!(h.sum, h.count * 2.0);
        Self {
            schema: h.schema,
            threshold: h.zero_threshold,
            zero: h.zero_count,
            count: h.count,
            positive: counts(&h.positive_spans, &h.positive_buckets),
            negative: counts(&h.negative_spans, &h.negative_buckets),
            gauge: h.counter_reset == CounterReset::Gauge,
            bounds: h.custom_values.clone(),
        }
    }

    /// The same without empty buckets.
    pub(super) fn tidy(mut self) -> Self {
        self.positive.retain(|_, n| *n != 0.0);
        self.negative.retain(|_, n| *n != 0.0);
        self
    }

    pub(super) fn plus(&self, other: &Self, sign: f64) -> Self {
        let mut sum = self.clone();
        sum.zero += sign * other.zero;
        sum.count += sign * other.count;
        for (to, from) in [
            (&mut sum.positive, &other.positive),
            (&mut sum.negative, &other.negative),
        ] {
            for (number, n) in from {
                *to.entry(*number).or_default() += sign * n;
            }
        }
        sum
    }

    /// At a coarser schema and with a wider zero bucket, by bucket bounds.
    pub(super) fn at(&self, schema: i32, threshold: f64) -> Self {
        if schema == CUSTOM_SCHEMA {
            return self.clone();
        }
        let mut coarse = Self {
            schema,
            threshold,
            positive: Counts::new(),
            negative: Counts::new(),
            ..self.clone()
        };
        for (to, from) in [
            (&mut coarse.positive, &self.positive),
            (&mut coarse.negative, &self.negative),
        ] {
            for (number, n) in from {
                let bound = f64::exp2(*number as f64 * f64::exp2(f64::from(-self.schema)));
                // The first bucket of the coarse schema that reaches that far.
                let exact = bound.log2() * f64::exp2(f64::from(schema));
                let target = (exact - 1e-9).ceil();
                let upper = f64::exp2(target * f64::exp2(f64::from(-schema)));
                if upper <= threshold * 1.000_000_1 && threshold != self.threshold {
                    coarse.zero += n;
                } else {
                    *to.entry(target as i64).or_default() += n;
                }
            }
        }
        coarse
    }

    pub(super) fn is_reset_to(&self, next: &Self) -> bool {
        let went_down = |last: &Counts, next: &Counts| {
            last.iter()
                .any(|(number, n)| next.get(number).copied().unwrap_or_default() < *n)
        };
        next.count < self.count
            || next.zero < self.zero
            || went_down(&self.positive, &next.positive)
            || went_down(&self.negative, &next.negative)
    }
}

/// The same in integers.
fn integers(h: &FloatHistogram) -> Histogram {
    let deltas = |counts: &[f64]| {
        let before = std::iter::once(&0.0).chain(counts);
        let delta = |(n, before): (&f64, &f64)| *n as i64 - *before as i64;
        counts.iter().zip(before).map(delta).collect()
    };
    Histogram {
        counter_reset: h.counter_reset,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count as u64,
        count: h.count as u64,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        negative_spans: h.negative_spans.clone(),
        positive_buckets: deltas(&h.positive_buckets),
        negative_buckets: deltas(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    }
}

/// Raw chunks, cut between the slices and where the encoder has to.
pub(super) fn encode(chunks: &[&[(i64, FloatHistogram)]], as_integers: bool) -> EncodedChunks {
    let (mut encoder, mut out) = (SeriesEncoder::new(), EncodedChunks::default());
    for samples in chunks {
        for (t, h) in *samples {
            if as_integers {
                encoder.push_histogram(*t, &integers(h), &mut out).unwrap();
            } else {
                encoder.push_float_histogram(*t, h, &mut out).unwrap();
            }
        }
        encoder.finish(&mut out).unwrap();
    }
    out
}

/// One window of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) t: i64,
    pub(super) count: f64,
    pub(super) sum: Model,
    pub(super) counter: Model,
}

fn histograms(column: AggrColumn<'_>) -> Vec<(i64, Model)> {
    let mut iter = FloatHistogramIter::new(column.encoding, column.data).unwrap();
    let mut out = Vec::new();
    while let Some(t) = iter.next().unwrap() {
        out.push((t, Model::of(iter.current()).tidy()));
    }
    out
}

/// The windows of each chunk; all three columns have to be there and agree.
pub(super) fn windows(chunks: &EncodedChunks) -> Vec<Vec<Window>> {
    let decode = |data: &[u8]| {
        let chunk = AggrChunk::parse(data).unwrap();
        assert!(chunk.column(Aggr::Min).is_none() && chunk.column(Aggr::Max).is_none());
        let mut count = FloatSamples::default();
        decode_xor(chunk.column(Aggr::Count).unwrap().data, &mut count).unwrap();
        let sum = histograms(chunk.column(Aggr::Sum).unwrap());
        let counter = histograms(chunk.column(Aggr::Counter).unwrap());
        assert_eq!((sum.len(), counter.len()), (count.len(), count.len()));
        let mut windows = Vec::new();
        for (((t, count), sum), counter) in count.iter().zip(sum).zip(counter) {
            assert_eq!((sum.0, counter.0), (t, t));
            windows.push(Window {
                t,
                count,
                sum: sum.1,
                counter: counter.1,
            });
        }
        windows
    };
    let chunk = |(meta, data): (&crate::tsdb::chunkenc::EncodedChunk, &[u8])| {
        let windows = decode(data);
        assert_eq!(meta.encoding, Encoding::Aggr);
        assert_eq!(meta.samples, windows.len());
        assert_eq!(meta.min_time, windows[0].t);
        assert_eq!(meta.max_time, windows[windows.len() - 1].t);
        windows
    };
    chunks.iter().map(chunk).collect()
}

/// Raw chunks to aggregates of `resolution` ms; the books have to balance.
pub(super) fn downsample(raw: &EncodedChunks, resolution: i64) -> (EncodedChunks, Books) {
    let run: Vec<_> = raw
        .iter()
        .map(|(meta, data)| (meta.encoding, data))
        .collect();
    let (mut out, mut books) = (EncodedChunks::default(), Books::default());
    let mut downsampler = HistogramDownsampler::default();
    downsampler
        .raw(&run, resolution, &mut out, &mut books)
        .unwrap();
    assert_eq!(books.imbalance(), 0);
    (out, books)
}

/// Aggregates to those of windows twelve times as long.
pub(super) fn downsample_again(chunks: &EncodedChunks, resolution: i64) -> (EncodedChunks, Books) {
    let run: Vec<_> = chunks
        .iter()
        .map(|(m, data)| (m.min_time, m.max_time, AggrChunk::parse(data).unwrap()))
        .collect();
    let (mut out, mut books) = (EncodedChunks::default(), Books::default());
    HistogramDownsampler::default()
        .aggregates(&run, resolution, 12 * resolution, &mut out, &mut books)
        .unwrap();
    assert_eq!(books.imbalance(), 0);
    (out, books)
}
