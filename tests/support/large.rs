//! Large blocks in a folder bucket, made fast and in little memory: labels
//! ascend as they are made, and a few chunks are encoded once and used by all
//! series. What lower resolutions of them count.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use lithify::block::meta::{File as BlockFile, Labels, Meta};
use lithify::tsdb::chunkenc::{
    Aggr, AggrChunk, EncodedChunks, FloatSamples, STALE_NAN, SeriesEncoder, decode_floats,
};
use lithify::tsdb::chunks::{
    ChunkInput, ChunkMeta, ChunkWriter, DEFAULT_SEGMENT_SIZE, SegmentReader, segment_file_name,
};
use lithify::tsdb::index::{self, Index, IndexWriter, LabelPair, RawSeries};
use lithify::tsdb::source::{BlobWriter, MemBlob};
use lithify::tsdb::{Error, Result};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A block to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Large {
    /// Its name.
    pub id: Ulid,
    /// External labels.
    pub labels: Labels,
    /// ms, end exclusive.
    pub range: (i64, i64),
    /// Number of the first pod; blocks with other numbers have other series.
    pub first_pod: u32,
    /// Pods, each with a name and a uid of its own.
    pub pods: u32,
    /// Series of each pod.
    pub per_pod: u32,
    /// Chunks of each series; they fill the range.
    pub chunks: u32,
    /// Samples of each chunk, at most 120.
    pub samples: u32,
    /// Added to all timestamps, ms.
    pub offset: i64,
    /// The last sample of every so manieth chunk is a stale marker; 0 for none.
    pub stale: u32,
}

impl Large {
    /// Series of the block.
    pub fn series(&self) -> u64 {
        u64::from(self.pods) * u64::from(self.per_pod)
    }

    /// Samples of the block.
    pub fn num_samples(&self) -> u64 {
        self.series() * u64::from(self.chunks) * u64::from(self.samples)
    }

    /// Those of them that are stale markers.
    pub fn num_stale(&self) -> u64 {
        self.series() * u64::from(self.chunks.checked_div(self.stale).unwrap_or(0))
    }
}

/// Chunks that are told apart by their values.
const PATTERNS: usize = 16;

/// Writes a block as a sidecar would, `meta.json` last.
///
/// # Panics
/// When the disk or the codec refuses.
pub fn write(bucket: &Path, block: &Large) {
    let folder = bucket.join(block.id.to_string());
    fs::create_dir_all(folder.join("chunks")).expect("folder of the block");
    let chunks = encode_chunks(block);
    let target = folder.clone();
    let mut segments = ChunkWriter::new(DEFAULT_SEGMENT_SIZE, move |n| {
        let name = format!("chunks/{:06}", n + 1);
        Ok(Box::new(Disk::create(target.join(name))?))
    });
    let index = Disk::create(folder.join("index")).expect("index");
    let mut index = IndexWriter::new(Box::new(index)).expect("index");
    let symbols = Symbols::write(block, &mut index);
    let mut index = index.into_series().expect("symbols");
    let mut metas = Vec::new();
    for metric in 0..block.per_pod {
        for pod in 0..block.pods {
            segments.start_series();
            metas.clear();
            let pattern = (pod as usize * 7 + metric as usize) % chunks.len();
            for ((min_time, max_time), data) in &chunks[pattern] {
                let (encoding, data) = (data.0, data.1.as_slice());
                let chunk = segments.append(ChunkInput::Data { encoding, data });
                metas.push(ChunkMeta {
                    min_time: *min_time,
                    max_time: *max_time,
                    reference: chunk.expect("chunk").into(),
                });
            }
            let labels = symbols.labels(metric, pod);
            index.add_series(&labels, &metas).expect("series");
        }
    }
    segments.finish().expect("segments");
    index.finish().expect("index");
    write_meta(&folder, block);
}

/// Encoding and bytes of a chunk.
type Encoded = (u8, Vec<u8>);

/// For each pattern its chunks with their times.
fn encode_chunks(block: &Large) -> Vec<Vec<((i64, i64), Encoded)>> {
    let (start, end) = block.range;
    let count = i64::from(block.chunks) * i64::from(block.samples);
    let step = (end - start) / count;
    let (mut encoder, mut encoded) = (SeriesEncoder::new(), EncodedChunks::default());
    let mut pattern = |pattern: usize| {
        let mut value = (pattern * 1000) as f64;
        let mut noise = pattern as u64 + 1;
        let mut time = start + block.offset;
        (1..=block.chunks)
            .map(|chunk| {
                encoded.clear();
                let ends = block.stale != 0 && chunk % block.stale == 0;
                for sample in 1..=block.samples {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005) + 1;
                    value += (noise >> 56) as f64 * 0.25;
                    let stale = ends && sample == block.samples;
                    let v = if stale {
                        f64::from_bits(STALE_NAN)
                    } else {
                        value
                    };
                    encoder.push_float(time, v, &mut encoded).expect("sample");
                    time += step;
                }
                encoder.finish(&mut encoded).expect("chunk");
                let (meta, data) = encoded.iter().next().expect("one chunk");
                assert_eq!(encoded.iter().count(), 1, "chunks have 120 samples at most");
                let times = (meta.min_time, meta.max_time);
                (times, (meta.encoding.as_byte(), data.to_vec()))
            })
            .collect()
    };
    let used = PATTERNS.min(block.series() as usize);
    (0..used).map(&mut pattern).collect()
}

/// The ten labels of a series, by name.
const NAMES: [&str; 10] = [
    "__name__",
    "container",
    "endpoint",
    "instance",
    "job",
    "namespace",
    "node",
    "pod",
    "service",
    "uid",
];

/// Value of a label of a pod; all but the last two ascend with the pod, so
/// that series are made in their order.
fn value(name: usize, metric: u32, pod: u32) -> String {
    let mixed = pod.wrapping_mul(2_654_435_761);
    let node = pod / 30;
    match name {
        0 => format!("container_metric_{metric:04}_total"),
        1 => "app".to_owned(),
        2 => "https-metrics".to_owned(),
        3 => format!("10.{:03}.{:03}.7:10250", node / 250, node % 250),
        4 => "kubelet".to_owned(),
        5 => format!("namespace-{:04}", pod / 1000),
        6 => format!("node-{node:05}"),
        7 => format!("svc-{pod:07}-{mixed:08x}"),
        8 => format!("service-{:03}", pod % 211),
        _ => format!("{mixed:08x}-{:04x}-4{pod:07x}", mixed % 65_521),
    }
}

/// Numbers of the symbols, by label and by metric, pod or group of pods.
struct Symbols {
    names: [u32; NAMES.len()],
    values: [Vec<u32>; NAMES.len()],
}

impl Symbols {
    /// How many pods in a row share a value; 0 if it is not of the pod.
    const SHARED: [u32; NAMES.len()] = [0, 0, 0, 30, 0, 1000, 30, 1, 1, 1];

    fn write(block: &Large, index: &mut IndexWriter<index::Symbols>) -> Self {
        assert_eq!(block.first_pod % 3000, 0, "a multiple of every group");
        let mut all: Vec<(String, usize, usize)> = Vec::new();
        let mut sizes = [0; NAMES.len()];
        for label in 0..NAMES.len() {
            let shared = Self::SHARED[label];
            let last = block.first_pod + block.pods - 1;
            let count = match (label, shared) {
                (0, _) => block.per_pod,
                (_, 0) => 1,
                _ => last / shared - block.first_pod / shared + 1,
            };
            sizes[label] = count as usize;
            for i in 0..count {
                let pod = match shared {
                    0 => 0,
                    _ => (block.first_pod / shared + i) * shared,
                };
                all.push((value(label, i, pod), label, i as usize));
            }
            all.push((NAMES[label].to_owned(), label, usize::MAX));
        }
        all.sort_unstable();
        let mut names = [0; NAMES.len()];
        let mut values = sizes.map(|n| vec![0; n]);
        let (mut last, mut number) = (None, index.add_symbol(b"").expect("symbol"));
        for (text, label, i) in &all {
            if last != Some(text) {
                number = index.add_symbol(text.as_bytes()).expect("symbol");
                last = Some(text);
            }
            match *i {
                usize::MAX => names[*label] = number,
                i => values[*label][i] = number,
            }
        }
        Self { names, values }
    }

    /// Labels of the `pod`-th pod of the block.
    fn labels(&self, metric: u32, pod: u32) -> [LabelPair; NAMES.len()] {
        std::array::from_fn(|label| {
            let i = match (label, Self::SHARED[label]) {
                (0, _) => metric,
                (_, 0) => 0,
                // First pods are multiples of every group, so no rest counts.
                (_, shared) => pod / shared,
            };
            (self.names[label], self.values[label][i as usize])
        })
    }
}

/// Samples that the count column of a downsampled block says.
///
/// # Panics
/// When it is damaged.
pub fn counted(folder: &Path) -> u64 {
    let blob = |name: &str| {
        let data = fs::read(folder.join(name)).expect("file of the block");
        Box::new(MemBlob::new(name, data))
    };
    let mut index = Index::open(blob("index")).expect("index");
    let symbols = index.load_symbols().expect("symbols");
    let mut stream = index.into_series(symbols.refs());
    let mut segments: Vec<SegmentReader> = Vec::new();
    let (mut series, mut counts, mut sum) = (RawSeries::default(), FloatSamples::default(), 0);
    while stream.next(&mut series).expect("series") {
        for chunk in &series.chunks {
            let number = chunk.chunk_ref().segment();
            // They come in order.
            while segments.len() <= number as usize {
                let next = segments.len() as u32;
                let data = blob(&format!("chunks/{}", segment_file_name(next)));
                segments.push(SegmentReader::open(next, data).expect("segment"));
            }
            let segment = &mut segments[number as usize];
            let record = segment.record(chunk.reference).expect("chunk");
            record.verify().expect("chunk");
            let columns = AggrChunk::parse(record.data()).expect("columns");
            let column = columns.column(Aggr::Count).expect("count");
            counts.clear();
            decode_floats(column.encoding, column.data, &mut counts).expect("count");
            sum += counts.vs.iter().map(|n| *n as u64).sum::<u64>();
        }
    }
    sum
}

fn write_meta(folder: &Path, block: &Large) {
    let id = block.id;
    let json = format!(
        r#"{{"ulid":"{id}","minTime":{},"maxTime":{},"version":1,
            "compaction":{{"level":1,"sources":["{id}"]}}}}"#,
        block.range.0, block.range.1
    );
    let mut meta = Meta::parse(id, json.as_bytes()).expect("meta");
    let stats = &mut meta.tsdb.stats;
    stats.num_series = block.series();
    stats.num_chunks = block.series() * u64::from(block.chunks);
    stats.num_samples = block.num_samples();
    stats.num_float_samples = block.num_samples();
    meta.thanos.labels.clone_from(&block.labels);
    meta.thanos.source = "sidecar".into();
    meta.thanos.upload_time = "2020-01-01T00:00:00Z".into();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join("chunks"))
        .expect("segments")
        .map(|entry| entry.expect("segment").path())
        .collect();
    paths.sort();
    paths.push(folder.join("index"));
    meta.thanos.files = paths
        .iter()
        .map(|path| BlockFile {
            rel_path: path
                .strip_prefix(folder)
                .expect("below the block")
                .to_string_lossy()
                .into_owned(),
            size_bytes: path.metadata().expect("size").len(),
            hash: None,
        })
        .collect();
    fs::write(folder.join("meta.json"), meta.to_json().expect("meta")).expect("meta.json");
}

/// A file as the codec writes it.
struct Disk {
    file: BufWriter<File>,
    path: PathBuf,
    written: u64,
}

impl Disk {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|e| failed(&path, e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            path,
            written: 0,
        })
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Write {
        file: path.display().to_string(),
        source: Box::new(source),
    }
}

impl BlobWriter for Disk {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.written += data.len() as u64;
        self.file.write_all(data).map_err(|e| failed(&self.path, e))
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.file.flush().map_err(|e| failed(&self.path, e))?;
        Ok(self.written)
    }
}
