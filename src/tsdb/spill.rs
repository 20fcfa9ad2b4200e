//! Tables that outgrow their share of memory go to scratch, block by block.
//!
//! ```text
//!  push --> open block --full--> Shelf: room left?  yes: held in memory
//!                                                   no:  appended to a spill file,
//!                                                        its place and CRC-32 kept
//!  read --> held: lent as it is | spilled: read back, checked
//! ```
//!
//! The codec knows no files: whoever merges hands in a [`Spill`]. What lies in
//! scratch is ours and short-lived, so its checksum is plain CRC-32 (IEEE), not
//! the CRC-32C of the block format.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Corrupt, Result};

/// Makes scratch files for tables. Files vanish when they are dropped.
pub trait Spill: Debug + Send + Sync {
    /// A new, empty file.
    ///
    /// # Errors
    /// [`super::Error::Write`] when there is no place for one.
    fn create(&self) -> Result<Box<dyn SpillFile>>;
}

/// One scratch file, written front to back and read anywhere.
pub trait SpillFile: Debug + Send {
    /// Appends bytes and returns where they begin.
    ///
    /// # Errors
    /// [`super::Error::Write`] when the disk or what may be used of it is full.
    fn append(&mut self, data: &[u8]) -> Result<u64>;

    /// Reads back from `offset` on until `out` is full.
    ///
    /// # Errors
    /// [`super::Error::Read`].
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()>;

    /// All that was written, mapped into memory; nothing may be appended any more.
    ///
    /// # Errors
    /// [`super::Error::Read`].
    fn map(&self) -> Result<Bytes>;

    /// Name for messages.
    fn name(&self) -> String;
}

/// How much a table may hold in memory, and where the rest goes.
#[derive(Debug, Clone, Default)]
pub struct Room {
    limit: Option<(u64, Arc<dyn Spill>)>,
}

impl Room {
    /// All of the table stays in memory.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// At most about `bytes` in memory, the rest in files of `spill`.
    pub fn limited(bytes: u64, spill: Arc<dyn Spill>) -> Self {
        Self {
            limit: Some((bytes, spill)),
        }
    }

    /// What is left after so many bytes are in use.
    #[must_use]
    pub fn less(&self, bytes: u64) -> Self {
        let limit = self.limit.as_ref();
        Self {
            limit: limit.map(|(all, spill)| (all.saturating_sub(bytes), Arc::clone(spill))),
        }
    }

    /// Half of it.
    #[must_use]
    pub fn half(&self) -> Self {
        self.less(self.limit.as_ref().map_or(0, |(all, _)| all / 2))
    }

    /// Whether so many bytes may be held.
    pub fn holds(&self, bytes: u64) -> bool {
        self.limit.as_ref().is_none_or(|(limit, _)| bytes <= *limit)
    }

    /// Where the rest goes; `None` if everything stays in memory.
    pub fn spill(&self) -> Option<&Arc<dyn Spill>> {
        self.limit.as_ref().map(|(_, spill)| spill)
    }
}

/// A finished block of a table.
#[derive(Debug)]
pub enum Block {
    /// In memory.
    Held(Vec<u8>),
    /// In the shelf's file.
    Spilled {
        /// Where it begins.
        at: u64,
        /// Bytes.
        len: u32,
        /// CRC-32 of the bytes.
        crc: u32,
    },
}

/// Keeps the finished blocks of one or several tables.
#[derive(Debug, Default)]
pub struct Shelf {
    room: Room,
    held: u64,
    file: Option<Box<dyn SpillFile>>,
}

impl Shelf {
    /// An empty shelf.
    pub fn new(room: Room) -> Self {
        Self {
            room,
            held: 0,
            file: None,
        }
    }

    /// Takes a finished block and leaves an empty buffer in its place.
    ///
    /// # Errors
    /// As [`SpillFile::append`].
    pub fn put(&mut self, bytes: &mut Vec<u8>) -> Result<Block> {
        let held = self.held + bytes.capacity() as u64;
        let spill = match self.room.spill() {
            Some(spill) if !self.room.holds(held) => spill,
            _ => {
                self.held = held;
                return Ok(Block::Held(std::mem::take(bytes)));
            }
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(spill.create()?),
        };
        let block = Block::Spilled {
            at: file.append(bytes)?,
            len: bytes.len() as u32,
            crc: crc32fast::hash(bytes),
        };
        bytes.clear();
        Ok(block)
    }

    /// The bytes of a block: its own, or read back into `buffer`.
    ///
    /// # Errors
    /// As [`SpillFile::read`]; [`Corrupt`] when other bytes came back than were
    /// written.
    pub fn get<'a>(&self, block: &'a Block, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let (at, len, crc) = match block {
            Block::Held(bytes) => return Ok(bytes),
            Block::Spilled { at, len, crc } => (*at, *len, *crc),
        };
        buffer.resize(len as usize, 0);
        if let Some(file) = &self.file {
            file.read(at, buffer)?;
            check(buffer, crc, at, file.as_ref())?;
        }
        Ok(buffer)
    }

    /// Bytes of memory held by blocks.
    pub fn memory(&self) -> u64 {
        self.held
    }
}

fn check(bytes: &[u8], crc: u32, at: u64, file: &dyn SpillFile) -> Result<()> {
    if crc32fast::hash(bytes) == crc {
        return Ok(());
    }
    let what = "the disk gave back other bytes than were written";
    Err(Corrupt::at(0, what).in_file(&file.name(), at).into())
}

/// A table of numbers: pushed one after the other, then looked up anywhere.
#[derive(Debug)]
pub enum Numbers {
    /// In memory.
    Held(Vec<u32>),
    /// Mapped from scratch, 4 bytes each, little-endian.
    Mapped(Bytes),
}

impl Numbers {
    /// The number at a place; `None` past the end.
    #[inline]
    pub fn get(&self, place: u32) -> Option<u32> {
        match self {
            Self::Held(numbers) => numbers.get(place as usize).copied(),
            Self::Mapped(bytes) => {
                let (words, _) = bytes.as_chunks::<4>();
                words.get(place as usize).map(|w| u32::from_le_bytes(*w))
            }
        }
    }
}

/// Builds [`Numbers`].
#[derive(Debug)]
pub enum NumbersBuilder {
    /// In memory.
    Held(Vec<u32>),
    /// On their way to scratch.
    Spilling {
        /// The file.
        file: Box<dyn SpillFile>,
        /// What is not in the file yet.
        buffer: Vec<u8>,
        /// Of all that is.
        crc: crc32fast::Hasher,
    },
}

impl NumbersBuilder {
    /// Bytes collected before they are written.
    const BUFFER: usize = 32 << 10;

    /// For about `count` numbers: held if `room` has place for them. `count`
    /// is only a hint, nothing is allocated for it.
    ///
    /// # Errors
    /// As [`Spill::create`].
    pub fn new(count: u32, room: &Room) -> Result<Self> {
        match room.spill() {
            Some(spill) if !room.holds(4 * u64::from(count)) => Ok(Self::Spilling {
                file: spill.create()?,
                buffer: Vec::with_capacity(Self::BUFFER),
                crc: crc32fast::Hasher::new(),
            }),
            _ => Ok(Self::Held(Vec::new())),
        }
    }

    /// Adds the next number.
    ///
    /// # Errors
    /// As [`SpillFile::append`].
    #[inline]
    pub fn push(&mut self, number: u32) -> Result<()> {
        match self {
            Self::Held(numbers) => numbers.push(number),
            Self::Spilling { file, buffer, crc } => {
                buffer.extend_from_slice(&number.to_le_bytes());
                if buffer.len() >= Self::BUFFER {
                    crc.update(buffer);
                    file.append(buffer)?;
                    buffer.clear();
                }
            }
        }
        Ok(())
    }

    /// Ends the table; what lies in scratch is read once and checked.
    ///
    /// # Errors
    /// As [`SpillFile::map`]; [`Corrupt`] when other bytes came back than were
    /// written.
    pub fn finish(self) -> Result<Numbers> {
        match self {
            Self::Held(mut numbers) => {
                numbers.shrink_to_fit();
                Ok(Numbers::Held(numbers))
            }
            Self::Spilling {
                mut file,
                buffer,
                mut crc,
            } => {
                crc.update(&buffer);
                if !buffer.is_empty() {
                    file.append(&buffer)?;
                }
                let mapped = file.map()?;
                check(&mapped, crc.finalize(), 0, file.as_ref())?;
                Ok(Numbers::Mapped(mapped))
            }
        }
    }
}

/// A [`Spill`] for tests whose files lie in memory and can be damaged.
#[cfg(test)]
pub(crate) mod test_support {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts what was spilled; past `full_after` bytes its disk is full.
    #[derive(Debug)]
    pub(crate) struct MemorySpill {
        pub(crate) spilled: AtomicU64,
        pub(crate) full_after: u64,
        /// Flips a bit in whatever is read back.
        pub(crate) damaged: bool,
    }

    impl MemorySpill {
        pub(crate) fn new() -> Arc<Self> {
            Self::with(u64::MAX, false)
        }

        pub(crate) fn with(full_after: u64, damaged: bool) -> Arc<Self> {
            Arc::new(Self {
                spilled: AtomicU64::new(0),
                full_after,
                damaged,
            })
        }

        pub(crate) fn bytes(&self) -> u64 {
            self.spilled.load(Ordering::Relaxed)
        }
    }

    #[derive(Debug)]
    struct MemoryFile {
        data: Mutex<Vec<u8>>,
        of: Arc<MemorySpill>,
    }

    impl Spill for Arc<MemorySpill> {
        fn create(&self) -> Result<Box<dyn SpillFile>> {
            Ok(Box::new(MemoryFile {
                data: Mutex::default(),
                of: Arc::clone(self),
            }))
        }
    }

    impl MemoryFile {
        fn bytes(&self) -> Vec<u8> {
            let mut data = self.data.lock().unwrap().clone();
            if self.of.damaged
                && let Some(last) = data.last_mut()
            {
                *last ^= 1;
            }
            data
        }
    }

    impl SpillFile for MemoryFile {
        fn append(&mut self, bytes: &[u8]) -> Result<u64> {
            let len = bytes.len() as u64;
            if self.of.spilled.fetch_add(len, Ordering::Relaxed) + len > self.of.full_after {
                return Err(crate::tsdb::Error::Write {
                    file: self.name(),
                    source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
                });
            }
            let mut data = self.data.lock().unwrap();
            let at = data.len() as u64;
            data.extend_from_slice(bytes);
            Ok(at)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            let start = offset as usize;
            out.copy_from_slice(&self.bytes()[start..start + out.len()]);
            Ok(())
        }

        fn map(&self) -> Result<Bytes> {
            Ok(Bytes::from(self.bytes()))
        }

        fn name(&self) -> String {
            "spill".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::MemorySpill;
    use super::*;

    fn limited(bytes: u64, spill: &Arc<MemorySpill>) -> Room {
        Room::limited(bytes, Arc::new(Arc::clone(spill)))
    }

    #[test]
    fn blocks_past_the_room_go_to_the_file_and_come_back() {
        let spill = MemorySpill::new();
        let mut shelf = Shelf::new(limited(250, &spill));
        let blocks: Vec<Block> = (0..10u8)
            .map(|i| shelf.put(&mut vec![i; 100]).unwrap())
            .collect();
        assert_eq!((shelf.memory(), spill.bytes()), (200, 800));
        let mut buffer = Vec::new();
        for (i, block) in blocks.iter().enumerate().rev() {
            assert_eq!(shelf.get(block, &mut buffer).unwrap(), vec![i as u8; 100]);
        }
    }

    #[test]
    fn numbers_are_the_same_wherever_they_lie() {
        let spill = MemorySpill::new();
        for room in [
            Room::unlimited(),
            limited(100_000, &spill),
            limited(7, &spill),
        ] {
            let mut builder = NumbersBuilder::new(20_000, &room).unwrap();
            for i in 0..20_000 {
                builder.push(i * 3).unwrap();
            }
            let numbers = builder.finish().unwrap();
            assert_eq!(numbers.get(0), Some(0));
            assert_eq!(numbers.get(19_999), Some(59_997));
            assert_eq!(numbers.get(20_000), None);
        }
        assert_eq!(spill.bytes(), 80_000);
    }

    #[test]
    fn what_the_disk_changed_is_found() {
        let spill = MemorySpill::with(u64::MAX, true);
        let mut shelf = Shelf::new(limited(0, &spill));
        let block = shelf.put(&mut vec![1, 2, 3]).unwrap();
        let error = shelf.get(&block, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("other bytes than were written"), "{error}");
        let mut builder = NumbersBuilder::new(1, &limited(0, &spill)).unwrap();
        builder.push(7).unwrap();
        assert!(builder.finish().is_err());
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let spill = MemorySpill::with(150, false);
        let mut shelf = Shelf::new(limited(0, &spill));
        shelf.put(&mut vec![0; 100]).unwrap();
        assert!(shelf.put(&mut vec![0; 100]).is_err());
    }
}
