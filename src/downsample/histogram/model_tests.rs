//! Random series against a naive downsampler that has maps for histograms and
//! knows no chunks.

use proptest::prelude::*;

use super::HistogramDownsampler;
use super::test_support::{
    Counts as Buckets, Model, Window, downsample, downsample_again, encode, windows,
};
use crate::downsample::window::window_end;
use crate::downsample::{Counts, FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::tsdb::chunkenc::{AggrChunk, EncodedChunks, FloatHistogram, STALE_NAN};

/// A bucket, positive or not, and by how much its count changes.
type Change = (bool, i64, u32);

#[derive(Debug, Clone)]
enum Event {
    Grow(Vec<Change>),
    /// A gauge takes new counts.
    Set(Vec<Change>),
    Reset,
    Stale,
    Nan,
    /// Another schema, zero threshold or list of bounds.
    Shape(usize),
    /// Chunks end here.
    Cut,
}

fn events(kinds: std::ops::Range<usize>, gauges: bool) -> impl Strategy<Value = Vec<(i64, Event)>> {
    let changes = || prop::collection::vec((any::<bool>(), -12_i64..24, 0_u32..50), 0..6);
    let event = prop_oneof![
        14 => changes().prop_map(Event::Grow),
        if gauges { 2 } else { 0 } => changes().prop_map(Event::Set),
        1 => Just(Event::Reset),
        1 => Just(Event::Stale),
        1 => Just(Event::Nan),
        2 => kinds.prop_map(Event::Shape),
        2 => Just(Event::Cut),
    ];
    let gap = prop_oneof![
        10 => 10_000_i64..70_000,
        2 => Just(0_i64),
        2 => 200_000_i64..700_000,
        1 => 3_000_000_i64..90_000_000,
    ];
    prop::collection::vec((gap, event), 1..150)
}

/// A sample: stale, without a number for its sum, or a histogram.
#[derive(Debug, Clone)]
enum Sample {
    Stale,
    Nan(Model),
    Histogram(Model),
}

/// Schema, zero threshold, custom bounds.
const SHAPES: [(i32, f64, &[f64]); 7] = [
    (3, 1.0e-38, &[]),
    (1, 1.0e-38, &[]),
    (0, 0.125, &[]),
    (-1, 1.0e-38, &[]),
    (2, 1.0, &[]),
    (-53, 0.0, &[1.0, 2.0, 7.5]),
    (-53, 0.0, &[1.0, 3.0]),
];

struct Life {
    now: Model,
    shape: usize,
}

impl Life {
    /// The sample of an event, if it is one.
    fn live(&mut self, event: &Event) -> Option<Sample> {
        self.now.gauge = matches!(event, Event::Set(_));
        match event {
            Event::Grow(changes) => {
                self.now.zero += changes.len() as f64;
                self.change(changes);
            }
            Event::Set(changes) => {
                self.now.positive.clear();
                self.now.negative.clear();
                self.change(changes);
            }
            Event::Reset => {
                self.now.zero = 1.0;
                self.now.negative.clear();
                self.now
                    .positive
                    .values_mut()
                    .for_each(|n| *n = (*n / 3.0).floor());
            }
            Event::Stale => return Some(Sample::Stale),
            Event::Nan => return Some(Sample::Nan(self.sample())),
            Event::Shape(shape) => self.shape = *shape,
            Event::Cut => return None,
        }
        Some(Sample::Histogram(self.sample()))
    }

    fn change(&mut self, changes: &[Change]) {
        for (positive, number, by) in changes {
            let side = if *positive {
                &mut self.now.positive
            } else {
                &mut self.now.negative
            };
            *side.entry(*number).or_default() += f64::from(*by);
        }
    }

    /// The histogram as the shape of the moment has it: no bucket lies within
    /// its zero bucket, and custom buckets are few and positive.
    fn sample(&self) -> Model {
        let (schema, threshold, bounds) = SHAPES[self.shape];
        let custom = !bounds.is_empty();
        let keep = |(number, _): &(&i64, &f64)| {
            let bound = f64::exp2(**number as f64 * f64::exp2(f64::from(-schema)));
            if custom {
                (0..3).contains(*number)
            } else {
                bound > threshold
            }
        };
        let side = |buckets: &Buckets| -> Buckets {
            buckets.iter().filter(keep).map(|(i, n)| (*i, *n)).collect()
        };
        let mut h = Model {
            schema,
            threshold,
            positive: side(&self.now.positive),
            negative: if custom {
                Buckets::new()
            } else {
                side(&self.now.negative)
            },
            bounds: bounds.to_vec(),
            ..self.now.clone()
        };
        if custom {
            h.zero = 0.0;
        }
        h.count = h.zero + h.positive.values().sum::<f64>() + h.negative.values().sum::<f64>();
        h
    }
}

/// Samples with their times, in the chunks that they are to be in.
fn lives(events: &[(i64, Event)]) -> Vec<Vec<(i64, Sample)>> {
    let mut life = Life {
        now: Model::simple(&[]),
        shape: 0,
    };
    let mut t = 1_788_220_812_345;
    let mut chunks = vec![Vec::new()];
    for (gap, event) in events {
        match life.live(event) {
            Some(sample) => {
                t += gap;
                chunks.last_mut().unwrap().push((t, sample));
            }
            // Chunks of a series do not touch.
            None => {
                t += 1;
                chunks.push(Vec::new());
            }
        }
    }
    chunks
}

fn raw(lives: &[Vec<(i64, Sample)>], integers: bool, odd: bool) -> EncodedChunks {
    let histogram = |sample: &Sample| match sample {
        Sample::Stale => FloatHistogram {
            sum: f64::from_bits(STALE_NAN),
            ..FloatHistogram::default()
        },
        Sample::Nan(h) => FloatHistogram {
            sum: f64::NAN,
            ..h.histogram(odd)
        },
        Sample::Histogram(h) => h.histogram(odd),
    };
    let chunk = |samples: &Vec<(i64, Sample)>| -> Vec<(i64, FloatHistogram)> {
        samples.iter().map(|(t, s)| (*t, histogram(s))).collect()
    };
    let chunks: Vec<_> = lives.iter().map(chunk).collect();
    let slices: Vec<&[_]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    encode(&slices, integers)
}

/// Histograms of a window, all of one kind.
struct Naive {
    end: i64,
    /// Of the last one, ms.
    last: i64,
    members: Vec<Model>,
}

/// What should be in the windows, and how many samples should not.
fn naive(lives: &[Vec<(i64, Sample)>], resolution: i64) -> (Vec<Naive>, Counts) {
    let mut windows: Vec<Naive> = Vec::new();
    let mut counts = Counts::default();
    for (t, sample) in lives.iter().flatten() {
        counts.read += 1;
        let h = match sample {
            Sample::Stale => {
                counts.stale += 1;
                continue;
            }
            Sample::Nan(_) => {
                counts.nan += 1;
                continue;
            }
            Sample::Histogram(h) => h,
        };
        let end = window_end(*t, resolution);
        if windows.last().is_none_or(|window| window.end != end) {
            windows.push(Naive {
                end,
                last: *t,
                members: Vec::new(),
            });
        }
        let window = windows.last_mut().unwrap();
        let leader = window.members.first().unwrap_or(h);
        if leader.bounds != h.bounds {
            counts.unsupported += 1;
            continue;
        }
        counts.counted += 1;
        window.last = *t;
        window.members.push(h.clone());
    }
    (windows, counts)
}

/// The total behind each member, with resets taken out.
fn totals(members: &[Model]) -> Vec<Model> {
    let mut totals: Vec<Model> = Vec::new();
    for (i, next) in members.iter().enumerate() {
        let total = match totals.last() {
            None => next.clone(),
            Some(total) if !next.gauge && members[i - 1].is_reset_to(next) => total.plus(next, 1.0),
            Some(total) => total.plus(&next.plus(&members[i - 1], -1.0), 1.0),
        };
        totals.push(total);
    }
    totals
}

/// The buckets alone.
fn counts(h: &Model) -> (f64, f64, Buckets, Buckets) {
    let h = h.clone().tidy();
    (h.count, h.zero, h.positive, h.negative)
}

/// One chunk against the windows that should be in it.
fn check_chunk(made: &[Window], expected: &[Naive]) {
    assert_eq!(made.len(), expected.len());
    let all = || expected.iter().flat_map(|window| &window.members);
    let grid = &made[0].sum;
    // The coarsest schema, and a zero bucket that no bucket sticks out of.
    assert_eq!(Some(grid.schema), all().map(|h| h.schema).min());
    let widest = all().fold(0.0, |widest: f64, h| widest.max(h.threshold));
    assert!(grid.threshold >= widest);
    if all().all(|h| h.threshold == widest) {
        assert_eq!(grid.threshold, widest);
    }
    let members: Vec<Model> = all().map(|h| h.at(grid.schema, grid.threshold)).collect();
    let totals = totals(&members);
    let (mut from, last) = (0, made.len() - 1);
    for (i, (made, naive)) in made.iter().zip(expected).enumerate() {
        let to = from + naive.members.len();
        let end = if i == last {
            naive.end.min(naive.last)
        } else {
            naive.end
        };
        assert_eq!(made.t, end);
        assert_eq!(made.count, naive.members.len() as f64);
        let sum = members[from..to].iter().skip(1);
        let sum = sum.fold(members[from].clone(), |sum, h| sum.plus(h, 1.0));
        assert_eq!(counts(&made.sum), counts(&sum));
        assert_eq!(counts(&made.counter), counts(&totals[to - 1]));
        for column in [&made.sum, &made.counter] {
            assert_eq!(
                (column.schema, column.threshold),
                (grid.schema, grid.threshold)
            );
            assert_eq!(column.bounds, naive.members[0].bounds);
        }
        assert!(made.sum.gauge);
        from = to;
    }
}

fn check_raw(lives: &[Vec<(i64, Sample)>], chunks: &EncodedChunks) {
    let (out, books) = downsample(chunks, FIVE_MINUTES_MS);
    let (expected, naive_books) = naive(lives, FIVE_MINUTES_MS);
    assert_eq!(books, naive_books);
    let made = windows(&out);
    assert_eq!(made.iter().map(Vec::len).sum::<usize>(), expected.len());
    let mut expected = &expected[..];
    for chunk in &made {
        let (these, rest) = expected.split_at(chunk.len());
        check_chunk(chunk, these);
        expected = rest;
    }
}

/// 5 minutes to 1 hour, against the 5 minutes.
fn check_again(chunks: &EncodedChunks) {
    let (five, books) = downsample(chunks, FIVE_MINUTES_MS);
    let (hour, again) = downsample_again(&five, FIVE_MINUTES_MS);
    assert_eq!((again.read, again.counted), (books.counted, books.counted));
    let chunks = windows(&five);
    let mut items = chunks.iter().flatten().peekable();
    for chunk in windows(&hour) {
        let end = chunk[chunk.len() - 1].t;
        let mut these: Vec<&Window> = Vec::new();
        while let Some(item) = items.next_if(|item| item.t <= end) {
            these.push(item);
        }
        let grid = &chunk[0].counter;
        let counters: Vec<_> = these
            .iter()
            .map(|item| item.counter.at(grid.schema, grid.threshold))
            .collect();
        let totals = totals(&counters);
        let mut from = 0;
        for window in &chunk {
            let rest = &these[from..];
            let len = rest.iter().take_while(|item| item.t <= window.t).count();
            assert!(
                rest[..len]
                    .iter()
                    .all(|item| item.t > window.t - ONE_HOUR_MS)
            );
            assert_eq!(
                window.count,
                rest[..len].iter().map(|i| i.count).sum::<f64>()
            );
            let (schema, threshold) = (window.sum.schema, window.sum.threshold);
            let sums = rest[..len].iter().map(|i| i.sum.at(schema, threshold));
            let sum = sums.reduce(|sum, h| sum.plus(&h, 1.0)).unwrap();
            assert_eq!(counts(&window.sum), counts(&sum));
            from += len;
            assert_eq!(counts(&window.counter), counts(&totals[from - 1]));
        }
        assert_eq!(from, these.len());
    }
    assert!(items.next().is_none());
}

proptest! {
    #[test]
    fn one_shape(events in events(0..1, false), integers: bool, odd: bool) {
        let lives = lives(&events);
        let chunks = raw(&lives, integers, odd);
        check_raw(&lives, &chunks);
        check_again(&chunks);
    }

    #[test]
    fn several_schemas_and_zero_buckets(events in events(0..5, true), integers: bool, odd: bool) {
        let lives = lives(&events);
        let chunks = raw(&lives, integers, odd);
        check_raw(&lives, &chunks);
        check_again(&chunks);
    }

    #[test]
    fn custom_buckets_among_them(events in events(3..7, true), integers: bool, odd: bool) {
        let lives = lives(&events);
        let chunks = raw(&lives, integers, odd);
        check_raw(&lives, &chunks);
        check_again(&chunks);
    }

    #[test]
    fn buffers_carry_nothing_over(first in events(0..7, true), second in events(0..7, true)) {
        let (first, second) = (raw(&lives(&first), true, true), raw(&lives(&second), false, false));
        let mut reused = HistogramDownsampler::default();
        for chunks in [&first, &second, &first] {
            let run: Vec<_> = chunks.iter().map(|(meta, data)| (meta.encoding, data)).collect();
            let (mut out, mut counts) = (EncodedChunks::default(), Counts::default());
            reused.raw(&run, FIVE_MINUTES_MS, &mut out, &mut counts).unwrap();
            prop_assert_eq!((&out, counts), (&downsample(chunks, FIVE_MINUTES_MS).0, downsample(chunks, FIVE_MINUTES_MS).1));
        }
    }

    #[test]
    fn garbage_is_an_error_at_worst(
        events in events(0..7, true), integers: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut chunks = raw(&lives(&events), integers, false);
        let (five, _) = downsample(&chunks, FIVE_MINUTES_MS);
        let mut damaged = five.clone();
        for (at, byte) in damage {
            if !chunks.bytes.is_empty() {
                let at = at.index(chunks.bytes.len());
                chunks.bytes[at] ^= byte;
            }
            if !damaged.bytes.is_empty() {
                let at = at.index(damaged.bytes.len());
                damaged.bytes[at] ^= byte;
            }
        }
        let mut downsampler = HistogramDownsampler::default();
        let (mut out, mut counts) = (EncodedChunks::default(), Counts::default());
        let run: Vec<_> = chunks.iter().map(|(meta, data)| (meta.encoding, data)).collect();
        match downsampler.raw(&run, FIVE_MINUTES_MS, &mut out, &mut counts) {
            Ok(()) => prop_assert_eq!(counts.imbalance(), 0),
            Err((index, _)) => {
                prop_assert!(index < run.len());
                prop_assert!(out.metas.is_empty() && out.bytes.is_empty());
            }
        }
        out.clear();
        let mut counts = Counts::default();
        let parsed: Result<Vec<_>, _> = damaged
            .iter()
            .map(|(m, data)| AggrChunk::parse(data).map(|chunk| (m.min_time, m.max_time, chunk)))
            .collect();
        if let Ok(run) = parsed {
            let done = downsampler.aggregates(&run, FIVE_MINUTES_MS, ONE_HOUR_MS, &mut out, &mut counts);
            if done.is_ok() {
                prop_assert_eq!(counts.imbalance(), 0);
            }
        }
    }
}

/// Two weeks, a sample each minute: more than one batch.
#[test]
fn long_series_are_cut_into_batches() {
    let events: Vec<(i64, Event)> = (0..20_000)
        .map(|i| (60_000, Event::Grow(vec![(true, i % 7, 1)])))
        .collect();
    let lives = lives(&events);
    let chunks = raw(&lives, true, false);
    let (out, _) = downsample(&chunks, FIVE_MINUTES_MS);
    // 4,000 windows: 28 chunks would have 142 on average, which is too many.
    assert_eq!(out.metas.len(), 29);
    check_raw(&lives, &chunks);
    check_again(&chunks);
}
