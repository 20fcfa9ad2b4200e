//! Samples per second of a whole merge, from blocks in memory into sinks that
//! forget what they get (`cargo bench --bench merge`).
//!
//! - `vertical`: a replica pair. The second replica scrapes 6.7 s later, so no
//!   timestamp is shared: every chunk is decoded, mixed and encoded anew.
//! - `penalty`: the same pair. The second replica is followed from its first
//!   sample on: its chunks pass, and of the first one's only the first chunk is
//!   decoded.
//! - `horizontal`: the same two blocks one after the other: every chunk passes.
//!
//! Criterion prints elements (samples read) per second; 100 Melem/s are 10 ns.
//! The pool's threads do not count the reading thread and the writing one.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench, and what criterion's macros make"
)]

use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lithify::merge::{Dedup, MergeMemory, MergeOptions, Merged, Output, Products, Source, merge};
use lithify::tsdb::Result;
use lithify::tsdb::chunkenc::{EncodedChunks, SeriesEncoder};
use lithify::tsdb::chunks::{ChunkInput, ChunkMeta, ChunkWriter, DEFAULT_SEGMENT_SIZE};
use lithify::tsdb::index::IndexWriter;
use lithify::tsdb::source::{BlobWriter, MemBlob};
use rayon::{ThreadPool, ThreadPoolBuilder};

mod support;
use support::{Keep, Null, Random};

const SERIES: u32 = 20_000;
const SAMPLES: usize = 480;
const STEP: i64 = 15_000;
/// What a block covers, ms.
const RANGE: i64 = SAMPLES as i64 * STEP;
const START: i64 = 1_788_220_800_000;

/// A block in memory.
struct Block {
    index: Bytes,
    segment: Bytes,
    min_time: i64,
}

impl Block {
    /// A block whose range begins at `min_time` and whose scrapes come `offset`
    /// (ms) after the full steps, two of three targets with some ms of jitter.
    fn new(min_time: i64, offset: i64) -> Self {
        let (index_done, index) = std::sync::mpsc::channel();
        let (segment_done, segment) = std::sync::mpsc::channel();
        let blob = move |_| -> Result<Box<dyn BlobWriter>> {
            Ok(Box::new(Keep(Vec::new(), segment_done.clone())))
        };
        let mut chunks = ChunkWriter::new(DEFAULT_SEGMENT_SIZE, blob);
        let mut writer = IndexWriter::new(Box::new(Keep(Vec::new(), index_done))).expect("index");
        // Names ascend: __name__, a, b, and below them values.
        for name in ["__name__", "instance"] {
            writer.add_symbol(name.as_bytes()).expect("symbol");
        }
        for value in 0..SERIES {
            writer
                .add_symbol(format!("v{value:06}").as_bytes())
                .expect("symbol");
        }
        let mut writer = writer.into_series().expect("series");
        let mut encoder = SeriesEncoder::new();
        let mut encoded = EncodedChunks::default();
        let mut random = Random(offset as u64);
        for series in 0..SERIES {
            encoded.clear();
            let jitters = series % 3 != 0;
            let values = values(&mut random, series);
            for (i, v) in (0..).zip(values) {
                let late = if jitters { random.below(4) as i64 } else { 0 };
                let t = min_time + i * STEP + offset + late;
                encoder.push_float(t, v, &mut encoded).expect("encode");
            }
            encoder.finish(&mut encoded).expect("encode");
            chunks.start_series();
            let metas: Vec<ChunkMeta> = encoded
                .iter()
                .map(|(chunk, data)| {
                    let encoding = chunk.encoding.as_byte();
                    let reference = chunks.append(ChunkInput::Data { encoding, data });
                    ChunkMeta {
                        min_time: chunk.min_time,
                        max_time: chunk.max_time,
                        reference: reference.expect("chunk").into(),
                    }
                })
                .collect();
            let labels = [(0, 2 + series / 100), (1, 2 + series)];
            writer.add_series(&labels, &metas).expect("series");
        }
        chunks.finish().expect("segment");
        writer.finish().expect("index");
        Self {
            index: index.recv().expect("index").into(),
            segment: segment.recv().expect("segment").into(),
            min_time,
        }
    }

    fn source(&self, name: &str, replica: u32) -> Source {
        let segment = MemBlob::new(format!("{name}/chunks/000001"), self.segment.clone());
        Source {
            name: name.to_owned(),
            index: Box::new(MemBlob::new(format!("{name}/index"), self.index.clone())),
            open_segment: Box::new(move |_| Ok(Box::new(segment.clone()))),
            min_time: self.min_time,
            max_time: self.min_time + RANGE,
            keep: (i64::MIN, i64::MAX),
            run: 0,
            replica,
            tombstones: None,
            stated: None,
        }
    }
}

/// Half counters, half gauges; one in four of each stands still.
fn values(random: &mut Random, series: u32) -> Vec<f64> {
    let mut level = random.below(1_000_000) as f64;
    let busy = 1 + random.below(2_000);
    (0..SAMPLES)
        .map(|_| match series % 8 {
            0 | 4 => level,
            1..=3 => {
                level += random.below(busy) as f64;
                level
            }
            5 => {
                level = (level + random.below(65) as f64 - 32.0).max(0.0);
                level * 4096.0
            }
            6 => ((level + random.below(100) as f64) * 10.0).round() / 100.0,
            _ => random.below(12) as f64,
        })
        .collect()
}

fn run(blocks: &[Block], dedup: Dedup, pool: &Arc<ThreadPool>) -> Merged {
    let sources = (0..)
        .zip(blocks)
        .map(|(i, block)| block.source(&format!("block-{i}"), i))
        .collect();
    let start = blocks.iter().map(|b| b.min_time).min().unwrap_or_default();
    let end = blocks
        .iter()
        .map(|b| b.min_time + RANGE)
        .max()
        .unwrap_or_default();
    let options = MergeOptions {
        pool: Arc::clone(pool),
        range: (start, end),
        dedup,
        products: Products::merged(0),
        one_in: 1,
        segment_bytes: DEFAULT_SEGMENT_SIZE,
        memory: MergeMemory::default(),
    };
    let output = Output {
        index: Box::new(Null::default()),
        create_segment: Box::new(|_| Ok(Box::new(Null::default()))),
    };
    merge(sources, &options, vec![output]).expect("merge")
}

fn bench(c: &mut Criterion) {
    let vertical = [Block::new(START, 0), Block::new(START, 6_700)];
    let horizontal = [Block::new(START, 0), Block::new(START + RANGE, 6_700)];
    let samples = u64::from(SERIES) * SAMPLES as u64 * 2;
    for (name, blocks, dedup) in [
        ("vertical", &vertical, Dedup::OneToOne),
        ("penalty", &vertical, Dedup::Penalty),
        ("horizontal", &horizontal, Dedup::OneToOne),
    ] {
        let mut group = c.benchmark_group(name);
        group
            .throughput(Throughput::Elements(samples))
            .sample_size(10);
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = Arc::new(pool.expect("pool"));
            let merged = run(blocks, dedup, &pool);
            let ledger = merged.ledger;
            if dedup == Dedup::Penalty {
                assert_eq!(ledger.chunks_passed, ledger.chunks_read / 2);
            } else {
                assert_eq!(ledger.written, samples);
                assert_eq!(ledger.chunks_encoded == 0, name == "horizontal");
            }
            group.bench_function(format!("{threads} threads"), |b| {
                b.iter(|| run(blocks, dedup, &pool));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
