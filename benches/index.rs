//! Time per series of writing and reading an index, and per chunk of framing,
//! reading and passing chunks on. The criterion figures are for all series;
//! divide the inverse of "elem/s" for one.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench, and what criterion's macros make"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lithify::tsdb::chunks::{
    ChunkInput, ChunkRef, ChunkWriter, DEFAULT_SEGMENT_SIZE, SegmentReader, frame_chunk,
};
use lithify::tsdb::index::{ChunkMeta, Index, IndexWriter, LabelPair, RawSeries, SymbolTable};
use lithify::tsdb::source::{BlobWriter, MemBlob};

mod support;
use support::{Keep, Null};

const SERIES: u32 = 100_000;
const LABELS: u32 = 12;
const CHUNKS: u64 = 4;

/// Symbols and series of a block: a metric name with 200 values, one label
/// that nearly every series has to itself, and ten in between.
struct Input {
    symbols: Vec<String>,
    labels: Vec<Vec<LabelPair>>,
    chunks: Vec<Vec<ChunkMeta>>,
}

fn input() -> Input {
    let value = |series: u32, label: u32| match label {
        0 => format!("metric_{:04}_total", series / 500),
        11 => format!("series-{:06x}", series.wrapping_mul(40_503) % (SERIES * 2)),
        _ => {
            let values = 1 << label;
            let mixed = series.wrapping_mul(2_654_435_761).rotate_left(label);
            format!("value-{label}-{}", mixed % values)
        }
    };
    let names: Vec<String> = (0..LABELS).map(|l| format!("label_{l:02}")).collect();
    let mut sets: Vec<Vec<String>> = (0..SERIES)
        .map(|s| (0..LABELS).map(|l| value(s, l)).collect())
        .collect();
    sets.sort();
    sets.dedup();
    let mut symbols: Vec<String> = sets.iter().flatten().chain(&names).cloned().collect();
    symbols.sort();
    symbols.dedup();
    let ordinal = |s: &String| symbols.binary_search(s).unwrap() as u32;
    let pairs = |set: &Vec<String>| {
        let pairs = names.iter().zip(set);
        pairs.map(|(n, v)| (ordinal(n), ordinal(v))).collect()
    };
    let labels: Vec<Vec<LabelPair>> = sets.iter().map(pairs).collect();
    let chunk = |i: u64| {
        let min_time = 1_700_000_000_000 + (i % CHUNKS) as i64 * 1_800_000;
        ChunkMeta {
            min_time,
            max_time: min_time + 1_785_000,
            reference: 8 + i * 217,
        }
    };
    let chunks = (0..labels.len() as u64)
        .map(|s| (0..CHUNKS).map(|c| chunk(s * CHUNKS + c)).collect())
        .collect();
    Input {
        symbols,
        labels,
        chunks,
    }
}

fn write(input: &Input, blob: Box<dyn BlobWriter>) {
    let mut writer = IndexWriter::new(blob).unwrap();
    for symbol in &input.symbols {
        writer.add_symbol(symbol.as_bytes()).unwrap();
    }
    let mut writer = writer.into_series().unwrap();
    for (labels, chunks) in input.labels.iter().zip(&input.chunks) {
        writer.add_series(labels, chunks).unwrap();
    }
    writer.finish().unwrap();
}

fn index(c: &mut Criterion) {
    let input = input();
    let (sender, receiver) = std::sync::mpsc::channel();
    write(&input, Box::new(Keep(Vec::new(), sender)));
    let data = MemBlob::new("index", receiver.recv().unwrap());
    let open = || Index::open(Box::new(data.clone())).unwrap();

    let mut group = c.benchmark_group("index");
    group.sample_size(20);
    group.throughput(Throughput::Elements(input.labels.len() as u64));
    group.bench_function("write_per_series", |b| {
        b.iter(|| write(&input, Box::<Null>::default()));
    });
    group.bench_function("read_per_series", |b| {
        b.iter(|| {
            let mut index = open();
            let refs = index.symbol_refs().unwrap();
            let mut stream = index.into_series(refs);
            let mut raw = RawSeries::default();
            while stream.next(&mut raw).unwrap() {
                black_box(&raw);
            }
        });
    });
    group.throughput(Throughput::Elements(input.symbols.len() as u64));
    group.bench_function("stream_per_symbol", |b| {
        b.iter(|| {
            let mut symbols = open().into_symbols().unwrap();
            while symbols.advance().unwrap() {
                black_box(symbols.current());
            }
        });
    });
    group.bench_function("load_and_lookup_per_symbol", |b| {
        b.iter(|| {
            let table = SymbolTable::load(&mut open()).unwrap();
            for ordinal in 0..table.len() {
                black_box(table.get(ordinal));
            }
        });
    });
    group.finish();
}

fn chunks(c: &mut Criterion) {
    let data: Vec<u8> = (0..4096u32).map(|i| (i * 31 % 251) as u8).collect();
    let lengths: Vec<usize> = (0..100_000).map(|i| 100 + i * 37 % 300).collect();
    let write = |blob: &mut dyn FnMut() -> Box<dyn BlobWriter + 'static>| {
        let mut first = Some(blob());
        let mut writer = ChunkWriter::new(DEFAULT_SEGMENT_SIZE, move |_| Ok(first.take().unwrap()));
        let mut refs = Vec::new();
        for series in lengths.chunks(4) {
            let chunks = series.iter().map(|&len| ChunkInput::Data {
                encoding: 1,
                data: &data[..len],
            });
            writer.write_series(chunks, &mut refs).unwrap();
        }
        writer.finish().unwrap();
        refs
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut keep = || Box::new(Keep(Vec::new(), sender.clone())) as Box<dyn BlobWriter>;
    let refs: Vec<ChunkRef> = write(&mut keep);
    let segment = MemBlob::new("chunks/000001", receiver.recv().unwrap());

    let mut group = c.benchmark_group("chunks");
    group.sample_size(20);
    group.throughput(Throughput::Elements(refs.len() as u64));
    group.bench_function("write_per_chunk", |b| {
        b.iter(|| write(&mut || Box::<Null>::default()));
    });
    group.bench_function("read_per_chunk", |b| {
        b.iter(|| {
            let mut reader = SegmentReader::open(0, Box::new(segment.clone())).unwrap();
            for &reference in &refs {
                black_box(reader.record(reference).unwrap());
            }
        });
    });
    group.bench_function("read_verify_pass_on_per_chunk", |b| {
        b.iter(|| {
            let mut reader = SegmentReader::open(0, Box::new(segment.clone())).unwrap();
            let mut writer = ChunkWriter::new(DEFAULT_SEGMENT_SIZE, |_| Ok(Box::<Null>::default()));
            for series in refs.chunks(4) {
                writer.start_series();
                for &reference in series {
                    let record = reader.record(reference).unwrap();
                    record.verify().unwrap();
                    writer.append(ChunkInput::from(&record)).unwrap();
                }
            }
            writer.finish().unwrap();
        });
    });
    group.bench_function("frame_per_chunk", |b| {
        let mut buf = Vec::new();
        b.iter(|| {
            for &len in &lengths {
                buf.clear();
                frame_chunk(1, &data[..len], &mut buf);
                black_box(&buf);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, index, chunks);
criterion_main!(benches);
