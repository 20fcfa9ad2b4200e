//! Writes records and cuts segments where Prometheus cuts them.
//!
//! The rule of a cut counts from the start of a series, not of a record:
//!
//! ```text
//!  bound(chunk) = 5 (longest length) + 1 (encoding) + data + 4 (crc)
//!
//!  before chunk i of a series, with sum = bounds of its chunks since the last cut, i included:
//!    no cut yet in this series, segment has records:  cut if (position at the series' start) + sum > size
//!    otherwise, i > 0:                                cut if 8 + sum > size
//! ```
//!
//! So a segment may stay below its size by what short lengths save, and the
//! first chunk of an empty segment always fits, however large.

use bytes::Bytes;

use crate::tsdb::encoding::{Append, CRC_LEN, Crc32c, EncBuf, MAX_UVARINT32_LEN, crc32c, uvarint};
use crate::tsdb::error::{Error, Result};
use crate::tsdb::source::BlobWriter;

use super::reader::{ChunkRecord, Frame};
use super::{ChunkRef, MAGIC, SEGMENT_HEADER_LEN, VERSION};

/// Size of a segment unless told otherwise, bytes.
pub const DEFAULT_SEGMENT_SIZE: u32 = 512 << 20;

/// Makes the blob of segment number `n`, counted from 0.
type Factory = Box<dyn FnMut(u32) -> Result<Box<dyn BlobWriter>> + Send>;

/// One chunk to be written.
#[derive(Debug, Clone, Copy)]
pub enum ChunkInput<'a> {
    /// A record as [`ChunkRecord::framed`] gives it, written unchanged.
    Framed(&'a [u8]),
    /// A new chunk, still without length and checksum.
    Data {
        /// Encoding byte.
        encoding: u8,
        /// The chunk's own bytes.
        data: &'a [u8],
    },
}

impl<'a> From<&'a ChunkRecord> for ChunkInput<'a> {
    fn from(record: &'a ChunkRecord) -> Self {
        Self::Framed(record.framed())
    }
}

impl<'a> From<&'a Bytes> for ChunkInput<'a> {
    fn from(framed: &'a Bytes) -> Self {
        Self::Framed(framed)
    }
}

/// A segment that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenSegment {
    /// Number of the segment, counted from 0.
    pub segment: u32,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Writes the chunks of one series after the other into segments.
pub struct ChunkWriter {
    factory: Factory,
    segment_size: u64,
    current: Option<Append>,
    finished: Vec<WrittenSegment>,
    /// Position in the segment when the series began; `None` after a cut in it.
    series_start: Option<u64>,
    /// Chunks of the series so far.
    series_chunks: u64,
    /// Bounds of the chunks of the series since the last cut.
    batch: u64,
}

impl ChunkWriter {
    /// Writes into segments of at most `segment_size` bytes, which `factory`
    /// makes when they are needed: the first with the first chunk.
    pub fn new(
        segment_size: u32,
        factory: impl FnMut(u32) -> Result<Box<dyn BlobWriter>> + Send + 'static,
    ) -> Self {
        Self {
            factory: Box::new(factory),
            segment_size: u64::from(segment_size),
            current: None,
            finished: Vec::new(),
            series_start: Some(0),
            series_chunks: 0,
            batch: 0,
        }
    }

    /// Must be called before the first chunk of each series: where segments
    /// are cut depends on it.
    pub fn start_series(&mut self) {
        self.series_start = Some(self.current.as_ref().map_or(0, Append::position));
        self.series_chunks = 0;
        self.batch = 0;
    }

    /// Writes the next chunk of the series and returns where it stands.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a framed record whose length is wrong,
    /// [`Error::Limit`] past 4 GiB in one segment, whatever the blobs return.
    pub fn append(&mut self, chunk: ChunkInput<'_>) -> Result<ChunkRef> {
        let data = data_len(chunk)?;
        let bound = (MAX_UVARINT32_LEN + 1 + CRC_LEN) as u64 + data;
        self.batch += bound;
        if self.must_cut() {
            self.series_start = None;
            self.batch = bound;
            self.cut()?;
        }
        self.series_chunks += 1;
        let segment = self.finished.len() as u32;
        let out = match &mut self.current {
            Some(out) => out,
            none => none.insert(open_segment(&mut self.factory, segment)?),
        };
        let offset = out.position();
        if offset + bound > u64::from(u32::MAX) {
            return Err(Error::Limit(format!(
                "chunk of {data} bytes at {offset} would lie beyond 4 GiB of its segment: use a \
                 smaller segment size"
            )));
        }
        write_record(out, chunk)?;
        Ok(ChunkRef::new(segment, offset as u32))
    }

    /// Writes all chunks of one series and appends their references to `refs`.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn write_series<'a>(
        &mut self,
        chunks: impl IntoIterator<Item = ChunkInput<'a>>,
        refs: &mut Vec<ChunkRef>,
    ) -> Result<()> {
        self.start_series();
        for chunk in chunks {
            refs.push(self.append(chunk)?);
        }
        Ok(())
    }

    /// Segments that are complete, the one being written not included.
    pub fn finished(&self) -> &[WrittenSegment] {
        &self.finished
    }

    /// Ends the last segment. Without any chunk there is no segment.
    ///
    /// # Errors
    /// Whatever the blob returns.
    pub fn finish(mut self) -> Result<Vec<WrittenSegment>> {
        self.cut()?;
        Ok(self.finished)
    }

    fn must_cut(&self) -> bool {
        let header = u64::from(SEGMENT_HEADER_LEN);
        match self.series_start {
            Some(start) if start > header => start + self.batch > self.segment_size,
            _ => self.series_chunks > 0 && header + self.batch > self.segment_size,
        }
    }

    /// Ends the segment that is being written; the next chunk opens another.
    fn cut(&mut self) -> Result<()> {
        if let Some(out) = self.current.take() {
            let segment = self.finished.len() as u32;
            let size = out.finish()?;
            self.finished.push(WrittenSegment { segment, size });
        }
        Ok(())
    }
}

impl std::fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkWriter")
            .field("segment_size", &self.segment_size)
            .field("finished", &self.finished)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

fn open_segment(factory: &mut Factory, segment: u32) -> Result<Append> {
    let mut out = Append::new(factory(segment)?);
    out.write(&MAGIC.to_be_bytes())?;
    out.write(&[VERSION, 0, 0, 0])?;
    Ok(out)
}

/// Bytes of the chunk itself; a framed record is compared with its own length.
fn data_len(chunk: ChunkInput<'_>) -> Result<u64> {
    let framed = match chunk {
        ChunkInput::Data { data, .. } => return Ok(data.len() as u64),
        ChunkInput::Framed(framed) => framed,
    };
    let wrong = |why: String| Error::Misuse(format!("framed chunk {why}"));
    let frame = Frame::decode(framed).map_err(|c| wrong(c.to_string()))?;
    if frame.total() != framed.len() as u64 {
        let (data, found) = (frame.data, framed.len());
        return Err(wrong(format!("says {data} bytes but has {found} in all")));
    }
    Ok(frame.data)
}

fn write_record(out: &mut Append, chunk: ChunkInput<'_>) -> Result<()> {
    let (encoding, data) = match chunk {
        ChunkInput::Framed(framed) => return out.write(framed),
        ChunkInput::Data { encoding, data } => (encoding, data),
    };
    let (mut head, len) = uvarint(data.len() as u64);
    // The length has at most 5 bytes, so the encoding fits behind it.
    if let Some(slot) = head.get_mut(len) {
        *slot = encoding;
    }
    let head = head.get(..=len).unwrap_or(&head);
    let mut crc = Crc32c::new();
    crc.update(&[encoding]);
    crc.update(data);
    out.write(head)?;
    out.write(data)?;
    out.write(&crc.value().to_be_bytes())
}

/// Appends a chunk as a record to `buf`, for batches that other threads
/// prepare and that [`ChunkInput::Framed`] writes.
pub fn frame_chunk(encoding: u8, data: &[u8], buf: &mut Vec<u8>) {
    let (len, bytes) = uvarint(data.len() as u64);
    buf.extend_from_slice(len.get(..bytes).unwrap_or(&len));
    let covered = buf.len();
    buf.push(encoding);
    buf.extend_from_slice(data);
    let crc = crc32c(buf.get(covered..).unwrap_or_default());
    buf.put_be32(crc);
}

/// The data of a chunk that [`frame_chunk`] framed; empty for anything else.
pub fn framed_data(framed: &[u8]) -> &[u8] {
    let head = framed.iter().take_while(|byte| **byte >= 0x80).count() + 2;
    let end = framed.len().saturating_sub(CRC_LEN);
    framed.get(head..end).unwrap_or_default()
}
