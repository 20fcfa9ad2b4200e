//! Reads records of one segment without copying them.

use std::fmt;

use bytes::Bytes;

use crate::damage::Damage;
use crate::tsdb::encoding::{CRC_LEN, DecBuf, MAX_UVARINT32_LEN, crc32c};
use crate::tsdb::error::{Corrupt, Error, Result};
use crate::tsdb::source::BlobReader;

use super::{ChunkRef, MAGIC, SEGMENT_HEADER_LEN, VERSION};

/// Asked for when the length of a record is not yet known: most chunks of 120
/// samples are shorter, so the first request is usually the only one.
const USUAL_RECORD: usize = 1 << 10;

/// One chunk as it stands in its segment.
#[derive(Clone)]
pub struct ChunkRecord {
    framed: Bytes,
    reference: ChunkRef,
    prefix: u8,
    encoding: u8,
}

impl ChunkRecord {
    /// Length, encoding, data and checksum: ready to stand in another segment.
    pub fn framed(&self) -> &Bytes {
        &self.framed
    }

    /// The encoding byte as stored.
    pub fn encoding(&self) -> u8 {
        self.encoding
    }

    /// Where the record was read.
    pub fn reference(&self) -> ChunkRef {
        self.reference
    }

    /// The chunk's own bytes.
    pub fn data(&self) -> &[u8] {
        self.framed.get(self.data_range()).unwrap_or_default()
    }

    /// The chunk's own bytes, sharing the memory of the record.
    pub fn data_bytes(&self) -> Bytes {
        self.framed.slice(self.data_range())
    }

    /// Compares the checksum. Kept apart from reading so that it can run on
    /// another thread.
    ///
    /// # Errors
    /// [`Corrupt`] with an offset from the start of the segment; name the file
    /// with [`Corrupt::in_file`] and a start of 0.
    pub fn verify(&self) -> Result<(), Corrupt> {
        let (framed, stored) = self.framed.split_at(self.framed.len() - CRC_LEN);
        let covered = framed.get(usize::from(self.prefix)..).unwrap_or_default();
        if DecBuf::new(stored).be32()? == crc32c(covered) {
            return Ok(());
        }
        let at = self.reference.offset() as usize;
        let corrupt = Corrupt::at(at, "checksum of the chunk differs");
        Err(corrupt.because(Damage::ChunkChecksum))
    }

    /// Parsing made sure that the record has a prefix, an encoding byte and a
    /// checksum, so the range is inside.
    fn data_range(&self) -> std::ops::Range<usize> {
        usize::from(self.prefix) + 1..self.framed.len() - CRC_LEN
    }
}

impl fmt::Debug for ChunkRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkRecord")
            .field("reference", &self.reference)
            .field("encoding", &self.encoding)
            .field("bytes", &self.framed.len())
            .finish_non_exhaustive()
    }
}

/// Lengths of the parts of a record, taken from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the length.
    pub(super) prefix: usize,
    /// Bytes of the chunk itself.
    pub(super) data: u64,
}

impl Frame {
    /// Decodes the length, which has at most 5 bytes.
    pub(super) fn decode(head: &[u8]) -> Result<Self, Corrupt> {
        let head = head.get(..MAX_UVARINT32_LEN).unwrap_or(head);
        let mut dec = DecBuf::new(head);
        let data = dec.uvarint64()?;
        Ok(Self {
            prefix: dec.position(),
            data,
        })
    }

    /// Bytes of the whole record.
    pub(super) fn total(self) -> u64 {
        self.data + (self.prefix + 1 + CRC_LEN) as u64
    }
}

/// Reads records of one segment, best in ascending order.
pub struct SegmentReader {
    reader: Box<dyn BlobReader>,
    segment: u32,
    size: u64,
    window: Bytes,
    start: u64,
}

impl SegmentReader {
    /// Checks the header of the file that is segment number `segment`, counted
    /// from 0.
    ///
    /// # Errors
    /// [`Corrupt`] for a file that is too short, no segment or of another
    /// version; what reading returns.
    pub fn open(segment: u32, mut reader: Box<dyn BlobReader>) -> Result<Self> {
        let header = reader.exact(0, SEGMENT_HEADER_LEN as usize)?;
        let mut dec = DecBuf::new(&header);
        let (magic, version) = (dec.be32()?, dec.byte()?);
        let wrong = if magic != MAGIC {
            Some((0, format!("magic number {magic:08x} is no chunk segment")))
        } else if version != VERSION {
            let what = format!("chunk segment has version {version}, only {VERSION} is known");
            Some((4, what))
        } else {
            None
        };
        if let Some((at, what)) = wrong {
            let corrupt = Corrupt::at(at, what).because(Damage::SegmentHeader);
            return Err(corrupt.in_file(reader.name(), 0).into());
        }
        Ok(Self {
            size: reader.len(),
            reader,
            segment,
            window: Bytes::new(),
            start: 0,
        })
    }

    /// Object name, for messages.
    pub fn name(&self) -> &str {
        self.reader.name()
    }

    /// Size of the segment in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the record at `reference`. Its checksum is not yet compared, see
    /// [`ChunkRecord::verify`].
    ///
    /// # Errors
    /// [`Corrupt`] when the record does not lie inside the segment,
    /// [`Error::Misuse`] when it lies in another one; what reading returns.
    pub fn record(&mut self, reference: impl Into<ChunkRef>) -> Result<ChunkRecord> {
        let reference = reference.into();
        if reference.segment() != self.segment {
            let (wanted, ours) = (reference.segment(), self.segment);
            let what = format!("a chunk of segment {wanted} was sought in segment {ours}");
            return Err(Error::Misuse(what));
        }
        let offset = reference.offset();
        if offset < SEGMENT_HEADER_LEN || u64::from(offset) >= self.size {
            let size = self.size;
            let what = format!("chunk lies outside of its segment of {size} bytes");
            return Err(self.truncated(offset, what));
        }
        let at = u64::from(offset);
        let left = self.size - at;
        self.require(at, left.min(MAX_UVARINT32_LEN as u64) as usize)?;
        let frame = Frame::decode(self.resident(at))
            .map_err(|c| Error::from(c.in_file(self.reader.name(), at)))?;
        // Compared with the segment before anything is loaded.
        if frame.total() > left {
            let what = format!("chunk of {} bytes ends outside of its segment", frame.data);
            return Err(self.truncated(offset, what));
        }
        let total = frame.total() as usize;
        self.require(at, total)?;
        let skip = (at - self.start) as usize;
        let framed = self.window.slice(skip..skip + total);
        let encoding = framed.get(frame.prefix).copied().unwrap_or_default();
        Ok(ChunkRecord {
            framed,
            reference,
            // At most 5.
            prefix: frame.prefix as u8,
            encoding,
        })
    }

    /// Gives the reader back.
    pub fn into_reader(self) -> Box<dyn BlobReader> {
        self.reader
    }

    /// What lies in memory from `offset` on.
    fn resident(&self, offset: u64) -> &[u8] {
        offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| self.window.get(skip..))
            .unwrap_or_default()
    }

    /// Moves the window so that it has `want` bytes from `offset` on.
    fn require(&mut self, offset: u64, want: usize) -> Result<()> {
        if self.resident(offset).len() >= want {
            return Ok(());
        }
        let bytes = self.reader.window(offset, want.max(USUAL_RECORD))?;
        self.window = if bytes.len() < want {
            self.reader.exact(offset, want)?
        } else {
            bytes
        };
        self.start = offset;
        Ok(())
    }

    #[cold]
    fn truncated(&self, offset: u32, what: String) -> Error {
        let corrupt = Corrupt::at(0, what).because(Damage::SegmentTruncated);
        corrupt.in_file(self.name(), u64::from(offset)).into()
    }
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentReader")
            .field("name", &self.name())
            .field("segment", &self.segment)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
