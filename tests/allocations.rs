//! Allocations of a warm [`Downsampler`]: none for floats, and for histograms
//! no more with ten times the samples.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lithify::downsample::{ChunkView, Downsampler, Level};
use lithify::tsdb::chunkenc::{
    CounterReset, EncodedChunks, FloatHistogram, FloatSamples, Histogram, STALE_NAN, SeriesEncoder,
    Span, decode_floats,
};

/// Counts what each thread asks for, so that tests side by side do not count
/// each other's.
struct Counting;

/// Calls and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Asked {
    calls: u64,
    bytes: u64,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { calls: 0, bytes: 0 }) };
}

fn note(bytes: usize) {
    // Gone while the thread ends; nothing is measured then.
    let _ = ASKED.try_with(|asked| {
        let Asked { calls, bytes: sum } = asked.get();
        asked.set(Asked {
            calls: calls + 1,
            bytes: sum + bytes as u64,
        });
    });
}

// SAFETY: all memory comes from and goes back to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: passed on as it came.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: passed on as it came.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` asks for.
fn asked(work: impl FnOnce()) -> Asked {
    let before = ASKED.get();
    work();
    let after = ASKED.get();
    Asked {
        calls: after.calls - before.calls,
        bytes: after.bytes - before.bytes,
    }
}

/// Chunks of a series, each of ten minutes; 100 hours become several chunks of
/// 5m.
const CHUNKS: i64 = 600;
const CHUNK_MS: i64 = 600_000;
/// So that windows of the series begin with it, ms.
const START: i64 = 1_209_600_000 * 1400;
/// Samples of a chunk, and ten times as many. Both come at least once a minute,
/// so that both become as many chunks.
const FEW: i64 = 12;
const MANY: i64 = 10 * FEW;

/// Pushes sample number `n` of the series, at a time in ms.
type Push = fn(&mut SeriesEncoder, &mut EncodedChunks, i64, i64);

/// One kind of series, and how many allocations it may take at each level.
struct Kind {
    name: &'static str,
    push: Push,
    /// Runs of histograms: each has a list of its chunks, one per level.
    histogram_runs: u64,
}

fn float(encoder: &mut SeriesEncoder, out: &mut EncodedChunks, t: i64, v: f64) {
    encoder.push_float(t, v, out).unwrap();
}

/// A counter at `t` ms. It is reset between chunks only, as a reset ends a chunk
/// of histograms.
fn counter(t: i64) -> i64 {
    (t - START) % (50 * CHUNK_MS) / 1000
}

/// Ten buckets with counts that are those of a counter.
fn integers(t: i64) -> Histogram {
    let each = counter(t);
    Histogram {
        schema: 2,
        zero_threshold: 1e-128,
        zero_count: each as u64,
        count: 11 * each as u64,
        sum: 5.0 * each as f64,
        positive_spans: spans(&[(-3, 4), (2, 2)]),
        negative_spans: spans(&[(0, 4)]),
        positive_buckets: vec![each, 0, 0, 0, 0, 0],
        negative_buckets: vec![each, 0, 0, 0],
        ..Histogram::default()
    }
}

fn spans(all: &[(i32, u32)]) -> Vec<Span> {
    let span = |&(offset, length): &(i32, u32)| Span { offset, length };
    all.iter().map(span).collect()
}

/// A gauge that has more buckets now and then, of a schema that changes from
/// chunk to chunk.
fn floats(t: i64) -> FloatHistogram {
    let more = (t / 60_000 % 5) as usize;
    FloatHistogram {
        counter_reset: CounterReset::Gauge,
        schema: 1 + (t / CHUNK_MS % 3) as i32,
        zero_threshold: 1e-128,
        count: 1.5 * (4 + more) as f64,
        sum: 1.0,
        positive_spans: spans(&[(0, 4), (1, more as u32)]),
        positive_buckets: vec![1.5; 4 + more],
        ..FloatHistogram::default()
    }
}

fn custom(t: i64) -> FloatHistogram {
    let each = counter(t) as f64;
    FloatHistogram {
        schema: -53,
        count: 3.0 * each,
        sum: each,
        positive_spans: spans(&[(0, 3)]),
        positive_buckets: vec![each; 3],
        custom_values: vec![0.1, 1.0, 10.0],
        ..FloatHistogram::default()
    }
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "counter",
        push: |encoder, out, _, t| float(encoder, out, t, counter(t) as f64),
        histogram_runs: 0,
    },
    Kind {
        name: "gauge with NaNs and stale markers",
        push: |encoder, out, n, t| {
            let v = match n % 9 {
                0 => f64::NAN,
                1 => f64::from_bits(STALE_NAN),
                _ => (n * 37 % 23) as f64 - 11.0,
            };
            float(encoder, out, t, v);
        },
        histogram_runs: 0,
    },
    Kind {
        name: "samples that go back in time",
        push: |encoder, out, n, t| float(encoder, out, t - n % 7 / 6 * 4_000, n as f64),
        histogram_runs: 0,
    },
    Kind {
        name: "histogram",
        push: |encoder, out, _, t| encoder.push_histogram(t, &integers(t), out).unwrap(),
        histogram_runs: 1,
    },
    Kind {
        name: "histogram of floats",
        push: |encoder, out, _, t| encoder.push_float_histogram(t, &floats(t), out).unwrap(),
        histogram_runs: 1,
    },
    Kind {
        name: "histogram with custom buckets",
        push: |encoder, out, _, t| encoder.push_float_histogram(t, &custom(t), out).unwrap(),
        histogram_runs: 1,
    },
    Kind {
        name: "floats, then histograms, in turns of 25 hours",
        push: |encoder, out, n, t| match (t - START) / (150 * CHUNK_MS) % 2 {
            0 => float(encoder, out, t, n as f64),
            _ => encoder.push_histogram(t, &integers(t), out).unwrap(),
        },
        histogram_runs: 2,
    },
];

/// A series of that kind with so many samples in each chunk.
fn series(kind: &Kind, samples: i64) -> EncodedChunks {
    let (mut encoder, mut out) = (SeriesEncoder::new(), EncodedChunks::default());
    for chunk in 0..CHUNKS {
        for sample in 0..samples {
            let t = START + chunk * CHUNK_MS + sample * (CHUNK_MS / samples);
            (kind.push)(&mut encoder, &mut out, chunk * samples + sample, t);
        }
        encoder.finish(&mut out).unwrap();
    }
    assert_eq!(out.iter().len(), CHUNKS as usize, "{}", kind.name);
    out
}

/// Views of chunks, with their samples where they are given.
fn views<'a>(chunks: &'a EncodedChunks, decoded: &'a [FloatSamples]) -> Vec<ChunkView<'a>> {
    let decoded = decoded.iter().map(Some).chain(std::iter::repeat(None));
    let views = chunks
        .iter()
        .zip(decoded)
        .map(|((chunk, data), decoded)| ChunkView {
            min_time: chunk.min_time,
            max_time: chunk.max_time,
            encoding: chunk.encoding,
            data,
            samples: decoded.map(|s| (s.ts.as_slice(), s.vs.as_slice())),
        });
    views.collect()
}

fn decoded(chunks: &EncodedChunks) -> Vec<FloatSamples> {
    let one = chunks.iter().map(|(chunk, data)| {
        let mut samples = FloatSamples::default();
        decode_floats(chunk.encoding, data, &mut samples).unwrap();
        samples
    });
    one.collect()
}

/// A downsampler with what it writes to.
#[derive(Default)]
struct Warm {
    downsampler: Downsampler,
    five: Level,
    hour: Level,
}

impl Warm {
    /// Raw to 5m and 1h in one pass.
    fn fused(&mut self, views: &[ChunkView<'_>]) -> Asked {
        asked(|| {
            let hour = Some(&mut self.hour);
            self.downsampler.raw(views, &mut self.five, hour).unwrap();
        })
    }

    /// Blocks of 5m to 1h.
    fn second_level(&mut self, views: &[ChunkView<'_>]) -> Asked {
        asked(|| self.downsampler.aggregates(views, &mut self.hour).unwrap())
    }
}

#[test]
fn the_counter_counts() {
    let work = || {
        let mut list: Vec<u64> = Vec::with_capacity(4);
        list.extend(0..5_u64);
        std::hint::black_box(list);
    };
    let calls = asked(work);
    assert_eq!(calls.calls, 2, "one for the list, one when it grew");
    assert!(calls.bytes >= 32 + 40, "{calls:?}");
}

#[test]
fn ten_times_the_samples_take_no_more_allocations() {
    for kind in &KINDS {
        let name = kind.name;
        let [few, many] = [FEW, MANY].map(|samples| series(kind, samples));
        let (few_views, many_views) = (views(&few, &[]), views(&many, &[]));
        let mut warm = Warm::default();
        let cold = warm.fused(&many_views);
        assert!(cold.calls > 10, "{name}: {cold:?}");
        let read = warm.five.counts.read;
        assert_eq!(read, (CHUNKS * MANY) as u64, "{name}");
        assert!(warm.five.chunks.iter().len() > 4, "{name}");
        assert!(warm.hour.chunks.iter().len() > 0, "{name}");

        let with_many = warm.fused(&many_views);
        let with_few = warm.fused(&few_views);
        assert_eq!(warm.five.counts.read, read / 10, "{name}");
        assert_eq!(with_few, with_many, "{name}");
        // A list of the chunks of each run, once per level.
        assert_eq!(with_many.calls, 2 * kind.histogram_runs, "{name}");
    }
}

#[test]
fn samples_that_are_at_hand_take_no_allocations() {
    let [few, many] = [FEW, MANY].map(|samples| series(&KINDS[0], samples));
    let (few_samples, many_samples) = (decoded(&few), decoded(&many));
    let mut warm = Warm::default();
    let many_views = views(&many, &many_samples);
    assert!(warm.fused(&many_views).calls > 10);
    assert_eq!(warm.fused(&many_views), Asked::default());
    assert_eq!(warm.fused(&views(&few, &few_samples)).calls, 0);
}

#[test]
fn blocks_of_5m_take_no_more_allocations() {
    for kind in &KINDS {
        let name = kind.name;
        let raw = series(kind, FEW);
        let (mut maker, mut warm) = (Warm::default(), Warm::default());
        maker.fused(&views(&raw, &[]));
        let long = &maker.five.chunks;
        let long = views(long, &[]);
        assert!(long.len() > 4, "{name}");
        let cold = warm.second_level(&long);
        assert!(cold.calls > 10, "{name}: {cold:?}");
        assert_eq!(warm.hour.counts, maker.hour.counts, "{name}");
        let again = warm.second_level(&long);
        assert_eq!(again.calls, kind.histogram_runs, "{name}");
    }
}

#[test]
fn series_after_series_takes_no_more_each_time() {
    let all: Vec<EncodedChunks> = KINDS.iter().map(|kind| series(kind, FEW)).collect();
    let all: Vec<Vec<ChunkView<'_>>> = all.iter().map(|chunks| views(chunks, &[])).collect();
    let mut warm = Warm::default();
    let mut round = || {
        let each = all.iter().map(|views| warm.fused(views).calls);
        each.collect::<Vec<_>>()
    };
    let cold = round();
    let stated: Vec<u64> = KINDS.iter().map(|kind| 2 * kind.histogram_runs).collect();
    for _ in 0..3 {
        assert_eq!(round(), stated);
    }
    assert_ne!(cold, stated);
}
