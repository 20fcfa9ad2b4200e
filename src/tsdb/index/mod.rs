//! The `index` file of a block: which series there are and where their chunks lie.
//!
//! Terms:
//!
//! - **Symbol**: a label name or value, stored once. Its **ordinal** is its
//!   place in the sorted table, so ordinals compare as the strings do.
//! - **Series entry**: label pairs as ordinals, then one [`ChunkMeta`] a chunk.
//! - **Series reference**: what postings and tombstones call a series; in
//!   version 2 the offset of its entry divided by 16, in version 1 the offset.
//! - **Postings list**: for one label pair the ascending references of the
//!   series that have it. The pair of two empty strings lists all series.
//! - **TOC**: the last 52 bytes, the offsets of the sections.
//!
//! ```text
//!   0  BAAAD700 | version                                   5 bytes
//!   5  symbols   len be32 | count be32 | string ... | crc   one section, len <= 4 GiB
//!      series    pad16 | len uvarint | entry | crc ...      one crc each
//!      (label indices: read past, written by nobody today)
//!      postings  pad4 | len be32 | count be32 | ref be32 ... | crc ...
//!      (label offset table: likewise empty today)
//!      postings offset table   len be32 | count be32 | (2, name, value, offset) ... | crc
//!      TOC       6 x be64 | crc                             52 bytes, ends the file
//! ```
//!
//! Version 1 (Prometheus 2.0 to 2.1) differs in three places: entries are not
//! aligned, symbols are named by the byte offset of their string in the file,
//! and the postings offset table is not sorted. It is read, never written.
//!
//! Reading goes front to back through windows of a [`BlobReader`]:
//!
//! ```text
//!  Index::open --into_symbols--> SymbolStream --finish--> (Index, SymbolRefs)
//!                                                               |
//!        RawSeries, RawSeries, ... <-- SeriesStream <--into_series
//! ```
//!
//! Writing only appends: [`IndexWriter`] goes from [`Symbols`] to [`Series`]
//! to a [`WrittenIndex`], and nothing of the file is read back. Prometheus
//! writes the length of the symbol table last and seeks; here the caller
//! either announces it ([`SymbolTotals`]) or lets the writer hold the table.
//!
//! Invariants, checked on both sides:
//!
//! - Symbols ascend strictly; so do series by their labels; so do references
//!   in a postings list.
//! - No number that was read is used before it was compared with the section
//!   it lies in, and each checksum is compared before its bytes are decoded.
//!
//! Limits of the format: a file of 64 GiB (references are 32 bits of 16
//! bytes), 2^32 symbols, and 4 GiB for the symbol table, for one postings list
//! and for the postings offset table.
//!
//! [`BlobReader`]: super::source::BlobReader

mod collector;
mod postings;
mod postings_writer;
mod reader;
mod series;
mod stats;
mod symbol_buffer;
mod symbols;
mod toc;
mod window;
mod writer;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;

pub use super::chunks::ChunkMeta;
pub use postings::{Postings, PostingsEntry, PostingsIter, PostingsTable};
pub use reader::{Index, Version};
pub use series::{LabelPair, RawSeries, SeriesStream};
pub use stats::SizeStats;
pub use symbol_buffer::{SymbolBuffer, SymbolTotals};
pub use symbols::{SymbolLookup, SymbolRefs, SymbolStream, SymbolTable};
pub use toc::Toc;
pub use writer::{IndexWriter, Series, Symbols, WrittenIndex};

/// First four bytes of the file.
pub const MAGIC: u32 = 0xBAAA_D700;

/// Bytes before the first section.
pub const HEADER_LEN: u64 = 5;

/// Series entries of version 2 begin at multiples of this many bytes.
pub const SERIES_ALIGN: u64 = 16;

/// Largest file whose series can all be referenced: 64 GiB less 16 bytes.
pub const MAX_SIZE: u64 = SERIES_ALIGN * u32::MAX as u64;
