//! Whole small blocks through a merge.

use std::sync::{Arc, Mutex, OnceLock};

use lithify::block::of_merge;
use lithify::merge::{
    self, Dedup, MergeError, MergeMemory, MergeOptions, Merged, Output, Products, Source,
};
use lithify::tsdb::chunkenc::{Encoding, num_samples};
use lithify::tsdb::chunks::SegmentReader;
use lithify::tsdb::index::{Index, RawSeries};
use lithify::tsdb::tombstones::Tombstones;
use lithify::tsdb::{Corrupt, Error, Result};
use rayon::ThreadPool;
use ulid::Ulid;

use super::{blobs, repair};

/// Parts of an input of [`merge`]: index and segment of two blocks, and the
/// tombstones of the first.
type Parts<'a> = [&'a [u8]; 5];

/// An input of [`merge`]: a byte of options, then each part behind its length
/// in two bytes.
///
/// ```text
///  options | 2 x (index, segment) | tombstones
///  bit 0  deduplicate by penalty        bit 3  only some of the series
///  bit 1  blocks are of one replica     bit 4  small segments
///  bit 2  blocks are of one run         bit 5  narrow range
///  bit 6  the first block only          bit 7  blocks state narrow ranges
/// ```
pub fn container(options: u8, parts: Parts<'_>) -> Vec<u8> {
    let mut out = vec![options];
    for part in parts {
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn split(input: &[u8]) -> Option<(u8, Parts<'_>)> {
    let (&options, mut rest) = input.split_first()?;
    let mut parts: Parts<'_> = [&[]; 5];
    for part in &mut parts {
        let (head, behind) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let len = usize::from(u16::from_be_bytes(*head)).min(behind.len());
        (*part, rest) = behind.split_at(len);
    }
    Some((options, parts))
}

/// Two small blocks that are merged.
pub fn merge(input: &[u8]) {
    let Some((options, parts)) = split(input) else {
        return;
    };
    one_merge(options, &parts.map(<[u8]>::to_vec));
    let repaired = [
        repair::index(parts[0]),
        repair::segment(parts[1]),
        repair::index(parts[2]),
        repair::segment(parts[3]),
        repair::tombstones(parts[4]),
    ];
    if repaired.each_ref().map(Vec::as_slice) != parts {
        one_merge(options, &repaired);
    }
}

/// Bit `n` of the options.
fn bit(options: u8, n: u32) -> bool {
    options >> n & 1 == 1
}

/// The times of the fixtures lie in here, ms.
const NARROW: (i64, i64) = (1_788_220_800_000, 1_788_228_000_000);

fn sources(options: u8, parts: &[Vec<u8>; 5], range: (i64, i64)) -> Vec<Source> {
    let wide = (i64::MIN, i64::MAX);
    let states = if bit(options, 7) { NARROW } else { wide };
    let blocks = if bit(options, 6) { 1 } else { 2 };
    let tombstones = Tombstones::decode(&parts[4]).ok();
    (0..blocks)
        .map(|i| {
            let segment = parts[2 * i + 1].clone();
            Source {
                name: format!("0{i}"),
                index: blobs::whole(&format!("0{i}/index"), &parts[2 * i]),
                open_segment: Box::new(move |seq| open_segment(seq, i, &segment)),
                min_time: states.0,
                max_time: states.1,
                keep: range,
                run: if bit(options, 2) { 0 } else { i as u32 },
                replica: if bit(options, 1) { 0 } else { i as u32 },
                tombstones: tombstones.clone().filter(|_| i == 0),
                stated: None,
            }
        })
        .collect()
}

fn one_merge(options: u8, parts: &[Vec<u8>; 5]) {
    let wide = (i64::MIN, i64::MAX);
    let range = if bit(options, 5) { NARROW } else { wide };
    let sources = sources(options, parts, range);
    let index = blobs::Sink::default();
    let segments = Arc::new(Mutex::new(Vec::<blobs::Sink>::new()));
    let made = Arc::clone(&segments);
    let output = Output {
        index: Box::new(index.clone()),
        create_segment: Box::new(move |_| {
            let sink = blobs::Sink::default();
            made.lock().unwrap().push(sink.clone());
            Ok(Box::new(sink))
        }),
    };
    // Lower resolutions only have to end in blocks whose books balance.
    let products = Products {
        five_minutes: !bit(options, 3),
        one_hour: !bit(options, 4),
        ..Products::merged(0)
    };
    let lower = products.resolutions().skip(1).map(|_| Output::nowhere());
    let outputs = std::iter::once(output).chain(lower).collect();
    let how = MergeOptions {
        pool: Arc::clone(pool()),
        range,
        dedup: if bit(options, 0) {
            Dedup::Penalty
        } else {
            Dedup::OneToOne
        },
        products,
        one_in: if bit(options, 3) { 2 } else { 1 },
        segment_bytes: if bit(options, 4) { 600 } else { 1 << 20 },
        memory: MergeMemory::default(),
    };
    match merge::merge(sources, &how, outputs) {
        Ok(merged) => {
            let segments: Vec<Vec<u8>> = segments
                .lock()
                .unwrap()
                .iter()
                .map(blobs::Sink::bytes)
                .collect();
            if let Err(error) = check(&merged, &index.bytes(), &segments, range) {
                panic!("the result is damaged: {error}");
            }
        }
        Err(error) => assert_blames_a_block(error),
    }
}

fn open_segment(
    seq: u32,
    block: usize,
    data: &[u8],
) -> Result<Box<dyn lithify::tsdb::source::BlobReader>> {
    // As `block::io`: a segment that is not listed is the fault of the index.
    let name = format!("0{block}/chunks/{seq:06}");
    if seq > 1 {
        return Err(Corrupt::at(0, "does not exist").in_file(&name, 0).into());
    }
    Ok(blobs::stingy(&name, data))
}

/// One thread does all the work: what is looked for are bad inputs, not races.
fn pool() -> &'static Arc<ThreadPool> {
    static POOL: OnceLock<Arc<ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        Arc::new(pool.build().unwrap())
    })
}

/// Whatever stands in a block, the merge may not be at fault.
fn assert_blames_a_block(error: MergeError) {
    let text = error.to_string();
    assert!(matches!(error.error, Error::Corrupt(_)), "{text}");
    assert!(error.input.is_some(), "nobody is blamed: {text}");
    let error = of_merge(error, &[Ulid::nil(), Ulid::from_parts(1, 1)]);
    assert!(!error.chain().is_empty() && error.cure().is_some());
}

/// What the check of a finished index and a reader of the block would find.
fn check(merged: &Merged, index: &[u8], segments: &[Vec<u8>], range: (i64, i64)) -> Result<()> {
    assert!(merged.ledger.balances());
    assert_eq!(merged.imbalance(), None);
    assert_eq!(merged.blocks[0].index_bytes, index.len() as u64);
    let sizes: Vec<u64> = segments.iter().map(|s| s.len() as u64).collect();
    assert_eq!(merged.blocks[0].segment_bytes, sizes);
    let mut readers = (0..)
        .zip(segments)
        .map(|(seq, data)| SegmentReader::open(seq, blobs::whole("out", data)))
        .collect::<Result<Vec<_>>>()?;
    let opened = Index::open(blobs::whole("out/index", index))?;
    let (opened, refs) = opened.into_symbols()?.finish()?;
    let mut stream = opened.into_series(refs);
    let mut series = RawSeries::default();
    let (mut count, mut chunks, mut samples) = (0, 0, 0);
    while stream.next(&mut series)? {
        count += 1;
        let mut end = None;
        for chunk in &series.chunks {
            let (min, max) = (chunk.min_time, chunk.max_time);
            assert!(end.is_none_or(|end| min > end), "chunks overlap");
            assert!(
                min <= max && min >= range.0 && max < range.1,
                "{min}..={max}"
            );
            end = Some(max);
            let at = chunk.chunk_ref();
            let record = readers[at.segment() as usize].record(at)?;
            record.verify()?;
            let encoding = Encoding::from_byte(record.encoding()).unwrap();
            assert!(!encoding.has_start_times());
            samples += num_samples(encoding, record.data())? as u64;
            chunks += 1;
        }
    }
    let stats = &merged.blocks[0].stats;
    assert_eq!(
        (count, chunks, samples),
        (stats.num_series, stats.num_chunks, stats.num_samples)
    );
    assert_eq!(samples, merged.ledger.written);
    let mut index = stream.into_index();
    let table = index.load_postings_table()?;
    for entry in table.iter() {
        let list = index.postings(entry.offset)?;
        for reference in list.iter() {
            reference?;
        }
        if entry.name.is_empty() {
            assert_eq!(list.len() as u64, count);
        }
    }
    Ok(())
}
