//! Blocks whose chunks are given, of any resolution, and blocks of 5m made from
//! samples.

use lithify::block::meta::Labels;
use lithify::downsample::{ChunkView, Downsampler, FIVE_MINUTES_MS, Level};
use lithify::tsdb::chunkenc::{EncodedChunks, Encoding, SeriesEncoder};
use ulid::Ulid;

use super::blocks::{self, Samples, SeriesLabels, Spec};
use super::damage::Parts;

/// A chunk as it will be written.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub min_time: i64,
    pub max_time: i64,
    pub encoding: Encoding,
    pub data: Vec<u8>,
}

/// Chunks of each series, in label order.
pub type Series = Vec<(SeriesLabels, Vec<Chunk>)>;

/// The chunks that samples are encoded in.
pub fn raw(samples: &Samples) -> Vec<Chunk> {
    let (mut encoder, mut out) = (SeriesEncoder::new(), EncodedChunks::default());
    for &(t, v) in samples {
        encoder.push_float(t, v, &mut out).unwrap();
    }
    encoder.finish(&mut out).unwrap();
    owned(&out)
}

/// The same, downsampled to 5m.
pub fn five(samples: &Samples) -> Vec<Chunk> {
    let mut five = Level::default();
    let chunks = raw(samples);
    Downsampler::default()
        .raw(&views(&chunks), &mut five, None)
        .unwrap();
    owned(&five.chunks)
}

/// What chunks of 5m become at 1h.
pub fn hour(chunks: &[Chunk]) -> Vec<Chunk> {
    let mut hour = Level::default();
    let mut downsampler = Downsampler::default();
    downsampler.aggregates(&views(chunks), &mut hour).unwrap();
    owned(&hour.chunks)
}

fn views(chunks: &[Chunk]) -> Vec<ChunkView<'_>> {
    let views = chunks.iter().map(|chunk| ChunkView {
        min_time: chunk.min_time,
        max_time: chunk.max_time,
        encoding: chunk.encoding,
        data: &chunk.data,
        samples: None,
    });
    views.collect()
}

fn owned(chunks: &EncodedChunks) -> Vec<Chunk> {
    let chunks = chunks.iter().map(|(meta, data)| Chunk {
        min_time: meta.min_time,
        max_time: meta.max_time,
        encoding: meta.encoding,
        data: data.to_vec(),
    });
    chunks.collect()
}

/// A block that can be damaged further. Its `meta.json` states no numbers.
pub fn parts(
    id: Ulid,
    labels: &Labels,
    range: (i64, i64),
    resolution: i64,
    series: &Series,
) -> Parts {
    let spec = Spec {
        id,
        labels: labels.clone(),
        range,
        series: Default::default(),
    };
    let (index, segment) = blocks::encode_chunks(series);
    let mut meta = blocks::meta(&spec, &index, &segment);
    meta.tsdb.stats = Default::default();
    meta.thanos.downsample.resolution = resolution;
    if resolution != 0 {
        meta.thanos.source = "compactor".into();
    }
    Parts::new(meta, index, segment)
}

/// Windows of a block of 5m, ms.
pub const FIVE: i64 = FIVE_MINUTES_MS;
