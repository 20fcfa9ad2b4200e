//! Series entries: label pairs and chunk places.
//!
//! ```text
//!  len uvarint
//!  | #labels uvarint | (name uvarint, value uvarint) ...
//!  | #chunks uvarint | mint varint  | maxt - mint uvarint | ref uvarint      first chunk
//!                    | mint - previous maxt uvarint | maxt - mint uvarint
//!                    | ref - previous ref varint                             each later one
//!  | crc be32 over everything between len and crc
//! ```
//!
//! Differences of times wrap at 64 bits, so every pair of timestamps survives,
//! even chunks that a damaged producer wrote in the wrong order. The stream
//! passes those on: whether they can be mended is not decided here.

use crate::damage::Damage;
use crate::tsdb::chunks::ChunkMeta;
use crate::tsdb::encoding::{CRC_LEN, DecBuf, EncBuf, MAX_UVARINT32_LEN, crc32c, uvarint};
use crate::tsdb::error::{Corrupt, Error, Result};

use super::reader::{Index, Version};
use super::symbols::SymbolRefs;
use super::{SERIES_ALIGN, window::Window};

/// Name and value of a label as symbol ordinals.
pub type LabelPair = (u32, u32);

/// One series entry. Reused from call to call: nothing is allocated once the
/// largest entry has been seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawSeries {
    /// Where the entry begins, bytes from the start of the file.
    pub offset: u64,
    /// What postings and tombstones call the series.
    pub reference: u64,
    /// Labels in the order of the entry.
    pub labels: Vec<LabelPair>,
    /// Chunks in the order of the entry.
    pub chunks: Vec<ChunkMeta>,
}

/// Decodes what lies between length and checksum.
fn decode(body: &[u8], refs: &SymbolRefs, out: &mut RawSeries) -> Result<(), Corrupt> {
    out.labels.clear();
    out.chunks.clear();
    let mut dec = DecBuf::new(body);
    // Each pair has at least 2 bytes and each chunk 3, which bounds what a
    // damaged count can reserve.
    let labels = counted(&mut dec, 2, "labels")?;
    out.labels.reserve(labels);
    for _ in 0..labels {
        let name = ordinal(&mut dec, refs)?;
        let value = ordinal(&mut dec, refs)?;
        out.labels.push((name, value));
    }
    let chunks = counted(&mut dec, 3, "chunks")?;
    out.chunks.reserve(chunks);
    let (mut time, mut reference) = (0i64, 0i64);
    for i in 0..chunks {
        let min_time = if i == 0 {
            dec.varint64()?
        } else {
            time.wrapping_add_unsigned(dec.uvarint64()?)
        };
        let max_time = min_time.wrapping_add_unsigned(dec.uvarint64()?);
        reference = if i == 0 {
            dec.uvarint64()? as i64
        } else {
            reference.wrapping_add(dec.varint64()?)
        };
        time = max_time;
        out.chunks.push(ChunkMeta {
            min_time,
            max_time,
            reference: reference as u64,
        });
    }
    if !dec.is_empty() {
        let what = format!("{} bytes follow the last chunk", dec.remaining());
        return Err(dec.corrupt(what));
    }
    Ok(())
}

/// A count of elements that have at least `least` bytes each.
#[inline]
fn counted(dec: &mut DecBuf<'_>, least: usize, what: &str) -> Result<usize, Corrupt> {
    let count = dec.uvarint64()?;
    match usize::try_from(count) {
        Ok(n) if n <= dec.remaining() / least => Ok(n),
        _ => Err(dec.corrupt(format!("series of {count} {what} is too short for them"))),
    }
}

#[inline(always)]
fn ordinal(dec: &mut DecBuf<'_>, refs: &SymbolRefs) -> Result<u32, Corrupt> {
    let stored = dec.uvarint32()?;
    refs.ordinal(stored).ok_or_else(|| {
        dec.corrupt(format!(
            "series names symbol {stored}, which does not exist"
        ))
        .because(Damage::SymbolOutOfRange)
    })
}

/// Appends length, entry and checksum; `scratch` is overwritten.
pub(super) fn encode(
    labels: &[LabelPair],
    chunks: &[ChunkMeta],
    scratch: &mut Vec<u8>,
    buf: &mut Vec<u8>,
) {
    scratch.clear();
    scratch.put_uvarint(labels.len() as u64);
    for &(name, value) in labels {
        scratch.put_uvarint(u64::from(name));
        scratch.put_uvarint(u64::from(value));
    }
    scratch.put_uvarint(chunks.len() as u64);
    let (mut time, mut reference) = (0i64, 0u64);
    for (i, chunk) in chunks.iter().enumerate() {
        if i == 0 {
            scratch.put_varint(chunk.min_time);
        } else {
            scratch.put_uvarint(chunk.min_time.wrapping_sub(time) as u64);
        }
        scratch.put_uvarint(chunk.max_time.wrapping_sub(chunk.min_time) as u64);
        if i == 0 {
            scratch.put_uvarint(chunk.reference);
        } else {
            scratch.put_varint(chunk.reference.wrapping_sub(reference) as i64);
        }
        time = chunk.max_time;
        reference = chunk.reference;
    }
    let (len, bytes) = uvarint(scratch.len() as u64);
    buf.extend_from_slice(len.get(..bytes).unwrap_or(&len));
    buf.extend_from_slice(scratch);
    buf.put_be32(crc32c(scratch));
}

/// Reads one entry and returns where it ends; `limit` is the end of the section.
fn read_entry(
    window: &mut Window,
    offset: u64,
    limit: u64,
    refs: &SymbolRefs,
    out: &mut RawSeries,
) -> Result<u64> {
    let named = |c: Corrupt, window: &Window, at: u64| -> Error {
        c.in_file(window.reader().name(), at).into()
    };
    let left = limit.saturating_sub(offset);
    let head = window.at(offset, left.min(MAX_UVARINT32_LEN as u64) as usize)?;
    let mut dec = DecBuf::new(head);
    let len = match dec.uvarint64() {
        Ok(len) => len,
        Err(c) => return Err(named(c, window, offset)),
    };
    let prefix = dec.position();
    let around = (prefix + CRC_LEN) as u64;
    if around > left || len > left - around {
        let c = Corrupt::at(
            0,
            format!("series of {len} bytes ends outside of its section"),
        );
        return Err(named(c, window, offset));
    }
    let total = around + len;
    let entry = window.at(offset, total as usize)?;
    let mut dec = DecBuf::new(entry.get(prefix..).unwrap_or_default());
    let checked = (|| {
        let body = dec.bytes(len as usize)?;
        if dec.be32()? != crc32c(body) {
            let corrupt = Corrupt::at(0, "checksum of the series differs");
            return Err(corrupt.because(Damage::IndexChecksum));
        }
        decode(body, refs, out)
    })();
    checked.map_err(|c| named(c, window, offset + prefix as u64))?;
    Ok(offset + total)
}

/// Reads the entry that postings call `reference`.
pub(super) fn read_at(
    index: &mut Index,
    reference: u64,
    refs: &SymbolRefs,
    out: &mut RawSeries,
) -> Result<()> {
    let section = index.toc().series_range(index.size());
    let offset = match index.version() {
        Version::V1 => reference,
        Version::V2 => reference.saturating_mul(SERIES_ALIGN),
    };
    if !section.contains(&offset) {
        let what = format!("reference {reference} points outside of the series section");
        return Err(index.corrupt(section.start, what));
    }
    read_entry(&mut index.window, offset, section.end, refs, out)?;
    (out.offset, out.reference) = (offset, reference);
    Ok(())
}

/// Yields the series of an index front to back.
///
/// Every checksum is compared, every symbol is known to exist, padding is
/// zero, and labels ascend strictly from series to series.
#[derive(Debug)]
pub struct SeriesStream {
    index: Index,
    refs: SymbolRefs,
    next: u64,
    end: u64,
    /// Labels of the series before, to check the order.
    last: Vec<LabelPair>,
    seen: u64,
}

impl SeriesStream {
    /// Stands before the first series.
    pub fn new(index: Index, refs: SymbolRefs) -> Self {
        let section = index.toc().series_range(index.size());
        Self {
            index,
            refs,
            next: section.start,
            end: section.end,
            last: Vec::new(),
            seen: 0,
        }
    }

    /// Reads the next series; `false` after the last.
    ///
    /// # Errors
    /// [`Corrupt`] for anything wrong with an entry, its padding or its order;
    /// what reading returns.
    pub fn next(&mut self, out: &mut RawSeries) -> Result<bool> {
        self.skip_padding()?;
        if self.next >= self.end {
            return Ok(false);
        }
        let offset = self.next;
        self.next = read_entry(&mut self.index.window, offset, self.end, &self.refs, out)?;
        out.offset = offset;
        out.reference = match self.index.version() {
            Version::V1 => offset,
            Version::V2 => offset / SERIES_ALIGN,
        };
        // Before the first series `last` is empty, so this also finds a series
        // without labels.
        if out.labels <= self.last {
            return Err(self.out_of_place(offset, &out.labels));
        }
        self.last.clear();
        self.last.extend_from_slice(&out.labels);
        self.seen += 1;
        Ok(true)
    }

    /// The error for a series whose labels do not follow those before it.
    #[cold]
    fn out_of_place(&self, offset: u64, labels: &[LabelPair]) -> Error {
        let (damage, what) = if labels.is_empty() {
            (Damage::EmptyLabels, "series has no labels")
        } else if labels == self.last {
            let what = "series has the labels of the one before it";
            (Damage::DuplicateSeries, what)
        } else {
            let what = "series do not ascend by their labels";
            (Damage::UnsortedSeries, what)
        };
        let corrupt = Corrupt::at(0, what).because(damage);
        corrupt.in_file(self.index.name(), offset).into()
    }

    /// The index that is being read.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Series read so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes of the section that were read, and all of its bytes.
    pub fn progress(&self) -> (u64, u64) {
        let start = self.index.toc().series_range(self.index.size()).start;
        (self.next.min(self.end) - start, self.end - start)
    }

    /// Gives the index back.
    pub fn into_index(self) -> Index {
        self.index
    }

    /// Moves to the next entry: to a multiple of 16 in version 2, and past
    /// zeros in either version, since no entry is 0 bytes long.
    fn skip_padding(&mut self) -> Result<()> {
        if self.index.version() == Version::V2 {
            let aligned = self.next.next_multiple_of(SERIES_ALIGN).min(self.end);
            let pad = (aligned - self.next) as usize;
            let zeros = self.index.window.at(self.next, pad)?;
            if zeros.iter().take(pad).any(|&b| b != 0) {
                let what = "padding before a series is not zero";
                return Err(self.index.corrupt(self.next, what));
            }
            self.next = aligned;
        }
        let from = self.next;
        while self.next < self.end {
            let bytes = self.index.window.at(self.next, 1)?;
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let bytes = bytes.get(..left).unwrap_or(bytes);
            let zeros = bytes.iter().take_while(|&&b| b == 0).count();
            self.next += zeros as u64;
            if zeros < bytes.len() {
                break;
            }
        }
        // Zeros may fill the end of the section, not a gap inside it.
        let gap = self.next > from && self.next < self.end;
        if gap && self.index.version() == Version::V2 {
            let what = "zeros where a series should begin";
            return Err(self.index.corrupt(from, what));
        }
        Ok(())
    }
}
