//! Chunks of a series into lower resolutions.

use lithify::downsample::{ChunkView, Downsampler, Level};
use lithify::tsdb::chunkenc::{
    Aggr, AggrChunk, DecodeScratch, Decoded, Encoding, FloatSamples, decode_chunk, decode_floats,
};
use lithify::tsdb::{Error, Result};

/// An input of [`downsample`].
///
/// ```text
///  options | n x (encoding byte | length in two bytes | data)
///  bit 0  the chunks are those of a 5m block
///  bit 1  the index states wide times for a single chunk
/// ```
pub fn chunk_list<'a>(options: u8, chunks: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut out = vec![options];
    for (encoding, data) in chunks {
        out.push(encoding);
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

fn split(mut rest: &[u8]) -> Vec<(Encoding, &[u8])> {
    let mut chunks = Vec::new();
    while let Some(([byte, high, low], behind)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (data, later) = behind.split_at(len);
        rest = later;
        let encoding = Encoding::from_byte(*byte).unwrap_or(Encoding::Aggr);
        chunks.push((encoding, data));
    }
    chunks
}

/// Lower resolutions of chunks that an index could have.
pub fn downsample(input: &[u8]) {
    let Some((&options, rest)) = input.split_first() else {
        return;
    };
    let mut views: Vec<ChunkView<'_>> = Vec::new();
    for (encoding, data) in split(rest) {
        let after = views.last().map_or(i64::MIN, |v| v.max_time);
        let times = times(encoding, data);
        // Others are refused with the index.
        if let Some((min_time, max_time)) = times.filter(|t| t.0 > after && t.0 <= t.1) {
            views.push(ChunkView {
                min_time,
                max_time,
                encoding,
                data,
                samples: None,
            });
        }
    }
    if let ([only], true) = (views.as_mut_slice(), options & 2 != 0) {
        (only.min_time, only.max_time) = (i64::MIN, i64::MAX);
    }
    let (mut five, mut hour) = (Level::default(), Level::default());
    let mut downsampler = Downsampler::default();
    if options & 1 != 0 {
        let done = downsampler.aggregates(&views, &mut hour);
        match done {
            Ok(()) => assert_level(&views, &hour),
            Err(error) => assert_error(&views, error.chunk, &error.error),
        }
        return;
    }
    match downsampler.raw(&views, &mut five, Some(&mut hour)) {
        Ok(()) => {
            assert_level(&views, &five);
            assert_level(&views, &hour);
            assert_eq!(five.counts.counted, hour.counts.read);
            let views: Vec<ChunkView<'_>> = five
                .chunks
                .iter()
                .map(|(meta, data)| ChunkView {
                    min_time: meta.min_time,
                    max_time: meta.max_time,
                    encoding: meta.encoding,
                    data,
                    samples: None,
                })
                .collect();
            let mut again = Level::default();
            downsampler.aggregates(&views, &mut again).unwrap();
            assert_eq!(again.chunks, hour.chunks, "one step is two steps");
        }
        Err(error) => assert_error(&views, error.chunk, &error.error),
    }
}

/// First and last time of a chunk, as far as it can be read.
fn times(encoding: Encoding, data: &[u8]) -> Option<(i64, i64)> {
    let mut all = FloatSamples::default();
    if encoding == Encoding::Aggr {
        let chunk = AggrChunk::parse(data).ok()?;
        let column = chunk
            .column(Aggr::Count)
            .or_else(|| chunk.column(Aggr::Counter))?;
        decode_floats(column.encoding, column.data, &mut all).ok()?;
    } else {
        let mut scratch = DecodeScratch::default();
        match decode_chunk(encoding, data, &mut all, &mut scratch).ok()? {
            Decoded::Floats { .. } => {}
            Decoded::Histograms(mut iter) => drain(|| iter.next(), &mut all),
            Decoded::FloatHistograms(mut iter) => drain(|| iter.next(), &mut all),
        }
    }
    Some((*all.ts.first()?, *all.ts.last()?))
}

fn drain(mut next: impl FnMut() -> Result<Option<i64>>, all: &mut FloatSamples) {
    while let Ok(Some(t)) = next() {
        all.push(t, 0.0);
    }
}

/// The books balance, and the chunks are in order, inside and readable.
fn assert_level(views: &[ChunkView<'_>], level: &Level) {
    assert_eq!(level.counts.imbalance(), 0, "{}", level.counts);
    let mut before = None;
    for (meta, data) in level.chunks.iter() {
        let (min, max) = (meta.min_time, meta.max_time);
        assert!(
            min <= max && before.is_none_or(|t| t < min),
            "{before:?} {meta:?}"
        );
        before = Some(max);
        let (first, last) = (views.first().unwrap(), views.last().unwrap());
        assert!(first.min_time <= min && max <= last.max_time, "{meta:?}");
        let chunk = AggrChunk::parse(data).unwrap();
        assert_eq!(chunk.num_samples().unwrap(), meta.samples);
        for column in Aggr::ALL.into_iter().filter_map(|aggr| chunk.column(aggr)) {
            let (mut floats, mut scratch) = (FloatSamples::default(), DecodeScratch::default());
            match decode_chunk(column.encoding, column.data, &mut floats, &mut scratch).unwrap() {
                Decoded::Floats { .. } => {}
                Decoded::Histograms(_) => panic!("histograms of integers"),
                Decoded::FloatHistograms(mut iter) => while iter.next().unwrap().is_some() {},
            }
        }
    }
}

/// A place in a chunk, or a result that no chunk can hold.
fn assert_error(views: &[ChunkView<'_>], chunk: Option<usize>, error: &Error) {
    assert!(!error.to_string().is_empty());
    match (error, chunk) {
        (Error::Corrupt(corrupt), Some(chunk)) => {
            assert!(
                corrupt.offset <= views[chunk].data.len() as u64,
                "{corrupt}"
            );
        }
        (Error::Limit(_), _) => {}
        // Negative buckets make a total that goes down.
        (Error::Corrupt(corrupt), None) => assert!(corrupt.what.contains("goes down")),
        other => panic!("{other:?}"),
    }
}
