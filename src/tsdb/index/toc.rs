//! The table of contents, the last 52 bytes of the file.
//!
//! ```text
//!  symbols | series | label indices | label offset table | postings | postings offset table | crc
//!    be64     be64        be64               be64             be64             be64           be32
//! ```
//!
//! The crc covers the 48 bytes before it. Offsets count from the start of the
//! file. In the *file* the label offset table stands after the postings, so
//! the order of fields here is not the order of sections. An offset of 0 means
//! that the section is missing.

use crate::damage::Damage;
use crate::tsdb::encoding::{CRC_LEN, DecBuf, EncBuf, crc32c};
use crate::tsdb::error::{Corrupt, Result};

use super::HEADER_LEN;

/// Where each section of an index begins, bytes from the start of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Toc {
    /// Symbol table.
    pub symbols: u64,
    /// First series entry, before its padding.
    pub series: u64,
    /// Label indices; where series end if there are none.
    pub label_indices: u64,
    /// Label offset table; equal to the next section if there is none.
    pub label_indices_table: u64,
    /// First postings list, before its padding.
    pub postings: u64,
    /// Postings offset table.
    pub postings_table: u64,
}

impl Toc {
    /// Bytes at the end of the file.
    pub const LEN: usize = 6 * 8 + CRC_LEN;

    /// Decodes the last [`Self::LEN`] bytes of a file of `size` bytes and
    /// checks that the sections lie inside it and in order.
    ///
    /// # Errors
    /// [`Corrupt`] with offsets counted from the start of the table.
    pub fn decode(data: &[u8], size: u64) -> Result<Self, Corrupt> {
        let mut dec = DecBuf::new(data);
        let fields = dec.bytes(Self::LEN - CRC_LEN)?;
        if dec.be32()? != crc32c(fields) {
            let corrupt = Corrupt::at(0, "checksum of the table of contents differs");
            return Err(corrupt.because(Damage::IndexChecksum));
        }
        let mut dec = DecBuf::new(fields);
        let toc = Self {
            symbols: dec.be64()?,
            series: dec.be64()?,
            label_indices: dec.be64()?,
            label_indices_table: dec.be64()?,
            postings: dec.be64()?,
            postings_table: dec.be64()?,
        };
        toc.check(size)?;
        Ok(toc)
    }

    /// Appends the table with its checksum.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        let start = buf.len();
        for offset in [
            self.symbols,
            self.series,
            self.label_indices,
            self.label_indices_table,
            self.postings,
            self.postings_table,
        ] {
            buf.put_be64(offset);
        }
        let crc = crc32c(buf.get(start..).unwrap_or_default());
        buf.put_be32(crc);
    }

    /// The sections in the order of the file.
    fn in_file_order(&self) -> [(&'static str, u64); 6] {
        [
            ("symbols", self.symbols),
            ("series", self.series),
            ("label indices", self.label_indices),
            ("postings", self.postings),
            ("label offset table", self.label_indices_table),
            ("postings offset table", self.postings_table),
        ]
    }

    fn check(&self, size: u64) -> Result<(), Corrupt> {
        let end = size.saturating_sub(Self::LEN as u64);
        let mut before = HEADER_LEN;
        for (name, offset) in self.in_file_order() {
            if offset == 0 {
                continue;
            }
            if offset < before || offset > end {
                let what =
                    format!("section of {name} begins at {offset}, outside of {before} to {end}");
                return Err(Corrupt::at(0, what));
            }
            before = offset;
        }
        Ok(())
    }

    /// Where the section that begins at `start` must have ended: at the next
    /// one, or at the table of contents of a file of `size` bytes. Two
    /// sections may begin at one place when the first is empty; `rank` counts
    /// sections in the order of the file.
    fn end_of(&self, rank: usize, size: u64) -> u64 {
        self.in_file_order()
            .into_iter()
            .skip(rank + 1)
            .map(|(_, offset)| offset)
            .find(|&offset| offset != 0)
            .unwrap_or(size.saturating_sub(Self::LEN as u64))
    }

    /// Bytes `start..end` in which the symbol table must lie; empty if missing.
    pub(super) fn symbols_range(&self, size: u64) -> std::ops::Range<u64> {
        range(self.symbols, self.end_of(0, size))
    }

    /// Bytes of the series entries with padding; empty if missing.
    pub(super) fn series_range(&self, size: u64) -> std::ops::Range<u64> {
        range(self.series, self.end_of(1, size))
    }

    /// Bytes in which the postings lists must lie; empty if missing.
    pub(super) fn postings_range(&self, size: u64) -> std::ops::Range<u64> {
        range(self.postings, self.end_of(3, size))
    }

    /// Bytes in which the postings offset table must lie; empty if missing.
    pub(super) fn postings_table_range(&self, size: u64) -> std::ops::Range<u64> {
        range(self.postings_table, self.end_of(5, size))
    }
}

fn range(start: u64, end: u64) -> std::ops::Range<u64> {
    if start == 0 { 0..0 } else { start..end }
}
