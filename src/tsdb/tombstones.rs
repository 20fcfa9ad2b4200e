//! The `tombstones` file of a block: time ranges that were deleted but whose
//! samples still stand in the chunks.
//!
//! ```text
//!  0  0130BA30 | version 1
//!  5  series reference uvarint | mint varint | maxt varint      one range, closed, ms
//!     ...
//!     crc be32 over the ranges: neither magic nor version is covered
//! ```
//!
//! Ranges stand in any order and may overlap. In memory those of a series
//! ascend and neither overlap nor touch; that is also how they are written,
//! by series reference. Series references are those of the block's own index,
//! so tombstones have no meaning for any other block.

use std::collections::BTreeMap;

use super::encoding::{CRC_LEN, DecBuf, EncBuf, crc32c};
use super::error::{Corrupt, Result};
use super::source::BlobReader;
use crate::damage::Damage;

/// Name of the file inside the block.
pub const FILE_NAME: &str = "tombstones";

/// First four bytes of the file.
pub const MAGIC: u32 = 0x0130_BA30;

/// The only version of the format.
pub const VERSION: u8 = 1;

/// Bytes before the first range.
const HEADER_LEN: usize = 5;

/// A deleted range, both ends part of it, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// First deleted moment.
    pub min_time: i64,
    /// Last deleted moment.
    pub max_time: i64,
}

impl Interval {
    /// True when `time` is deleted.
    #[inline]
    pub fn contains(&self, time: i64) -> bool {
        self.min_time <= time && time <= self.max_time
    }
}

/// The deleted ranges of a block by series reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<u64, Vec<Interval>>,
}

impl Tombstones {
    /// Nothing is deleted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Corrupt`] as [`Self::decode`], what reading returns.
    pub fn read(reader: &mut dyn BlobReader) -> Result<Self> {
        // The file is its whole content, so its size is what it needs.
        let len = usize::try_from(reader.len()).unwrap_or(usize::MAX);
        let data = reader.exact(0, len)?;
        Ok(Self::decode(&data).map_err(|c| c.in_file(reader.name(), 0))?)
    }

    /// Decodes the content of the file.
    ///
    /// # Errors
    /// [`Corrupt`] for a wrong magic number, version or checksum and for
    /// damaged ranges.
    pub fn decode(data: &[u8]) -> Result<Self, Corrupt> {
        let mut dec = DecBuf::new(data);
        let magic = dec.be32()?;
        if magic != MAGIC {
            let what = format!("magic number {magic:08x} is no tombstones file");
            return Err(Corrupt::at(0, what));
        }
        let version = dec.byte()?;
        if version != VERSION {
            let what = format!("tombstones have version {version}, only {VERSION} is known");
            return Err(Corrupt::at(4, what));
        }
        let Some(len) = dec.remaining().checked_sub(CRC_LEN) else {
            return Err(dec.corrupt("tombstones have no checksum"));
        };
        let ranges = dec.bytes(len)?;
        if dec.be32()? != crc32c(ranges) {
            let corrupt = Corrupt::at(HEADER_LEN, "checksum of the tombstones differs");
            return Err(corrupt.because(Damage::TombstonesChecksum));
        }
        let mut all = Self::new();
        let mut dec = DecBuf::new(ranges);
        while !dec.is_empty() {
            let range = (|| Ok((dec.uvarint64()?, dec.varint64()?, dec.varint64()?)))();
            let (series, min_time, max_time) = range.map_err(|mut c: Corrupt| {
                c.offset += HEADER_LEN as u64;
                c
            })?;
            all.by_series
                .entry(series)
                .or_default()
                .push(Interval { min_time, max_time });
        }
        for intervals in all.by_series.values_mut() {
            merge(intervals);
        }
        // A range that ends before it begins deletes nothing.
        all.by_series.retain(|_, intervals| !intervals.is_empty());
        Ok(all)
    }

    /// The content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        buf.put_be32(MAGIC);
        buf.push(VERSION);
        for (&series, intervals) in &self.by_series {
            for interval in intervals {
                buf.put_uvarint(series);
                buf.put_varint(interval.min_time);
                buf.put_varint(interval.max_time);
            }
        }
        let crc = crc32c(buf.get(HEADER_LEN..).unwrap_or_default());
        buf.put_be32(crc);
        buf
    }

    /// Deletes a range of a series.
    pub fn add(&mut self, series: u64, interval: Interval) {
        let intervals = self.by_series.entry(series).or_default();
        intervals.push(interval);
        merge(intervals);
        if intervals.is_empty() {
            self.by_series.remove(&series);
        }
    }

    /// The deleted ranges of a series, ascending and apart from each other.
    pub fn intervals(&self, series: u64) -> &[Interval] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// All series with deleted ranges, by reference.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[Interval])> {
        self.by_series.iter().map(|(&s, i)| (s, i.as_slice()))
    }

    /// Number of ranges: `stats.numTombstones` of `meta.json`.
    pub fn count(&self) -> u64 {
        self.by_series.values().map(|i| i.len() as u64).sum()
    }

    /// True when nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }
}

/// Sorts ranges and joins those that overlap or touch: time is whole
/// milliseconds, so `..=5` and `6..` leave nothing between them.
fn merge(intervals: &mut Vec<Interval>) {
    intervals.retain(|i| i.min_time <= i.max_time);
    intervals.sort_unstable();
    intervals.dedup_by(|next, kept| {
        let joins = next.min_time <= kept.max_time.saturating_add(1);
        if joins {
            kept.max_time = kept.max_time.max(next.max_time);
        }
        joins
    });
}

#[cfg(test)]
#[path = "tombstones_tests.rs"]
mod tests;
