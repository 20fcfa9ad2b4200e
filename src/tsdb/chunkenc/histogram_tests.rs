//! Histograms: both ways, against naive models of buckets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::histogram::{Bucket, Flavour, HistogramOf};
use super::{
    Append, CounterReset, EncodedChunks, Encoding, FloatHistogram, FloatHistogramIter, Histogram,
    HistogramEncoder, HistogramIter, HistogramScratch, STALE_NAN, SeriesEncoder, Span,
};

/// One step of a histogram's life.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Counts of some buckets grow (positive, number, by how much).
    Grow(Vec<(bool, i64, u64)>),
    /// A gauge takes new counts.
    Set(Vec<(bool, i64, u64)>),
    /// All counts start again from zero.
    Reset,
    /// The same, announced by the hint.
    AnnouncedReset,
    /// The series goes stale.
    Stale,
    /// Another schema or other bounds.
    Schema(usize),
    /// The sample lists buckets that are empty, or not.
    Sparse(bool),
    /// Spans are cut in two, and some are empty.
    OddSpans(bool),
}

pub(super) fn histories() -> impl Strategy<Value = Vec<Event>> {
    let buckets = || prop::collection::vec((any::<bool>(), -6i64..30, 0u64..200), 0..6);
    let wide = || prop::collection::vec((any::<bool>(), -3000i64..3000, 0u64..1 << 40), 0..3);
    prop::collection::vec(
        prop_oneof![
            12 => buckets().prop_map(Event::Grow),
            1 => wide().prop_map(Event::Grow),
            3 => buckets().prop_map(Event::Set),
            1 => Just(Event::Reset),
            1 => Just(Event::AnnouncedReset),
            1 => Just(Event::Stale),
            1 => (0usize..5).prop_map(Event::Schema),
            1 => any::<bool>().prop_map(Event::Sparse),
            1 => any::<bool>().prop_map(Event::OddSpans),
        ],
        0..60,
    )
}

/// What a histogram means: counts by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    positive: BTreeMap<i64, u64>,
    negative: BTreeMap<i64, u64>,
    zero: u64,
    gauge: bool,
    announced: bool,
    stale: bool,
    schema: usize,
    sparse: bool,
    odd: bool,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        (self.announced, self.stale) = (false, false);
        match event {
            Event::Grow(buckets) => {
                self.gauge = false;
                self.zero += buckets.len() as u64;
                for (positive, number, by) in buckets {
                    *self.side(*positive).entry(*number).or_default() += by;
                }
            }
            Event::Set(buckets) => {
                self.gauge = true;
                self.positive.clear();
                self.negative.clear();
                for (positive, number, to) in buckets {
                    self.side(*positive).insert(*number, *to);
                }
            }
            Event::Reset | Event::AnnouncedReset => {
                self.announced = matches!(event, Event::AnnouncedReset);
                self.positive.values_mut().for_each(|n| *n /= 3);
                self.negative.clear();
                self.zero = 0;
            }
            Event::Stale => self.stale = true,
            Event::Schema(schema) => self.schema = *schema,
            Event::Sparse(sparse) => self.sparse = *sparse,
            Event::OddSpans(odd) => self.odd = *odd,
        }
    }

    fn side(&mut self, positive: bool) -> &mut BTreeMap<i64, u64> {
        // Custom buckets have no negative side and no negative numbers.
        if positive || self.schema == 4 {
            &mut self.positive
        } else {
            &mut self.negative
        }
    }

    fn histogram(&self) -> Histogram {
        if self.stale {
            return Histogram {
                sum: f64::from_bits(STALE_NAN),
                ..Histogram::default()
            };
        }
        let (positive_spans, positive_buckets) = self.spans(&self.positive);
        let (negative_spans, negative_buckets) = self.spans(&self.negative);
        let count = self.zero
            + self
                .positive
                .values()
                .chain(self.negative.values())
                .sum::<u64>();
        let bounds: &[&[f64]] = &[&[], &[], &[], &[-1.5, 0.1, 2.0], &[0.005, 3.0, 1e9, 1e300]];
        let custom = bounds[self.schema];
        Histogram {
            counter_reset: match (self.gauge, self.announced) {
                (true, _) => CounterReset::Gauge,
                (_, true) => CounterReset::Yes,
                _ => CounterReset::Unknown,
            },
            schema: if custom.is_empty() {
                self.schema as i32 * 4
            } else {
                -53
            },
            zero_threshold: [0.0, 2f64.powi(-128), 0.001, 0.0, 0.0][self.schema],
            zero_count: self.zero,
            count,
            sum: count as f64 / 3.0,
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: custom.to_vec(),
        }
    }

    fn spans(&self, counts: &BTreeMap<i64, u64>) -> (Vec<Span>, Vec<i64>) {
        let (mut spans, mut buckets) = (Vec::<Span>::new(), Vec::new());
        let (mut next, mut before) = (0, 0);
        for (number, count) in counts {
            if self.sparse && *count == 0 {
                continue;
            }
            match spans.last_mut() {
                Some(span) if *number == next && !(self.odd && number % 3 == 0) => span.length += 1,
                _ => {
                    let mut offset = (number - next) as i32;
                    if self.odd && offset > 1 {
                        // An empty span on the way.
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
            buckets.push(*count as i64 - before);
            before = *count as i64;
        }
        (spans, buckets)
    }
}

fn to_float(h: &Histogram) -> FloatHistogram {
    let absolute = |deltas: &[i64]| {
        let mut sum = 0;
        let add = |delta: &i64| {
            sum += delta;
            sum as f64 / 4.0
        };
        deltas.iter().map(add).collect()
    };
    FloatHistogram {
        counter_reset: h.counter_reset,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: h.zero_count as f64 / 4.0,
        count: h.count as f64 / 4.0,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        negative_spans: h.negative_spans.clone(),
        positive_buckets: absolute(&h.positive_buckets),
        negative_buckets: absolute(&h.negative_buckets),
        custom_values: h.custom_values.clone(),
    }
}

fn lives(history: &[Event]) -> Vec<(i64, Histogram)> {
    let mut model = Model::default();
    let mut t = 1_788_220_800_000;
    let live = |event: &Event| {
        model.apply(event);
        t += 15_000 + model.zero as i64 % 7;
        (t, model.histogram())
    };
    history.iter().map(live).collect()
}

/// The same history as chunks of integer and of float histograms.
pub(super) fn encode_histograms(history: &[Event]) -> (EncodedChunks, EncodedChunks) {
    let mut encoder = SeriesEncoder::new();
    let (mut ints, mut floats) = (EncodedChunks::default(), EncodedChunks::default());
    let lives = lives(history);
    for (t, h) in &lives {
        encoder.push_histogram(*t, h, &mut ints).unwrap();
    }
    encoder.finish(&mut ints).unwrap();
    for (t, h) in &lives {
        let h = to_float(h);
        encoder.push_float_histogram(*t, &h, &mut floats).unwrap();
    }
    encoder.finish(&mut floats).unwrap();
    (ints, floats)
}

/// Counts by bucket, empty ones left out; the naive reading of spans.
pub(super) fn counts<B: Bucket>(spans: &[Span], buckets: &[B]) -> BTreeMap<i64, String> {
    let (mut number, mut count) = (0, B::default());
    let mut stored = buckets.iter();
    let mut counts = BTreeMap::new();
    for span in spans {
        number += i64::from(span.offset);
        for _ in 0..span.length {
            count = stored.next().unwrap().absolute(count);
            if count != B::default() {
                counts.insert(number, format!("{count:?}"));
            }
            number += 1;
        }
    }
    assert!(stored.next().is_none());
    counts
}

/// Equal in meaning: all but empty buckets, and resets, which chunks tell.
pub(super) fn assert_same<F: Flavour>(read: &HistogramOf<F>, written: &HistogramOf<F>, name: &str) {
    assert_eq!(read.sum.to_bits(), written.sum.to_bits(), "{name}");
    if written.is_stale() {
        assert!(read.positive_buckets.is_empty() && read.negative_buckets.is_empty());
        assert_eq!(read.count, F::Count::default());
        return;
    }
    assert_eq!(read.count, written.count, "{name}");
    assert_eq!(read.zero_count, written.zero_count, "{name}");
    assert_eq!(read.schema, written.schema, "{name}");
    assert_eq!(read.zero_threshold, written.zero_threshold, "{name}");
    assert_eq!(read.custom_values, written.custom_values, "{name}");
    for (read, written) in [
        (
            counts(&read.positive_spans, &read.positive_buckets),
            counts(&written.positive_spans, &written.positive_buckets),
        ),
        (
            counts(&read.negative_spans, &read.negative_buckets),
            counts(&written.negative_spans, &written.negative_buckets),
        ),
    ] {
        assert_eq!(read, written, "{name}");
    }
    let gauge = |h: &HistogramOf<F>| h.counter_reset == CounterReset::Gauge;
    assert_eq!(gauge(read), gauge(written), "{name}");
}

proptest! {
    #[test]
    fn histories_come_back(history in histories()) {
        let lives = lives(&history);
        let (ints, floats) = encode_histograms(&history);
        let mut written = lives.iter();
        let mut scratch = HistogramScratch::default();
        for (meta, data) in ints.iter() {
            prop_assert_eq!(meta.encoding, Encoding::Histogram);
            let mut iter = HistogramIter::with_scratch(meta.encoding, data, scratch).unwrap();
            prop_assert_eq!(iter.remaining(), meta.samples);
            let mut last = None;
            while let Some(t) = iter.next().unwrap() {
                let (written_t, h) = written.next().unwrap();
                prop_assert_eq!(t, *written_t);
                assert_same(iter.current(), h, "integers");
                prop_assert_eq!(iter.start_time(), None);
                prop_assert_eq!(last.is_none(), t == meta.min_time);
                last = Some(t);
            }
            prop_assert_eq!(last, Some(meta.max_time));
            scratch = iter.into_scratch();
        }
        prop_assert!(written.next().is_none());
        let mut written = lives.iter();
        for (meta, data) in floats.iter() {
            let mut iter = FloatHistogramIter::new(meta.encoding, data).unwrap();
            while let Some(t) = iter.next().unwrap() {
                let (written_t, h) = written.next().unwrap();
                prop_assert_eq!(t, *written_t);
                assert_same(iter.current(), &to_float(h), "floats");
            }
        }
        prop_assert!(written.next().is_none());
    }

    #[test]
    fn chunks_written_again_from_their_samples_stay_the_same(history in histories()) {
        let (ints, _) = encode_histograms(&history);
        let mut encoder = HistogramEncoder::new();
        for (meta, data) in ints.iter() {
            let mut iter = HistogramIter::new(meta.encoding, data).unwrap();
            encoder.start(iter.counter_reset());
            while let Some(t) = iter.next().unwrap() {
                let mut h = iter.current().clone();
                // Read from a chunk of gauges, a stale sample is no gauge.
                if iter.counter_reset() == CounterReset::Gauge {
                    h.counter_reset = CounterReset::Gauge;
                }
                prop_assert_eq!(encoder.append(t, &h).unwrap(), Append::Done);
            }
            prop_assert_eq!(encoder.finish().unwrap(), data);
        }
    }

    #[test]
    fn counters_never_go_down_within_a_chunk(history in histories()) {
        let (ints, _) = encode_histograms(&history);
        for (meta, data) in ints.iter() {
            let mut iter = HistogramIter::new(meta.encoding, data).unwrap();
            let mut last: Option<Histogram> = None;
            while iter.next().unwrap().is_some() {
                let h = iter.current().clone();
                if let Some(last) = last.filter(|_| !h.is_stale() && h.counter_reset != CounterReset::Gauge) {
                    prop_assert!(!last.is_stale() && h.count >= last.count && h.zero_count >= last.zero_count);
                    prop_assert_eq!(h.positive_spans.clone(), last.positive_spans);
                    let (mut was, mut is) = (0, 0);
                    for (a, b) in last.positive_buckets.iter().zip(&h.positive_buckets) {
                        was += a;
                        is += b;
                        prop_assert!(was <= is);
                    }
                }
                last = Some(h);
            }
        }
    }
}
