//! Symbols on their way into a new index.

use crate::tsdb::encoding::{Append, Crc32c, DecBuf, EncBuf, uvarint_len};
use crate::tsdb::error::{Error, Result};

use super::symbols::SymbolLookup;

/// What has to be known of all symbols before the first one is written.
///
/// A first pass over the merged symbols counts them with [`Self::add`]; then
/// the table can be written while a second pass goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SymbolTotals {
    count: u32,
    bytes: u64,
}

impl SymbolTotals {
    /// Counts one symbol.
    ///
    /// # Errors
    /// [`Error::Limit`] when the table would exceed 4 GiB.
    pub fn add(&mut self, symbol: &[u8]) -> Result<()> {
        let len = symbol.len() as u64;
        self.bytes = self
            .bytes
            .saturating_add(len)
            .saturating_add(uvarint_len(len) as u64);
        // Each entry has at least one byte: the count cannot overflow first.
        if self.bytes + 4 > u64::from(u32::MAX) {
            return Err(Error::Limit(
                "symbol table of the index would exceed 4 GiB: compact fewer blocks at once \
                 (lower --debug.max-compaction-level)"
                    .to_owned(),
            ));
        }
        self.count += 1;
        Ok(())
    }

    /// Number of symbols.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the entries with their length prefixes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Entries never cross blocks, and a full block is never copied again.
const BLOCK: usize = 256 << 10;

/// Every so many symbols the buffer remembers a position.
const SAMPLE: u32 = 32;

/// Where an entry begins.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    block: u32,
    at: u32,
}

/// A sorted symbol table in memory, encoded as it will stand in the file:
/// about its size there plus a quarter of a byte per symbol.
#[derive(Debug, Default)]
pub struct SymbolBuffer {
    totals: SymbolTotals,
    blocks: Vec<Vec<u8>>,
    samples: Vec<Place>,
    last: Vec<u8>,
    /// The entry after the one looked up last, so that ascending lookups walk.
    cursor: (u32, Place),
}

impl SymbolBuffer {
    /// No symbols yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the next symbol and returns its ordinal.
    ///
    /// # Errors
    /// [`Error::Misuse`] when it does not follow the last one in byte order,
    /// [`Error::Limit`] past 4 GiB.
    pub fn push(&mut self, symbol: &[u8]) -> Result<u32> {
        let ordinal = self.totals.count;
        check_order(ordinal, &self.last, symbol)?;
        self.totals.add(symbol)?;
        let len = symbol.len() + uvarint_len(symbol.len() as u64);
        let full = self.blocks.last().is_none_or(|b| b.len() + len > BLOCK);
        if full {
            self.blocks.push(Vec::with_capacity(BLOCK.max(len)));
        }
        let number = self.blocks.len() - 1;
        if let Some(block) = self.blocks.last_mut() {
            if ordinal.is_multiple_of(SAMPLE) {
                self.samples.push(Place {
                    block: number as u32,
                    at: block.len() as u32,
                });
            }
            block.put_uvarint_bytes(symbol);
        }
        self.last.clear();
        self.last.extend_from_slice(symbol);
        Ok(ordinal)
    }

    /// Count and bytes so far.
    pub fn totals(&self) -> SymbolTotals {
        self.totals
    }

    /// Bytes of memory that the buffer holds.
    pub fn memory(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Vec::capacity).sum();
        blocks + self.samples.capacity() * size_of::<Place>()
    }

    /// Writes the entries and adds them to the checksum.
    pub(super) fn write_to(&self, out: &mut Append, crc: &mut Crc32c) -> Result<()> {
        for block in &self.blocks {
            crc.update(block);
            out.write(block)?;
        }
        Ok(())
    }

    /// Reads one entry and moves the place behind it.
    fn entry(&self, place: &mut Place) -> Option<&[u8]> {
        let mut block = self.blocks.get(place.block as usize)?;
        if place.at as usize == block.len() {
            *place = Place {
                block: place.block + 1,
                at: 0,
            };
            block = self.blocks.get(place.block as usize)?;
        }
        let mut dec = DecBuf::new(block.get(place.at as usize..)?);
        let symbol = dec.uvarint_bytes().ok()?;
        place.at += dec.position() as u32;
        Some(symbol)
    }

    fn walk(&mut self, ordinal: u32) -> Option<&[u8]> {
        if ordinal >= self.totals.count {
            return None;
        }
        let sampled = ordinal - ordinal % SAMPLE;
        let (mut at, mut place) = self.cursor;
        if at < sampled || at > ordinal {
            at = sampled;
            place = *self.samples.get((ordinal / SAMPLE) as usize)?;
        }
        while at < ordinal {
            self.entry(&mut place)?;
            at += 1;
        }
        let mut next = place;
        self.entry(&mut next)?;
        self.cursor = (ordinal + 1, next);
        self.entry(&mut place)
    }
}

impl SymbolLookup for SymbolBuffer {
    fn symbol(&mut self, ordinal: u32) -> Result<&[u8]> {
        let count = self.totals.count;
        self.walk(ordinal)
            .ok_or_else(|| Error::Misuse(format!("symbol {ordinal} of {count}")))
    }
}

/// Symbols must ascend strictly; `ordinal` is that of `symbol`.
pub(super) fn check_order(ordinal: u32, last: &[u8], symbol: &[u8]) -> Result<()> {
    if ordinal > 0 && symbol <= last {
        return Err(Error::Misuse(format!(
            "symbol {:?} was added after {:?}",
            String::from_utf8_lossy(symbol),
            String::from_utf8_lossy(last),
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_beyond_4_gib_is_refused_with_a_cure() {
        // The length of the section counts 4 bytes more than its entries.
        let room = u64::from(u32::MAX) - 4;
        let mut totals = SymbolTotals {
            count: 7,
            bytes: room - 3,
        };
        totals.add(b"ab").unwrap();
        assert_eq!((totals.count(), totals.bytes()), (8, room));
        let error = totals.add(b"").unwrap_err();
        assert!(matches!(error, Error::Limit(_)));
        assert!(error.to_string().contains("--debug.max-compaction-level"));
    }

    #[test]
    fn entries_longer_than_a_block_are_found() {
        let symbols: Vec<Vec<u8>> = (0..90u8)
            .map(|i| vec![i; if i % 7 == 0 { BLOCK + 9 } else { BLOCK / 3 }])
            .collect();
        let mut buffer = SymbolBuffer::new();
        for symbol in &symbols {
            buffer.push(symbol).unwrap();
        }
        let order = (0..90).chain((0..90).rev()).chain((0..90).step_by(13));
        for i in order {
            assert!(buffer.symbol(i as u32).unwrap() == symbols[i]);
        }
        let bytes: usize = symbols.iter().map(Vec::len).sum();
        assert!(buffer.memory() < bytes * 3 / 2);
    }
}
