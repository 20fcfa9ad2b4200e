//! Opens an index: header, version and table of contents.

use bytes::Bytes;

use crate::damage::Damage;
use crate::tsdb::encoding::{CRC_LEN, DecBuf, crc32c};
use crate::tsdb::error::{Corrupt, Error, Result};
use crate::tsdb::source::BlobReader;

use super::postings::{Postings, PostingsTable};
use super::series::{self, RawSeries, SeriesStream};
use super::symbols::{self, SymbolRefs, SymbolStream, SymbolTable};
use super::toc::Toc;
use super::window::Window;
use super::{HEADER_LEN, MAGIC};

/// Version of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Prometheus 2.0 and 2.1: byte offsets everywhere, nothing aligned.
    V1,
    /// Everything since: ordinals, and series at multiples of 16 bytes.
    V2,
}

/// An index whose header and table of contents are right.
///
/// Sections are read by streams that take the index and give it back, or
/// loaded whole for lookups.
pub struct Index {
    pub(super) window: Window,
    version: Version,
    toc: Toc,
    size: u64,
}

impl Index {
    /// Reads the first 5 and the last 52 bytes.
    ///
    /// # Errors
    /// [`Corrupt`] for a wrong magic number, an unknown version, a wrong
    /// checksum and sections that lie outside of the file or out of order;
    /// what reading returns.
    pub fn open(mut reader: Box<dyn BlobReader>) -> Result<Self> {
        let name = reader.name().to_owned();
        let size = reader.len();
        let corrupt = |offset: u64, what: String, damage: Damage| {
            let corrupt = Corrupt::at(0, what).because(damage);
            Error::from(corrupt.in_file(&name, offset))
        };
        if size < HEADER_LEN + Toc::LEN as u64 {
            let what = format!("index of {size} bytes is too short for header and contents");
            return Err(corrupt(0, what, Damage::IndexTruncated));
        }
        let header = reader.exact(0, HEADER_LEN as usize)?;
        let mut dec = DecBuf::new(&header);
        let magic = dec.be32()?;
        if magic != MAGIC {
            let what = format!("magic number {magic:08x} is no index");
            return Err(corrupt(0, what, Damage::IndexHeader));
        }
        let version = match dec.byte()? {
            1 => Version::V1,
            2 => Version::V2,
            other => {
                let what = format!("index has version {other}, only 1 and 2 are known");
                return Err(corrupt(4, what, Damage::IndexHeader));
            }
        };
        let start = size - Toc::LEN as u64;
        let toc = Toc::decode(&reader.exact(start, Toc::LEN)?, size)
            .map_err(|c| c.in_file(&name, start))?;
        Ok(Self {
            window: Window::new(reader),
            version,
            toc,
            size,
        })
    }

    /// Object name, for messages.
    pub fn name(&self) -> &str {
        self.window.reader().name()
    }

    /// Version of the format.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the sections begin.
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the reader back.
    pub fn into_reader(self) -> Box<dyn BlobReader> {
        self.window.into_reader()
    }

    /// Streams the symbols. The stream gives the index and the meaning of its
    /// symbol references back, which [`Self::into_series`] needs.
    ///
    /// # Errors
    /// As [`SymbolStream::new`].
    pub fn into_symbols(self) -> Result<SymbolStream> {
        SymbolStream::new(self)
    }

    /// Streams the series.
    pub fn into_series(self, refs: SymbolRefs) -> SeriesStream {
        SeriesStream::new(self, refs)
    }

    /// The meaning of symbol references without streaming the symbols first.
    /// Version 2 takes the count from the section unverified; version 1 has to
    /// read the whole table.
    ///
    /// # Errors
    /// [`Corrupt`] when the table does not fit its section; what reading
    /// returns.
    pub fn symbol_refs(&mut self) -> Result<SymbolRefs> {
        symbols::refs(self)
    }

    /// Loads the symbol table for lookups.
    ///
    /// # Errors
    /// As [`SymbolTable::load`].
    pub fn load_symbols(&mut self) -> Result<SymbolTable> {
        SymbolTable::load(self)
    }

    /// Loads the postings offset table for lookups.
    ///
    /// # Errors
    /// As [`PostingsTable::load`].
    pub fn load_postings_table(&mut self) -> Result<PostingsTable> {
        PostingsTable::load(self)
    }

    /// Reads the postings list at `offset` of the file, as a
    /// [`PostingsTable`] names it.
    ///
    /// # Errors
    /// [`Corrupt`] when it lies outside of its section, its checksum differs
    /// or its count does not fit its length; what reading returns.
    pub fn postings(&mut self, offset: u64) -> Result<Postings> {
        let section = self.toc.postings_range(self.size);
        if !section.contains(&offset) {
            let what = "postings list lies outside of its section";
            return Err(self.corrupt(offset, what));
        }
        let content = self.section(offset, "postings list")?;
        Postings::new(content)
            .map_err(|c| c.in_file(self.name(), offset + 4))
            .map_err(Error::from)
    }

    /// Reads the series that postings call `reference`.
    ///
    /// # Errors
    /// [`Corrupt`] when the reference points outside of the section or the
    /// entry is damaged; what reading returns.
    pub fn series_at(
        &mut self,
        reference: u64,
        refs: &SymbolRefs,
        out: &mut RawSeries,
    ) -> Result<()> {
        series::read_at(self, reference, refs, out)
    }

    /// A [`Corrupt`] of this file.
    #[cold]
    pub(super) fn corrupt(
        &self,
        offset: u64,
        what: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Error {
        Corrupt::at(0, what).in_file(self.name(), offset).into()
    }

    /// Content of a section `len be32 | content | crc be32` whose checksum is
    /// right. The length is compared with the file before it is read.
    pub(super) fn section(&mut self, offset: u64, what: &str) -> Result<Bytes> {
        let reader = self.window.reader_mut();
        let head = reader.exact(offset, 4)?;
        let len = DecBuf::new(&head).be32()? as usize;
        let end = offset.saturating_add((4 + len + CRC_LEN) as u64);
        if end > self.size.saturating_sub(Toc::LEN as u64) {
            let what = format!("{what} of {len} bytes ends outside of the file");
            return Err(self.corrupt(offset, what));
        }
        let body = reader.exact(offset + 4, len + CRC_LEN)?;
        let mut dec = DecBuf::new(&body);
        let crc = crc32c(dec.bytes(len)?);
        if dec.be32()? != crc {
            let corrupt = Corrupt::at(0, format!("checksum of the {what} differs"));
            let corrupt = corrupt.because(Damage::IndexChecksum);
            return Err(corrupt.in_file(self.name(), offset).into());
        }
        Ok(body.slice(..len))
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("name", &self.name())
            .field("version", &self.version)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
