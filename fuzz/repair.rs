//! Makes checksums right again, wherever the lengths still say where they are.
//!
//! A changed byte nearly always meets a checksum first. Each target therefore
//! reads its input twice: as it is, and repaired, which is what an attacker
//! (or a producer with a bug) would write.

use lithify::tsdb::chunks::SEGMENT_HEADER_LEN;
use lithify::tsdb::encoding::{DecBuf, crc32c};
use lithify::tsdb::index::Toc;

fn be32(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
}

/// Writes the checksum of `start..end` behind it; `None` if there is no room.
fn seal(data: &mut [u8], start: usize, end: usize) -> Option<usize> {
    let crc = crc32c(data.get(start..end)?).to_be_bytes();
    let after = end.checked_add(4)?;
    data.get_mut(end..after)?.copy_from_slice(&crc);
    Some(after)
}

/// A section `len be32 | content | crc`; returns where it ends.
fn section(data: &mut [u8], at: usize) -> Option<usize> {
    let len = be32(data, at)?;
    seal(
        data,
        at.checked_add(4)?,
        at.checked_add(4)?.checked_add(len)?,
    )
}

/// An entry `len uvarint | skipped bytes | content | crc`.
fn entry(data: &mut [u8], at: usize, uncounted: usize) -> Option<usize> {
    let mut dec = DecBuf::new(data.get(at..)?);
    let len = usize::try_from(dec.uvarint64().ok()?).ok()?;
    let start = at + dec.position();
    seal(data, start, start.checked_add(len)?.checked_add(uncounted)?)
}

/// Checksums of the contents and of each section and entry of an index.
pub fn index(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    let Some(end) = data.len().checked_sub(Toc::LEN) else {
        return data;
    };
    seal(&mut data, end, end + Toc::LEN - 4);
    let mut dec = DecBuf::new(&data[end..]);
    let offsets: Vec<usize> = std::iter::repeat_with(|| dec.be64())
        .take(6)
        .map(|offset| offset.map_or(0, |o| o as usize))
        .collect();
    let &[symbols, series, label_indices, label_table, postings, table] = offsets.as_slice() else {
        return data;
    };
    let old = data.get(4) == Some(&1);
    section(&mut data, symbols);
    let mut at = series;
    while at < label_indices.min(end) {
        at = if old { at } else { at.next_multiple_of(16) };
        match entry(&mut data, at, 0) {
            Some(next) => at = next,
            None => break,
        }
    }
    at = postings;
    while at < label_table.min(end) {
        match section(&mut data, at.next_multiple_of(4)) {
            Some(next) => at = next,
            None => break,
        }
    }
    section(&mut data, table);
    data
}

/// Checksums of the records of a segment.
pub fn segment(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    let mut at = SEGMENT_HEADER_LEN as usize;
    while let Some(next) = entry(&mut data, at, 1) {
        at = next;
    }
    data
}

/// The checksum of a tombstones file.
pub fn tombstones(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if let Some(end) = data.len().checked_sub(4) {
        seal(&mut data, 5, end);
    }
    data
}

/// The checksum of a cache of metas, which is IEEE CRC-32.
pub fn meta_cache(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if let Some(end) = data.len().checked_sub(4) {
        let checksum = crc32fast::hash(&data[..end]).to_be_bytes();
        data[end..].copy_from_slice(&checksum);
    }
    data
}
