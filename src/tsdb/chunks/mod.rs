//! The `chunks/000001`, `chunks/000002` ... files of a block: the samples.
//!
//! Terms:
//!
//! - **Segment**: one such file, by default up to 512 MiB.
//! - **Record**: one chunk in a segment, with length, encoding and checksum.
//! - **Chunk reference**: where a record begins; see [`ChunkRef`].
//!
//! ```text
//!  segment   0  85BD40DD | version 1 | 00 00 00          8 bytes
//!            8  record, record, ... up to the end of the file, no gaps
//!
//!  record       len uvarint | encoding byte | data (len bytes) | crc be32
//!                             '--------- covered by crc -------'
//!
//!  reference    segment, counted from 0 (upper 32 bits) | offset in the file (lower 32 bits)
//! ```
//!
//! Segment 0 is the file `000001`. References count files in the order of
//! their names, so a block whose segments have a hole in their numbers cannot
//! be read.
//!
//! Invariants:
//!
//! - The records of a series are neighbours, and series follow in label order:
//!   chunk references of the whole index ascend. Blocks written before 2024
//!   may break this, so a reader must not rely on it.
//! - A record is never copied on its way from one block to another:
//!   [`ChunkRecord::framed`] is a slice of what was read, and
//!   [`ChunkWriter`] takes it as it is, checksum included.
//!
//! The encoding stays a raw byte here: a record of an unknown encoding can
//! still be carried, checked and counted.

mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::{ChunkRecord, SegmentReader};
pub use writer::{
    ChunkInput, ChunkWriter, DEFAULT_SEGMENT_SIZE, WrittenSegment, frame_chunk, framed_data,
};

/// First four bytes of a segment.
pub const MAGIC: u32 = 0x85BD_40DD;

/// The only version of the segment format.
pub const VERSION: u8 = 1;

/// Bytes before the first record.
pub const SEGMENT_HEADER_LEN: u32 = 8;

/// What an index says about one chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ChunkMeta {
    /// Time of the first sample, ms since the epoch.
    pub min_time: i64,
    /// Time of the last sample, ms since the epoch, itself part of the chunk.
    pub max_time: i64,
    /// Where the record begins, as stored; see [`ChunkRef`].
    pub reference: u64,
}

impl ChunkMeta {
    /// The reference taken apart.
    #[inline]
    pub fn chunk_ref(&self) -> ChunkRef {
        ChunkRef(self.reference)
    }
}

/// Segment and offset of a record in one number, as an index stores it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(u64);

impl ChunkRef {
    /// Segment counted from 0, offset in bytes from the start of its file.
    #[inline]
    pub fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment, counted from 0.
    #[inline]
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the start of the segment's file.
    #[inline]
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

impl From<u64> for ChunkRef {
    #[inline]
    fn from(stored: u64) -> Self {
        Self(stored)
    }
}

impl From<ChunkRef> for u64 {
    #[inline]
    fn from(reference: ChunkRef) -> Self {
        reference.0
    }
}

/// Name of a segment's file inside `chunks/`: `000001` for segment 0.
pub fn segment_file_name(segment: u32) -> String {
    format!("{:06}", u64::from(segment) + 1)
}

/// The segment of a file name inside `chunks/`; `None` for other files.
pub fn parse_segment_file_name(name: &str) -> Option<u32> {
    let digits = name.len() >= 6 && name.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.then(|| name.parse().ok())??;
    u32::try_from(number.checked_sub(1)?).ok()
}
