//! The symbol table: every string of the block's labels, sorted, once.
//!
//! ```text
//!  len be32 | count be32 | uvarint len, bytes | uvarint len, bytes | ... | crc be32
//!           '-------------------- covered by len and crc ----------------'
//! ```
//!
//! [`SymbolStream`] reads the table front to back and holds one window of it;
//! [`SymbolTable`] keeps it for lookups. Strings are bytes here: labels should
//! be UTF-8, but a block with others is read as Prometheus reads it, and the
//! order of bytes is the order of the table either way.

use std::ops::Range;

use bytes::Bytes;

use crate::damage::Damage;
use crate::tsdb::encoding::{CRC_LEN, Crc32c, DecBuf, MAX_UVARINT32_LEN};
use crate::tsdb::error::{Corrupt, Error, Result};

use super::reader::{Index, Version};

/// Bytes of length and count.
const HEAD: usize = 8;

/// Consumed bytes are added to the checksum at least this often, while they
/// are still in the cache.
const HASH_STEP: u64 = 32 << 10;

/// Gives the string of an ordinal back.
///
/// Calls tend to come in ascending order within a label name; an
/// implementation that reads a file can make use of that.
pub trait SymbolLookup {
    /// The string of `ordinal`, valid until the next call.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an ordinal beyond the table; whatever the source
    /// of the strings returns.
    fn symbol(&mut self, ordinal: u32) -> Result<&[u8]>;
}

/// How series entries of one index name their symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolRefs(Refs);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Refs {
    /// Version 2: the ordinal itself, below this count.
    Ordinals(u32),
    /// Version 1: where the string begins in the file, ascending.
    Offsets(Vec<u32>),
}

impl SymbolRefs {
    /// Number of symbols.
    pub fn count(&self) -> u32 {
        match &self.0 {
            Refs::Ordinals(count) => *count,
            // One offset was added per symbol, and their count is 32 bits.
            Refs::Offsets(offsets) => offsets.len() as u32,
        }
    }

    /// The ordinal that a series entry means, if there is such a symbol.
    #[inline]
    pub fn ordinal(&self, stored: u32) -> Option<u32> {
        match &self.0 {
            Refs::Ordinals(count) => (stored < *count).then_some(stored),
            Refs::Offsets(offsets) => offsets.binary_search(&stored).ok().map(|i| i as u32),
        }
    }
}

/// Where the table lies: bytes of the entries, and their number.
struct Extent {
    entries: Range<u64>,
    count: u32,
}

/// Reads length and count and compares both with what there is room for.
fn extent(index: &mut Index) -> Result<Option<Extent>> {
    let section = index.toc().symbols_range(index.size());
    if section.is_empty() {
        return Ok(None);
    }
    let room = section.end - section.start;
    if room < (HEAD + CRC_LEN) as u64 {
        return Err(index.corrupt(section.start, "symbol table has no room for its length"));
    }
    let mut head = DecBuf::new(index.window.at(section.start, HEAD)?);
    let (len, count) = (head.be32()?, head.be32()?);
    // The length covers the count, so 4 bytes of it are no entries.
    let fits = u64::from(len) + 8 <= room && len >= 4;
    if !fits || count > len - 4 {
        let what = format!("symbol table of {len} bytes and {count} strings has {room} bytes");
        return Err(index.corrupt(section.start, what));
    }
    let first = section.start + HEAD as u64;
    Ok(Some(Extent {
        entries: first..first + u64::from(len - 4),
        count,
    }))
}

/// The refs of an index without reading its strings, if that is possible.
pub(super) fn refs(index: &mut Index) -> Result<SymbolRefs> {
    match index.version() {
        Version::V2 => {
            let count = extent(index)?.map_or(0, |e| e.count);
            Ok(SymbolRefs(Refs::Ordinals(count)))
        }
        Version::V1 => SymbolTable::load(index).map(|table| table.refs()),
    }
}

/// Yields the symbols of an index in ascending order.
///
/// ```text
///  while stream.advance()? { use(stream.ordinal(), stream.current()) }
///  let (index, refs) = stream.finish()?;
/// ```
#[derive(Debug)]
pub struct SymbolStream {
    index: Index,
    /// Where the next entry begins, and where the last one must end.
    entries: Range<u64>,
    count: u32,
    seen: u32,
    current: Vec<u8>,
    crc: Crc32c,
    /// Everything before is in the checksum.
    hashed: u64,
    /// Version 1 only: where each string began.
    offsets: Vec<u32>,
    verified: bool,
}

impl SymbolStream {
    /// Stands before the first symbol.
    ///
    /// # Errors
    /// [`Corrupt`] when length or count exceed the section; what reading
    /// returns.
    pub fn new(mut index: Index) -> Result<Self> {
        let extent = extent(&mut index)?;
        let verified = extent.is_none();
        let (entries, count) = extent.map_or((0..0, 0), |e| (e.entries, e.count));
        Ok(Self {
            hashed: entries.start.saturating_sub(4),
            index,
            entries,
            count,
            seen: 0,
            current: Vec::new(),
            crc: Crc32c::new(),
            offsets: Vec::new(),
            verified,
        })
    }

    /// Number of symbols in the table.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The index that is being read.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Moves to the next symbol; `false` after the last, when the checksum of
    /// the whole table has been found right.
    ///
    /// # Errors
    /// [`Corrupt`] for a damaged entry, symbols out of order and a wrong
    /// checksum; what reading returns.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        match self.step() {
            Err(Error::Corrupt(found)) => Err(self.explain(found).into()),
            other => other,
        }
    }

    /// Tells bytes that were changed from bytes that were written wrongly: the
    /// checksum stands behind the last string and so comes too late by itself.
    #[cold]
    fn explain(&mut self, found: Corrupt) -> Corrupt {
        let end = self.entries.end;
        if self.verified || found.damage == Damage::IndexChecksum {
            return found;
        }
        while self.hashed < end {
            let want = (end - self.hashed).min(HASH_STEP) as usize;
            let Ok(bytes) = self.index.window.at(self.hashed, want) else {
                return found;
            };
            self.crc.update(bytes.get(..want).unwrap_or(bytes));
            self.hashed += want as u64;
        }
        let stored = self.index.window.at(end, CRC_LEN);
        match stored.and_then(|bytes| Ok(DecBuf::new(bytes).be32()?)) {
            Ok(crc) if crc != self.crc.value() => {
                let what = "and the checksum of the symbol table differs";
                Corrupt {
                    what: format!("{}, {what}", found.what).into(),
                    damage: Damage::IndexChecksum,
                    ..found
                }
            }
            _ => found,
        }
    }

    fn step(&mut self) -> Result<bool> {
        if self.seen == self.count {
            self.verify_end()?;
            return Ok(false);
        }
        let at = self.entries.start;
        let left = self.entries.end - at;
        self.require(left.min(MAX_UVARINT32_LEN as u64) as usize)?;
        let mut dec = DecBuf::new(self.index.window.resident(at));
        let len = dec.uvarint64().map_err(|c| self.in_file(c, at))?;
        let prefix = dec.position() as u64;
        // Compared with the section before anything is loaded or copied.
        if prefix > left || len > left - prefix {
            let what = format!("symbol of {len} bytes ends outside of the table");
            return Err(self.index.corrupt(at, what));
        }
        self.require((prefix + len) as usize)?;
        let entry = self.index.window.resident(at);
        let symbol = entry
            .get(prefix as usize..(prefix + len) as usize)
            .unwrap_or_default();
        if self.seen > 0 && symbol <= self.current.as_slice() {
            return Err(self.unsorted(at));
        }
        self.current.clear();
        self.current.extend_from_slice(symbol);
        self.seen += 1;
        self.entries.start = at + prefix + len;
        if self.index.version() == Version::V1 {
            let what = "symbol lies beyond 4 GiB, where version 1 cannot name it";
            let offset = u32::try_from(at).map_err(|_| self.index.corrupt(at, what))?;
            self.offsets.push(offset);
        }
        if self.entries.start - self.hashed >= HASH_STEP {
            self.hash_consumed();
        }
        Ok(true)
    }

    /// The next symbol, or `None` after the last; see [`Self::advance`].
    ///
    /// # Errors
    /// As [`Self::advance`].
    #[expect(clippy::should_implement_trait, reason = "lends from itself")]
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.advance()?.then_some(self.current.as_slice()))
    }

    /// The symbol of the last [`Self::advance`]; empty before the first.
    #[inline]
    pub fn current(&self) -> &[u8] {
        &self.current
    }

    /// The ordinal of [`Self::current`].
    #[inline]
    pub fn ordinal(&self) -> u32 {
        self.seen.saturating_sub(1)
    }

    /// Reads what is left, so that order and checksum are checked in any case,
    /// and gives the index back together with the meaning of its references.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn finish(mut self) -> Result<(Index, SymbolRefs)> {
        while self.advance()? {}
        let refs = match self.index.version() {
            Version::V1 => Refs::Offsets(self.offsets),
            Version::V2 => Refs::Ordinals(self.count),
        };
        Ok((self.index, SymbolRefs(refs)))
    }

    /// Makes `want` bytes of the next entry resident.
    fn require(&mut self, want: usize) -> Result<()> {
        let at = self.entries.start;
        if self.index.window.resident(at).len() < want {
            // The window moves on: its consumed part goes into the checksum now.
            self.hash_consumed();
            self.index.window.load(at, want)?;
        }
        Ok(())
    }

    fn hash_consumed(&mut self) {
        let len = (self.entries.start - self.hashed) as usize;
        let resident = self.index.window.resident(self.hashed);
        self.crc.update(resident.get(..len).unwrap_or_default());
        self.hashed = self.entries.start;
    }

    fn verify_end(&mut self) -> Result<()> {
        if self.verified {
            return Ok(());
        }
        let Range { start: at, end } = self.entries.clone();
        if at != end {
            let what = format!("{} bytes follow the last symbol", end - at);
            return Err(self.index.corrupt(at, what));
        }
        self.hash_consumed();
        let mut stored = DecBuf::new(self.index.window.at(end, CRC_LEN)?);
        if stored.be32()? != self.crc.value() {
            let corrupt = Corrupt::at(0, "checksum of the symbol table differs");
            return Err(self.in_file(corrupt.because(Damage::IndexChecksum), end));
        }
        self.verified = true;
        Ok(())
    }

    #[cold]
    fn unsorted(&self, at: u64) -> Error {
        let corrupt = Corrupt::at(0, "symbols are not in ascending order");
        self.in_file(corrupt.because(Damage::UnsortedSymbols), at)
    }

    fn in_file(&self, corrupt: Corrupt, start: u64) -> Error {
        corrupt.in_file(self.index.name(), start).into()
    }
}

/// Every so many symbols the table remembers a position.
const SAMPLE: u32 = 32;

/// All symbols of one index, for lookups.
///
/// The strings stay in the bytes of the reader: over a mapped file or a blob
/// in memory nothing is copied, and 4 bytes are added for 32 symbols.
#[derive(Debug, Clone)]
pub struct SymbolTable {
    entries: Bytes,
    /// Where the entries begin in the file.
    start: u64,
    samples: Vec<u32>,
    count: u32,
    version: Version,
}

impl SymbolTable {
    /// Reads and checks the whole table.
    ///
    /// # Errors
    /// As [`SymbolStream::advance`].
    pub fn load(index: &mut Index) -> Result<Self> {
        let version = index.version();
        let Some(extent) = extent(index)? else {
            return Ok(Self {
                entries: Bytes::new(),
                start: 0,
                samples: Vec::new(),
                count: 0,
                version,
            });
        };
        let start = extent.entries.start;
        let section = index.section(start - HEAD as u64, "symbol table")?;
        let mut table = Self {
            entries: section.slice(4..),
            start,
            samples: Vec::new(),
            count: extent.count,
            version,
        };
        table
            .scan()
            .map_err(|c| Error::from(c.in_file(index.name(), start)))?;
        Ok(table)
    }

    /// Decodes every entry once, so that lookups cannot fail later.
    fn scan(&mut self) -> Result<(), Corrupt> {
        let entries = self.entries.clone();
        let mut dec = DecBuf::new(&entries);
        let mut last: &[u8] = &[];
        for ordinal in 0..self.count {
            let at = dec.position();
            if ordinal % SAMPLE == 0 {
                // The section is at most 4 GiB.
                self.samples.push(at as u32);
            }
            let symbol = dec.uvarint_bytes()?;
            if ordinal > 0 && symbol <= last {
                let corrupt = Corrupt::at(at, "symbols are not in ascending order");
                return Err(corrupt.because(Damage::UnsortedSymbols));
            }
            last = symbol;
        }
        if !dec.is_empty() {
            let what = format!("{} bytes follow the last symbol", dec.remaining());
            return Err(dec.corrupt(what));
        }
        Ok(())
    }

    /// Number of symbols.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// True for a table without symbols.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The string of an ordinal.
    pub fn get(&self, ordinal: u32) -> Option<&[u8]> {
        if ordinal >= self.count {
            return None;
        }
        let sample = *self.samples.get((ordinal / SAMPLE) as usize)?;
        let mut dec = DecBuf::new(self.entries.get(sample as usize..)?);
        for _ in 0..ordinal % SAMPLE {
            dec.uvarint_bytes().ok()?;
        }
        dec.uvarint_bytes().ok()
    }

    /// The string of an ordinal for a message: lossy, and never missing.
    pub fn display(&self, ordinal: u32) -> String {
        self.get(ordinal).map_or_else(
            || format!("<symbol {ordinal}>"),
            |s| String::from_utf8_lossy(s).into_owned(),
        )
    }

    /// The ordinal of a string.
    pub fn find(&self, symbol: &[u8]) -> Option<u32> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(symbol) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All symbols in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut dec = DecBuf::new(&self.entries);
        std::iter::from_fn(move || dec.uvarint_bytes().ok())
    }

    /// How series entries name these symbols.
    pub fn refs(&self) -> SymbolRefs {
        SymbolRefs(match self.version {
            Version::V2 => Refs::Ordinals(self.count),
            Version::V1 => {
                let mut dec = DecBuf::new(&self.entries);
                let mut offsets = Vec::new();
                for _ in 0..self.count {
                    // A string beyond 4 GiB has no name that an entry could hold.
                    let at = self.start + dec.position() as u64;
                    offsets.push(u32::try_from(at).unwrap_or(u32::MAX));
                    let _ = dec.uvarint_bytes();
                }
                Refs::Offsets(offsets)
            }
        })
    }
}

impl SymbolLookup for SymbolTable {
    fn symbol(&mut self, ordinal: u32) -> Result<&[u8]> {
        let count = self.count;
        self.get(ordinal)
            .ok_or_else(|| Error::Misuse(format!("symbol {ordinal} of {count}")))
    }
}
