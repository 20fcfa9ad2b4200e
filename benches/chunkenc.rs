//! Nanoseconds per sample of the chunk codecs (`cargo bench --bench chunkenc`).
//!
//! The data imitates scrapes every 15 or 30 s. Half of the targets are scraped
//! exactly on time (Prometheus aligns timestamps within 2 ms), the others jitter
//! by some ms. All chunks of a case together are larger than the branch
//! predictor can learn by heart, so figures do not flatter.
//!
//! Criterion prints elements (samples) per second; 200 Melem/s are 5 ns.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench, and what criterion's macros make"
)]

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use lithify::tsdb::chunkenc::{
    CounterReset, EncodedChunks, Encoding, FloatHistogram, FloatHistogramIter, FloatSamples,
    Histogram, HistogramIter, SeriesEncoder, Span, decode_floats,
};

mod support;
use support::Random;

const SERIES: usize = 400;
const SAMPLES: usize = 480;

fn timestamps(random: &mut Random, series: usize) -> Vec<i64> {
    let step = if series % 4 < 2 { 15_000 } else { 30_000 };
    let jitters = series % 2 == 1;
    let start = 1_788_220_800_000 + random.below(15_000) as i64;
    (0..SAMPLES as i64)
        .map(|i| {
            let late = if jitters { random.below(8) as i64 } else { 0 };
            start + i * step + late
        })
        .collect()
}

/// Request counts, bytes, CPU seconds; some stand still.
fn counter(random: &mut Random, series: usize) -> Vec<f64> {
    let mut total = random.below(1_000_000) as f64;
    let busy = 1 + random.below(2_000);
    (0..SAMPLES)
        .map(|_| {
            match series % 8 {
                0 => {}
                1..=4 => total += random.below(busy) as f64,
                5 | 6 => total += random.below(busy * 1500) as f64,
                _ => total = ((total + random.unit() * 15.0) * 100.0).round() / 100.0,
            }
            total
        })
        .collect()
}

/// Memory in pages, ratios, temperatures, queue lengths; some stand still.
fn gauge(random: &mut Random, series: usize) -> Vec<f64> {
    let mut level = random.below(1 << 18) as f64;
    (0..SAMPLES)
        .map(|_| match series % 8 {
            0 | 1 => 1.0,
            2 | 3 => {
                level = (level + random.below(65) as f64 - 32.0).max(0.0);
                level * 4096.0
            }
            4 => random.unit(),
            5 => ((level + random.unit() * 10.0) * 10.0).round() / 10.0,
            _ => random.below(12) as f64,
        })
        .collect()
}

type Floats = Vec<(Vec<i64>, Vec<f64>)>;

fn floats(values: impl Fn(&mut Random, usize) -> Vec<f64>) -> Floats {
    let mut random = Random(7);
    (0..SERIES)
        .map(|series| {
            let ts = timestamps(&mut random, series);
            (ts, values(&mut random, series))
        })
        .collect()
}

fn encode_all(series: &Floats, encoder: &mut SeriesEncoder, out: &mut EncodedChunks) {
    out.clear();
    for (ts, vs) in series {
        encoder.push_floats(ts, vs, out).expect("encode");
        encoder.finish(out).expect("encode");
    }
}

fn decode_all(encoding: Encoding, chunks: &EncodedChunks, floats: &mut FloatSamples) {
    for (_, data) in chunks.iter() {
        floats.clear();
        decode_floats(encoding, data, floats).expect("decode");
        black_box(&floats);
    }
}

fn bench_xor(c: &mut Criterion) {
    let mixed = |random: &mut Random, series| match series % 16 {
        0..8 => counter(random, series),
        _ => gauge(random, series),
    };
    for (name, series) in [
        ("counters", floats(counter)),
        ("gauges", floats(gauge)),
        ("mixed", floats(mixed)),
    ] {
        let mut group = start(c, name, SERIES * SAMPLES);
        let mut encoder = SeriesEncoder::new();
        let mut chunks = EncodedChunks::default();
        encode_all(&series, &mut encoder, &mut chunks);
        let mut out = FloatSamples::default();
        group.bench_function("xor decode", |b| {
            b.iter(|| decode_all(Encoding::Xor, &chunks, &mut out));
        });
        group.bench_function("xor encode", |b| {
            b.iter(|| encode_all(&series, &mut encoder, &mut chunks));
        });
        let xor2 = xor2_chunks(&series);
        group.bench_function("xor2 decode", |b| {
            b.iter(|| decode_all(Encoding::Xor2, &xor2, &mut out));
        });
    }
}

/// Latency of a service, 20 buckets of which a few grow with each scrape.
fn histograms() -> Vec<(Vec<i64>, Vec<Histogram>)> {
    let mut random = Random(11);
    let one_series = |series| {
        let ts = timestamps(&mut random, series);
        let mut counts = [0u64; 20];
        let mut sum = 0.0;
        let samples = (0..SAMPLES).map(|_| {
            for _ in 0..random.below(40) {
                let bucket = (random.below(5) + random.below(8) + random.below(8)) as usize;
                counts[bucket] += 1 + random.below(3);
                sum += random.unit();
            }
            Histogram {
                counter_reset: CounterReset::Unknown,
                schema: 3,
                zero_threshold: 2f64.powi(-128),
                zero_count: 0,
                count: counts.iter().sum(),
                sum,
                positive_spans: vec![
                    Span {
                        offset: -12,
                        length: 14,
                    },
                    Span {
                        offset: 2,
                        length: 6,
                    },
                ],
                positive_buckets: deltas(&counts),
                ..Histogram::default()
            }
        });
        let samples = samples.collect();
        (ts, samples)
    };
    (0..SERIES / 10).map(one_series).collect()
}

fn deltas(counts: &[u64]) -> Vec<i64> {
    let mut before = 0;
    counts
        .iter()
        .map(|n| {
            let delta = *n as i64 - before;
            before = *n as i64;
            delta
        })
        .collect()
}

fn to_float(h: &Histogram) -> FloatHistogram {
    let mut total = 0;
    FloatHistogram {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        count: h.count as f64,
        sum: h.sum,
        positive_spans: h.positive_spans.clone(),
        positive_buckets: (h.positive_buckets.iter())
            .map(|delta| {
                total += delta;
                total as f64
            })
            .collect(),
        ..FloatHistogram::default()
    }
}

fn bench_histograms(c: &mut Criterion) {
    let series = histograms();
    let mut encoder = SeriesEncoder::new();
    let mut chunks = EncodedChunks::default();
    let mut group = start(c, "histograms of 20 buckets", series.len() * SAMPLES);
    group.bench_function("histogram encode", |b| {
        b.iter(|| {
            chunks.clear();
            for (ts, hs) in &series {
                for (t, h) in ts.iter().zip(hs) {
                    encoder.push_histogram(*t, h, &mut chunks).expect("encode");
                }
                encoder.finish(&mut chunks).expect("encode");
            }
        });
    });
    let mut scratch = Some(Default::default());
    group.bench_function("histogram decode", |b| {
        b.iter(|| {
            for (meta, data) in chunks.iter() {
                let buffers = scratch.take().unwrap_or_default();
                let mut iter =
                    HistogramIter::with_scratch(meta.encoding, data, buffers).expect("decode");
                while iter.next().expect("decode").is_some() {
                    black_box(iter.current());
                }
                scratch = Some(iter.into_scratch());
            }
        });
    });
    let series: Vec<(Vec<i64>, Vec<FloatHistogram>)> = series
        .iter()
        .map(|(ts, hs)| (ts.clone(), hs.iter().map(to_float).collect()))
        .collect();
    group.bench_function("float histogram encode", |b| {
        b.iter(|| {
            chunks.clear();
            for (ts, hs) in &series {
                for (t, h) in ts.iter().zip(hs) {
                    encoder
                        .push_float_histogram(*t, h, &mut chunks)
                        .expect("encode");
                }
                encoder.finish(&mut chunks).expect("encode");
            }
        });
    });
    let mut scratch = Some(Default::default());
    group.bench_function("float histogram decode", |b| {
        b.iter(|| {
            for (meta, data) in chunks.iter() {
                let buffers = scratch.take().unwrap_or_default();
                let mut iter =
                    FloatHistogramIter::with_scratch(meta.encoding, data, buffers).expect("decode");
                while iter.next().expect("decode").is_some() {
                    black_box(iter.current());
                }
                scratch = Some(iter.into_scratch());
            }
        });
    });
}

fn start<'a>(
    c: &'a mut Criterion,
    name: &str,
    samples: usize,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(samples as u64));
    group.sample_size(20);
    group
}

/// XOR2 is read only in the library, so its chunks are made here, plainly.
fn xor2_chunks(series: &Floats) -> EncodedChunks {
    let mut out = EncodedChunks::default();
    for (ts, vs) in series {
        for (ts, vs) in ts.chunks(120).zip(vs.chunks(120)) {
            let data = xor2::encode(ts, vs);
            out.metas.push(lithify::tsdb::chunkenc::EncodedChunk {
                encoding: Encoding::Xor2,
                min_time: ts[0],
                max_time: ts[ts.len() - 1],
                start: out.bytes.len(),
                len: data.len(),
                samples: ts.len(),
            });
            out.bytes.extend(data);
        }
    }
    out
}

mod xor2 {
    //! A plain writer of XOR2 without start timestamps.

    struct Bits(Vec<u8>, u32);

    impl Bits {
        fn put(&mut self, value: u64, n: u32) {
            for i in (0..n).rev() {
                if self.1.is_multiple_of(8) {
                    self.0.push(0);
                }
                let last = self.0.len() - 1;
                self.0[last] |= (((value >> i) & 1) as u8) << (7 - self.1 % 8);
                self.1 += 1;
            }
        }

        fn uvarint(&mut self, mut value: u64) {
            while value >= 0x80 {
                self.put((value & 0x7f) | 0x80, 8);
                value >>= 7;
            }
            self.put(value, 8);
        }

        /// Window and bits; the prefixes for "as before" and "new" differ.
        fn xor(&mut self, xor: u64, window: &mut (u32, u32), same: (u64, u32), new: (u64, u32)) {
            let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
            if window.0 <= leading && window.1 <= trailing {
                self.put(same.0, same.1);
            } else {
                *window = (leading, trailing);
                self.put(new.0, new.1);
                self.put(u64::from(leading), 5);
                self.put(u64::from((64 - leading - trailing) % 64), 6);
            }
            self.put(xor >> window.1, 64 - window.0 - window.1);
        }
    }

    pub fn encode(ts: &[i64], vs: &[f64]) -> Vec<u8> {
        let mut bits = Bits(Vec::new(), 0);
        let mut window = (u32::MAX, 0);
        let (mut delta, mut before) = (0, 0);
        bits.put(ts.len() as u64, 16);
        bits.put(0, 8);
        for (i, (t, v)) in ts.iter().zip(vs).enumerate() {
            let xor = v.to_bits() ^ before;
            before = v.to_bits();
            let step = if i == 0 { *t } else { t - ts[i - 1] };
            let dod = step - delta;
            match i {
                0 => {
                    bits.uvarint(((t << 1) ^ (t >> 63)) as u64);
                    bits.put(before, 64);
                    continue;
                }
                1 => bits.uvarint(step as u64),
                _ if dod == 0 => {
                    match xor {
                        0 => bits.put(0, 1),
                        _ => bits.xor(xor, &mut window, (0b100, 3), (0b101, 3)),
                    }
                    continue;
                }
                _ => bits.put((0b110 << 13) | (dod as u64 & 0x1fff), 16),
            }
            delta = step;
            match xor {
                0 => bits.put(0, 1),
                _ => bits.xor(xor, &mut window, (0b10, 2), (0b110, 3)),
            }
        }
        bits.0
    }
}

criterion_group!(benches, bench_xor, bench_histograms);
criterion_main!(benches);
