//! Series and blocks in memory for the tests, and what is in a result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    Dedup, MergeError, MergeMemory, MergeOptions, Merged, Output, Products, Source, pipeline,
};
use crate::tsdb::chunkenc::{
    CounterReset, DecodeScratch, Decoded, EncodedChunks, Encoding, FloatHistogram, FloatSamples,
    SeriesEncoder, Span, decode_chunk, num_samples,
};
use crate::tsdb::chunks::{ChunkInput, ChunkWriter, DEFAULT_SEGMENT_SIZE, SegmentReader};
use crate::tsdb::index::test_support::{MemWriter, hex};
use crate::tsdb::index::{ChunkMeta, Index, IndexWriter, LabelPair, RawSeries};
use crate::tsdb::source::{BlobReader, MemBlob};
use crate::tsdb::tombstones::Tombstones;
use crate::tsdb::{Corrupt, Error, Result};

/// A chunk with its own bytes, not framed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub encoding: u8,
    pub min_time: i64,
    pub max_time: i64,
    pub data: Vec<u8>,
}

/// In one line, since failures of property tests print many.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (encoding, min, max) = (self.encoding, self.min_time, self.max_time);
        write!(f, "{encoding} {min}..={max} {}", hex(&self.data))
    }
}

impl Chunk {
    pub fn samples(&self) -> u64 {
        num_samples(self.known(), &self.data).unwrap() as u64
    }

    pub fn known(&self) -> Encoding {
        Encoding::from_byte(self.encoding).unwrap()
    }

    /// Times and values; a value as text, which unlike a float can be compared
    /// whatever NaN it is. Of a histogram the hint is apart, and buckets without
    /// observations are left out: they come and go with the layout of the chunk.
    pub fn decode(&self) -> Vec<(i64, String, CounterReset)> {
        let mut floats = FloatSamples::default();
        let mut scratch = DecodeScratch::default();
        let mut out = Vec::new();
        match decode_chunk(self.known(), &self.data, &mut floats, &mut scratch).unwrap() {
            Decoded::Floats { .. } => {
                let unknown = CounterReset::Unknown;
                out.extend(floats.iter().map(|(t, v)| (t, text(v), unknown)));
            }
            Decoded::Histograms(mut iter) => {
                while let Some(t) = iter.next().unwrap() {
                    let h = iter.current();
                    let absolute = |deltas: &[i64]| -> Vec<f64> {
                        let sum = |at: &mut i64, delta: &i64| {
                            *at += delta;
                            Some(*at as f64)
                        };
                        deltas.iter().scan(0, sum).collect()
                    };
                    let same = FloatHistogram {
                        counter_reset: h.counter_reset,
                        schema: h.schema,
                        zero_threshold: h.zero_threshold,
                        zero_count: h.zero_count as f64,
                        count: h.count as f64,
                        sum: h.sum,
                        positive_spans: h.positive_spans.clone(),
                        negative_spans: h.negative_spans.clone(),
                        positive_buckets: absolute(&h.positive_buckets),
                        negative_buckets: absolute(&h.negative_buckets),
                        custom_values: h.custom_values.clone(),
                    };
                    out.push((t, format!("int{}", describe(&same)), h.counter_reset));
                }
            }
            Decoded::FloatHistograms(mut iter) => {
                while let Some(t) = iter.next().unwrap() {
                    let h = iter.current();
                    out.push((t, describe(h), h.counter_reset));
                }
            }
        }
        out
    }
}

/// A histogram without its hint and its empty buckets.
fn describe(h: &FloatHistogram) -> String {
    let used = |spans: &[Span], buckets: &[f64]| -> Vec<(i32, f64)> {
        let mut at = 0;
        let mut numbers = Vec::new();
        for span in spans {
            at += span.offset;
            numbers.extend(at..at + span.length as i32);
            at += span.length as i32;
        }
        let all = numbers.into_iter().zip(buckets.iter().copied());
        all.filter(|(_, count)| *count != 0.0).collect()
    };
    format!(
        "({} {} {} {} {:?} {:?} {:?}){}",
        h.schema,
        h.zero_threshold,
        h.zero_count,
        h.count,
        used(&h.positive_spans, &h.positive_buckets),
        used(&h.negative_spans, &h.negative_buckets),
        h.custom_values,
        text(h.sum)
    )
}

/// Chunks that [`SeriesEncoder`] makes of what `push` gives it.
pub(super) fn encode(push: impl FnOnce(&mut SeriesEncoder, &mut EncodedChunks)) -> Vec<Chunk> {
    let mut encoder = SeriesEncoder::new();
    let mut out = EncodedChunks::default();
    push(&mut encoder, &mut out);
    encoder.finish(&mut out).unwrap();
    let chunk = |(meta, data): (&crate::tsdb::chunkenc::EncodedChunk, &[u8])| Chunk {
        encoding: meta.encoding.as_byte(),
        min_time: meta.min_time,
        max_time: meta.max_time,
        data: data.to_vec(),
    };
    out.iter().map(chunk).collect()
}

/// One float chunk, at most 120 samples.
pub(super) fn float_chunk(samples: &[(i64, f64)]) -> Chunk {
    let mut chunks = encode(|encoder, out| {
        for &(t, v) in samples {
            encoder.push_float(t, v, out).unwrap();
        }
    });
    assert_eq!(chunks.len(), 1);
    chunks.remove(0)
}

/// A float as [`Chunk::decode`] writes it, its bits.
pub(super) fn text(v: f64) -> String {
    format!(" {:016x}", v.to_bits())
}

/// The naive model of a merge: for each time the sample of the lowest rank.
pub(super) fn naive(sources: &[Vec<Chunk>]) -> Vec<(i64, String)> {
    let mut samples = BTreeMap::new();
    for (t, value, _) in sources.iter().flatten().flat_map(Chunk::decode) {
        samples.entry(t).or_insert(value);
    }
    samples.into_iter().collect()
}

/// Labels of a series, by name.
pub(super) type Labels = BTreeMap<String, String>;
/// Series of a block.
pub(super) type SeriesMap = BTreeMap<Labels, Vec<Chunk>>;

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let own = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
    pairs.iter().map(own).collect()
}

/// A block in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub name: String,
    pub index: Vec<u8>,
    pub segments: Vec<Vec<u8>>,
    pub min_time: i64,
    pub max_time: i64,
    pub tombstones: Option<Tombstones>,
    /// Of the source; all times without.
    pub keep: Option<(i64, i64)>,
    pub run: u32,
    pub replica: u32,
}

impl Block {
    /// Writes a block of `range`; `more` are symbols that no series needs.
    pub fn write(
        name: &str,
        range: (i64, i64),
        series: &SeriesMap,
        more: &[&str],
        segment_bytes: u32,
    ) -> Self {
        let mut symbols: BTreeSet<&str> = more.iter().copied().collect();
        for (name, value) in series.keys().flatten() {
            symbols.extend([name.as_str(), value.as_str()]);
        }
        let symbols: Vec<&str> = symbols.into_iter().collect();
        let (index, segments) = (MemWriter::default(), MemSegments::default());
        let mut writer = IndexWriter::new(Box::new(index.clone())).unwrap();
        for symbol in &symbols {
            writer.add_symbol(symbol.as_bytes()).unwrap();
        }
        let mut writer = writer.into_series().unwrap();
        let mut chunks = ChunkWriter::new(segment_bytes, segments.create());
        for (labels, all) in series {
            let number = |s: &String| symbols.binary_search(&s.as_str()).unwrap() as u32;
            let pairs: Vec<LabelPair> =
                labels.iter().map(|(n, v)| (number(n), number(v))).collect();
            chunks.start_series();
            let metas: Vec<ChunkMeta> = all
                .iter()
                .map(|chunk| ChunkMeta {
                    min_time: chunk.min_time,
                    max_time: chunk.max_time,
                    reference: chunks
                        .append(ChunkInput::Data {
                            encoding: chunk.encoding,
                            data: &chunk.data,
                        })
                        .unwrap()
                        .into(),
                })
                .collect();
            writer.add_series(&pairs, &metas).unwrap();
        }
        chunks.finish().unwrap();
        writer.finish().unwrap();
        Self {
            name: name.to_owned(),
            index: index.bytes(),
            segments: segments.bytes(),
            min_time: range.0,
            max_time: range.1,
            ..Self::default()
        }
    }

    pub fn source(&self) -> Source {
        let (name, segments) = (self.name.clone(), self.segments.clone());
        Source {
            name: self.name.clone(),
            index: Box::new(MemBlob::new(format!("{name}/index"), self.index.clone())),
            open_segment: Box::new(move |seq| {
                let file = format!("{name}/chunks/{:06}", seq + 1);
                let data = segments.get(seq as usize).cloned();
                let missing = || Error::from(Corrupt::at(0, "no such segment").in_file(&file, 0));
                Ok(Box::new(MemBlob::new(
                    file.clone(),
                    data.ok_or_else(missing)?,
                )))
            }),
            min_time: self.min_time,
            max_time: self.max_time,
            keep: self.keep.unwrap_or((i64::MIN, i64::MAX)),
            run: self.run,
            replica: self.replica,
            tombstones: self.tombstones.clone(),
            stated: None,
        }
    }

    /// References of the series, as tombstones name them, in their order.
    pub fn references(&self) -> Vec<u64> {
        let mut index = Index::open(blob(&self.index)).unwrap();
        let refs = index.symbol_refs().unwrap();
        let mut stream = index.into_series(refs);
        let mut raw = RawSeries::default();
        let mut found = Vec::new();
        while stream.next(&mut raw).unwrap() {
            found.push(raw.reference);
        }
        found
    }

    /// Everything in the block.
    pub fn read(&self) -> SeriesMap {
        let mut index = Index::open(blob(&self.index)).unwrap();
        let symbols = index.load_symbols().unwrap();
        let mut readers: Vec<SegmentReader> = (0..)
            .zip(&self.segments)
            .map(|(i, s)| SegmentReader::open(i, blob(s)).unwrap())
            .collect();
        let mut stream = index.into_series(symbols.refs());
        let mut raw = RawSeries::default();
        let mut all = SeriesMap::new();
        while stream.next(&mut raw).unwrap() {
            let text = |n| symbols.display(n);
            let labels = raw
                .labels
                .iter()
                .map(|&(n, v)| (text(n), text(v)))
                .collect();
            let chunk = |meta: &ChunkMeta| {
                let reference = meta.chunk_ref();
                let record = readers[reference.segment() as usize]
                    .record(reference)
                    .unwrap();
                record.verify().unwrap();
                Chunk {
                    encoding: record.encoding(),
                    min_time: meta.min_time,
                    max_time: meta.max_time,
                    data: record.data().to_vec(),
                }
            };
            all.insert(labels, raw.chunks.iter().map(chunk).collect());
        }
        all
    }
}

fn blob(data: &[u8]) -> Box<dyn BlobReader> {
    Box::new(MemBlob::new("01X/file", Bytes::copy_from_slice(data)))
}

/// Segments that are being written.
#[derive(Debug, Clone, Default)]
pub(super) struct MemSegments(Arc<Mutex<Vec<MemWriter>>>);

impl MemSegments {
    pub fn create(&self) -> super::sink::CreateSegment {
        let made = Arc::clone(&self.0);
        Box::new(move |seq| {
            let mut made = made.lock().unwrap();
            assert_eq!(seq as usize, made.len());
            let writer = MemWriter::default();
            made.push(writer.clone());
            Ok(Box::new(writer))
        })
    }

    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(MemWriter::bytes)
            .collect()
    }
}

pub(super) fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap(),
    )
}

/// How to merge in a test.
pub(super) struct Setup {
    pub pool: Arc<ThreadPool>,
    pub range: (i64, i64),
    pub dedup: Dedup,
    pub segment_bytes: u32,
    pub memory: MergeMemory,
    pub tuning: pipeline::Tuning,
}

impl Setup {
    /// The hull of the blocks and the tuning of the product.
    pub fn new(pool: &Arc<ThreadPool>, blocks: &[Block]) -> Self {
        let start = blocks.iter().map(|b| b.min_time).min();
        let end = blocks.iter().map(|b| b.max_time).max();
        Self {
            pool: Arc::clone(pool),
            range: (start.unwrap_or(0), end.unwrap_or(0)),
            dedup: Dedup::OneToOne,
            segment_bytes: DEFAULT_SEGMENT_SIZE,
            memory: MergeMemory::default(),
            tuning: pipeline::Tuning::default(),
        }
    }

    pub fn merge(&self, blocks: &[Block]) -> Result<(Block, Merged), MergeError> {
        let (index, segments) = (MemWriter::default(), MemSegments::default());
        let output = Output {
            index: Box::new(index.clone()),
            create_segment: segments.create(),
        };
        let merged = self.merge_into(blocks.iter().map(Block::source).collect(), output)?;
        let block = Block {
            name: "result".to_owned(),
            index: index.bytes(),
            segments: segments.bytes(),
            min_time: self.range.0,
            max_time: self.range.1,
            ..Block::default()
        };
        assert_eq!(merged.blocks[0].index_bytes, block.index.len() as u64);
        let sizes: Vec<u64> = block.segments.iter().map(|s| s.len() as u64).collect();
        assert_eq!(merged.blocks[0].segment_bytes, sizes);
        assert!(merged.ledger.balances());
        Ok((block, merged))
    }

    pub fn merge_into(&self, sources: Vec<Source>, output: Output) -> Result<Merged, MergeError> {
        let options = MergeOptions {
            pool: Arc::clone(&self.pool),
            range: self.range,
            dedup: self.dedup,
            products: Products::merged(0),
            one_in: 1,
            segment_bytes: self.segment_bytes,
            memory: self.memory.clone(),
        };
        pipeline::merge_with(sources, &options, vec![output], self.tuning)
    }
}
