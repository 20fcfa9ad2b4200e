//! Symbols on their way into a new index.

use crate::tsdb::encoding::{Append, Crc32c, DecBuf, EncBuf, uvarint_len};
use crate::tsdb::error::{Error, Result};
use crate::tsdb::spill::{Block, Room, Shelf};

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

/// A sorted symbol table, encoded as it will stand in the file: about its size
/// there plus a quarter of a byte per symbol, the blocks past the room given
/// in scratch.
#[derive(Debug, Default)]
pub struct SymbolBuffer {
    totals: SymbolTotals,
    shelf: Shelf,
    full: Vec<Block>,
    open: Vec<u8>,
    samples: Vec<Place>,
    last: Vec<u8>,
    /// The entry after the one looked up last, so that ascending lookups walk.
    cursor: (u32, Place),
    /// The block read back last.
    loaded: Loaded,
}

#[derive(Debug, Default)]
struct Loaded {
    block: Option<u32>,
    bytes: Vec<u8>,
}

impl SymbolBuffer {
    /// No symbols yet; all of them stay in memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// No symbols yet; full blocks are held as far as `room` goes.
    pub fn with_room(room: Room) -> Self {
        Self {
            shelf: Shelf::new(room),
            ..Self::default()
        }
    }

    /// Appends the next symbol and returns its ordinal.
    ///
    /// # Errors
    /// [`Error::Misuse`] when it does not follow the last one in byte order,
    /// [`Error::Limit`] past 4 GiB, [`Error::Write`] when scratch is full.
    pub fn push(&mut self, symbol: &[u8]) -> Result<u32> {
        let ordinal = self.totals.count;
        check_order(ordinal, &self.last, symbol)?;
        self.totals.add(symbol)?;
        let len = symbol.len() + uvarint_len(symbol.len() as u64);
        if !self.open.is_empty() && self.open.len() + len > BLOCK {
            self.full.push(self.shelf.put(&mut self.open)?);
        }
        if self.open.is_empty() {
            self.open.reserve_exact(BLOCK.max(len));
        }
        if ordinal.is_multiple_of(SAMPLE) {
            self.samples.push(Place {
                block: self.full.len() as u32,
                at: self.open.len() as u32,
            });
        }
        self.open.put_uvarint_bytes(symbol);
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
        let places = self.samples.capacity() * size_of::<Place>();
        let blocks = self.full.capacity() * size_of::<Block>();
        let own = self.open.capacity() + self.loaded.bytes.capacity();
        self.shelf.memory() as usize + own + places + blocks
    }

    /// Writes the entries and adds them to the checksum.
    pub(super) fn write_to(&mut self, out: &mut Append, crc: &mut Crc32c) -> Result<()> {
        for i in 0..=self.full.len() as u32 {
            let block = self.block(i)?;
            crc.update(block);
            out.write(block)?;
        }
        Ok(())
    }

    /// The bytes of a block; the last one is the open one.
    fn block(&mut self, i: u32) -> Result<&[u8]> {
        let Some(block) = self.full.get(i as usize) else {
            return Ok(&self.open);
        };
        if let Block::Held(bytes) = block {
            return Ok(bytes);
        }
        if self.loaded.block != Some(i) {
            self.loaded.block = None;
            self.shelf.get(block, &mut self.loaded.bytes)?;
            self.loaded.block = Some(i);
        }
        Ok(&self.loaded.bytes)
    }

    /// Reads one entry and moves the place behind it.
    fn entry(&mut self, place: &mut Place) -> Result<Option<&[u8]>> {
        if place.at as usize == self.block(place.block)?.len() {
            *place = Place {
                block: place.block + 1,
                at: 0,
            };
        }
        let block = self.block(place.block)?;
        let mut dec = DecBuf::new(block.get(place.at as usize..).unwrap_or_default());
        let Ok(symbol) = dec.uvarint_bytes() else {
            return Ok(None);
        };
        place.at += dec.position() as u32;
        Ok(Some(symbol))
    }

    fn walk(&mut self, ordinal: u32) -> Result<Option<&[u8]>> {
        if ordinal >= self.totals.count {
            return Ok(None);
        }
        let sampled = ordinal - ordinal % SAMPLE;
        let (mut at, mut place) = self.cursor;
        if at < sampled || at > ordinal {
            at = sampled;
            match self.samples.get((ordinal / SAMPLE) as usize) {
                Some(sample) => place = *sample,
                None => return Ok(None),
            }
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
        self.walk(ordinal)?
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
    use std::sync::Arc;

    use super::*;
    use crate::tsdb::spill::test_support::MemorySpill;

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
    fn entries_longer_than_a_block_are_found_in_memory_and_in_scratch() {
        let symbols: Vec<Vec<u8>> = (0..90u8)
            .map(|i| vec![i; if i % 7 == 0 { BLOCK + 9 } else { BLOCK / 3 }])
            .collect();
        let bytes: usize = symbols.iter().map(Vec::len).sum();
        let spill = MemorySpill::new();
        let scarce = Room::limited(1 << 20, Arc::new(Arc::clone(&spill)));
        for (room, memory) in [(Room::unlimited(), bytes * 3 / 2), (scarce, 2 << 20)] {
            let mut buffer = SymbolBuffer::with_room(room);
            for symbol in &symbols {
                buffer.push(symbol).unwrap();
            }
            let order = (0..90).chain((0..90).rev()).chain((0..90).step_by(13));
            for i in order {
                assert!(buffer.symbol(i as u32).unwrap() == symbols[i]);
            }
            assert!(buffer.memory() < memory);
        }
        assert!(spill.bytes() > bytes as u64 - (2 << 20));
    }
}
