//! One function for each reader of bytes that somebody else wrote. It must
//! come back: no panic, no endless loop, no memory that the input does not
//! justify. What is cheap to know about the result is asserted.
//!
//! The fuzz targets call these with made-up inputs, `tests/fuzz_inputs.rs` of
//! the main crate with the inputs in `inputs/`.

mod blobs;
mod blocks;
mod caches;
mod chunks;
mod downsample;
mod index;
mod plans;
mod repair;
mod texts;

pub use blobs::Sink;
pub use blocks::{container, merge};
pub use caches::meta_cache;
pub use chunks::{aggregates, floats, histograms};
pub use downsample::{chunk_list, downsample};
pub use index::index;
pub use plans::plan;
pub use texts::{bucket_config, markers, meta, selector};

use lithify::tsdb::chunkenc::{Encoding, num_samples};
use lithify::tsdb::chunks::{ChunkInput, ChunkRef, ChunkWriter, SegmentReader};
use lithify::tsdb::source::MemBlob;
use lithify::tsdb::tombstones::Tombstones;
use lithify::tsdb::{Error, Result};

/// Takes an input, and comes back or panics.
pub type Reader = fn(&[u8]);

/// All readers by the name of their target and of their folder of inputs.
pub const READERS: [(&str, Reader); 14] = [
    ("index", index),
    ("floats", floats),
    ("histograms", histograms),
    ("aggregates", aggregates),
    ("downsample", downsample),
    ("segment", segment),
    ("tombstones", tombstones),
    ("meta", meta),
    ("meta_cache", meta_cache),
    ("markers", markers),
    ("bucket_config", bucket_config),
    ("selector", selector),
    ("merge", merge),
    ("plan", plan),
];

/// A damaged file is told from a rule of ours that was broken: whatever the
/// bytes are, the reader may not blame its caller.
fn assert_blames_the_bytes(error: &Error) {
    assert!(!error.to_string().is_empty());
    assert!(!format!("{error:?}").is_empty());
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
}

/// A segment: every record from front to back, and records at places that the
/// input names.
pub fn segment(data: &[u8]) {
    one_segment(data);
    let repaired = repair::segment(data);
    if repaired != data {
        one_segment(&repaired);
    }
}

fn one_segment(data: &[u8]) {
    // Places front to back, then those that the last bytes of the input name:
    // near ones, and any at all.
    let mut places: Vec<u64> = Vec::new();
    match read_records(data, &mut places) {
        Ok(records) => assert_passes_on(&records),
        Err(error) => assert_blames_the_bytes(&error),
    }
    places.truncate(8);
    for bytes in data.rchunks_exact(4).take(16) {
        let named = u32::from_be_bytes(bytes.try_into().unwrap());
        places.push(u64::from(named));
        places.push(u64::from(named) % (data.len() as u64 + 2));
    }
    for seq in [0, 1, u32::MAX] {
        read_at(seq, data, &places);
    }
}

/// The framed bytes of every record that follows the one before.
fn read_records(data: &[u8], places: &mut Vec<u64>) -> Result<Vec<Vec<u8>>> {
    let mut reader = SegmentReader::open(0, blobs::stingy("01X/chunks/000001", data))?;
    let mut all = Vec::new();
    let mut at = 8;
    while at < data.len() as u64 {
        let record = reader.record(at)?;
        places.push(at);
        at += record.framed().len() as u64;
        record.verify()?;
        if let Some(encoding) = Encoding::from_byte(record.encoding()) {
            // What a merge does with a record that it passes on.
            let _ = num_samples(encoding, record.data());
        }
        all.push(record.framed().to_vec());
    }
    Ok(all)
}

fn read_at(seq: u32, data: &[u8], places: &[u64]) {
    let blob = MemBlob::new("01X/chunks/000001", data.to_vec());
    let mut reader = match SegmentReader::open(seq, Box::new(blob)) {
        Ok(reader) => reader,
        Err(error) => return assert_blames_the_bytes(&error),
    };
    for &place in places {
        // In this segment and, when `place` has upper bits, in others.
        for reference in [ChunkRef::from(place), ChunkRef::new(seq, place as u32)] {
            match reader.record(reference) {
                Ok(record) => {
                    let framed = record.framed();
                    assert_eq!(record.reference(), reference);
                    assert!(framed.len() <= data.len());
                    assert_eq!(record.data(), &record.data_bytes()[..]);
                    let start = reference.offset() as usize;
                    assert_eq!(&framed[..], &data[start..start + framed.len()]);
                    if let Err(corrupt) = record.verify() {
                        assert!(corrupt.offset <= data.len() as u64, "{corrupt}");
                    }
                }
                Err(error) if reference.segment() == seq => assert_blames_the_bytes(&error),
                Err(error) => assert!(matches!(error, Error::Misuse(_)), "{error}"),
            }
        }
    }
}

/// Records that are whole go into a new segment unchanged.
fn assert_passes_on(records: &[Vec<u8>]) {
    let out = blobs::Sink::default();
    let clone = out.clone();
    let mut writer = ChunkWriter::new(u32::MAX, move |_| Ok(Box::new(clone.clone())));
    writer.start_series();
    for framed in records {
        writer.append(ChunkInput::Framed(framed)).unwrap();
    }
    writer.finish().unwrap();
    let written = out.bytes();
    assert_eq!(written.get(8..).unwrap_or_default(), records.concat());
}

/// A tombstones file.
pub fn tombstones(data: &[u8]) {
    one_tombstones(data);
    let repaired = repair::tombstones(data);
    if repaired != data {
        one_tombstones(&repaired);
    }
}

fn one_tombstones(data: &[u8]) {
    let found = match Tombstones::decode(data) {
        Ok(found) => found,
        Err(corrupt) => {
            assert!(corrupt.offset <= data.len() as u64, "{corrupt}");
            let read = Tombstones::read(blobs::stingy("01X/tombstones", data).as_mut());
            return assert_blames_the_bytes(&read.unwrap_err());
        }
    };
    let read = Tombstones::read(blobs::stingy("01X/tombstones", data).as_mut());
    assert_eq!(read.unwrap(), found);
    // A range has at least 3 bytes.
    assert!(found.count() <= data.len() as u64 / 3);
    assert_eq!(found.is_empty(), found.count() == 0);
    for (series, intervals) in found.iter() {
        assert_eq!(found.intervals(series), intervals);
        assert!(intervals.iter().all(|i| i.min_time <= i.max_time));
        let apart = intervals
            .windows(2)
            .all(|pair| pair[1].min_time.checked_sub(1) > Some(pair[0].max_time));
        assert!(apart, "{intervals:?}");
    }
    assert_eq!(Tombstones::decode(&found.encode()).unwrap(), found);
}
