//! Cutting the samples of one series into chunks.
//!
//! ```text
//!  samples   f f f .. f | f f f | h h h | h h h    f float, h histogram
//!            '- 120 ---'        ^       ^
//!                        kind changes   counter reset, other schema, ...
//! ```
//!
//! The cuts, and thereby the bytes, are those of the encoder that Prometheus
//! uses when it merges overlapping chunks. What it leaves open stays open here:
//! a chunk that starts because the one before is full says nothing about a
//! reset, unless its first sample does.

use super::{
    Append, Encoding, FloatHistogram, FloatHistogramEncoder, Histogram, HistogramEncoder, Kind,
    XorEncoder,
};
use crate::tsdb::Result;

/// Samples after which a chunk is full.
pub const SAMPLES_PER_CHUNK: usize = 120;

/// A finished chunk of an [`EncodedChunks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedChunk {
    /// How to read it.
    pub encoding: Encoding,
    /// Timestamp of the first sample, ms.
    pub min_time: i64,
    /// Timestamp of the last sample, ms.
    pub max_time: i64,
    /// Where its bytes start in [`EncodedChunks::bytes`].
    pub start: usize,
    /// How many they are.
    pub len: usize,
    /// Samples in it.
    pub samples: usize,
}

/// Finished chunks back to back, with memory that is reused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedChunks {
    /// The data of all chunks, without length, encoding byte and checksum.
    pub bytes: Vec<u8>,
    /// What is where in `bytes`, in the order of the samples.
    pub metas: Vec<EncodedChunk>,
}

impl EncodedChunks {
    /// Drops the chunks and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.metas.clear();
    }

    /// The data of a chunk; empty for a meta of another output.
    pub fn data(&self, chunk: &EncodedChunk) -> &[u8] {
        chunk
            .start
            .checked_add(chunk.len)
            .and_then(|end| self.bytes.get(chunk.start..end))
            .unwrap_or_default()
    }

    /// The chunks in order, each with its data.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&EncodedChunk, &[u8])> {
        self.metas.iter().map(|chunk| (chunk, self.data(chunk)))
    }
}

/// Encodes the samples of one series after the other. Buffers are kept from
/// series to series; [`Self::finish`] separates them.
#[derive(Debug, Clone, Default)]
pub struct SeriesEncoder {
    /// Kind of the open chunk.
    kind: Option<Kind>,
    /// Samples in it.
    count: usize,
    /// Its range so far, ms.
    min_time: i64,
    max_time: i64,
    floats: XorEncoder,
    histograms: HistogramEncoder,
    float_histograms: FloatHistogramEncoder,
}

impl SeriesEncoder {
    /// An encoder without an open chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a float, `t` in ms; chunks that are full go to `out`.
    ///
    /// # Errors
    /// None in practice: chunks end before a limit of the format.
    pub fn push_float(&mut self, t: i64, v: f64, out: &mut EncodedChunks) -> Result<()> {
        self.make_room(Kind::Float, out)?;
        self.floats.push(t, v);
        self.note(t);
        Ok(())
    }

    /// Appends floats; the shorter slice decides how many.
    ///
    /// # Errors
    /// As [`Self::push_float`].
    pub fn push_floats(&mut self, ts: &[i64], vs: &[f64], out: &mut EncodedChunks) -> Result<()> {
        let len = ts.len().min(vs.len());
        let (mut ts, mut vs) = (&ts[..len], &vs[..len]);
        while let Some(&first) = ts.first() {
            self.make_room(Kind::Float, out)?;
            let room = (SAMPLES_PER_CHUNK - self.count).min(ts.len());
            let (t, later_ts) = ts.split_at(room);
            let (v, later_vs) = vs.split_at(room);
            if self.count == 0 {
                self.min_time = first;
            }
            self.floats.push_all(t, v);
            self.count += room;
            self.max_time = t.last().copied().unwrap_or(first);
            (ts, vs) = (later_ts, later_vs);
        }
        Ok(())
    }

    /// Appends an integer histogram, `t` in ms.
    ///
    /// # Errors
    /// [`crate::tsdb::Error::Misuse`] when buckets and spans disagree.
    pub fn push_histogram(&mut self, t: i64, h: &Histogram, out: &mut EncodedChunks) -> Result<()> {
        self.make_room(Kind::Histogram, out)?;
        if let Append::Cut(header) = self.histograms.append(t, h)? {
            self.close(out)?;
            self.histograms.start(header);
            self.histograms.append(t, h)?;
        }
        self.note(t);
        Ok(())
    }

    /// Appends a float histogram, `t` in ms.
    ///
    /// # Errors
    /// [`crate::tsdb::Error::Misuse`] when buckets and spans disagree.
    pub fn push_float_histogram(
        &mut self,
        t: i64,
        h: &FloatHistogram,
        out: &mut EncodedChunks,
    ) -> Result<()> {
        self.make_room(Kind::FloatHistogram, out)?;
        if let Append::Cut(header) = self.float_histograms.append(t, h)? {
            self.close(out)?;
            self.float_histograms.start(header);
            self.float_histograms.append(t, h)?;
        }
        self.note(t);
        Ok(())
    }

    /// Closes the last chunk of the series.
    ///
    /// # Errors
    /// As [`Self::push_float`].
    pub fn finish(&mut self, out: &mut EncodedChunks) -> Result<()> {
        self.close(out)?;
        self.kind = None;
        Ok(())
    }

    /// Makes sure that the open chunk takes a sample of `kind`.
    #[inline]
    fn make_room(&mut self, kind: Kind, out: &mut EncodedChunks) -> Result<()> {
        if self.kind != Some(kind) || self.count >= SAMPLES_PER_CHUNK {
            self.close(out)?;
            self.kind = Some(kind);
        }
        Ok(())
    }

    /// Counts a sample that was written.
    #[inline]
    fn note(&mut self, t: i64) {
        if self.count == 0 {
            self.min_time = t;
        }
        self.max_time = t;
        self.count += 1;
    }

    /// Drops the open chunk, for example after an error in the series.
    pub fn clear(&mut self) {
        self.kind = None;
        self.count = 0;
        self.floats.clear();
        self.histograms.clear();
        self.float_histograms.clear();
    }

    fn close(&mut self, out: &mut EncodedChunks) -> Result<()> {
        let samples = std::mem::take(&mut self.count);
        let Some(kind) = self.kind.filter(|_| samples > 0) else {
            return Ok(());
        };
        let (encoding, data) = match kind {
            Kind::Float => (Encoding::Xor, self.floats.finish()?),
            Kind::Histogram => (Encoding::Histogram, self.histograms.finish()?),
            Kind::FloatHistogram => (Encoding::FloatHistogram, self.float_histograms.finish()?),
        };
        let start = out.bytes.len();
        out.bytes.extend_from_slice(data);
        out.metas.push(EncodedChunk {
            encoding,
            min_time: self.min_time,
            max_time: self.max_time,
            start,
            len: data.len(),
            samples,
        });
        Ok(())
    }
}
