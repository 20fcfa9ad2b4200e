//! One entry for all encodings: what is in this chunk, and its samples.

use super::{
    Encoding, FloatHistogramIter, FloatHistogramScratch, FloatSamples, HistogramIter,
    HistogramScratch, Kind, decode_xor, decode_xor_ascending, decode_xor2,
};
use crate::tsdb::{Error, Result};

/// A chunk that was opened with [`decode_chunk`].
#[derive(Debug)]
pub enum Decoded<'a> {
    /// Its samples were appended to the buffer.
    Floats {
        /// Start timestamps that the buffer could not take.
        start_times: usize,
    },
    /// To be read one by one.
    Histograms(HistogramIter<'a>),
    /// To be read one by one.
    FloatHistograms(FloatHistogramIter<'a>),
}

impl Decoded<'_> {
    /// What the samples are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Floats { .. } => Kind::Float,
            Self::Histograms(_) => Kind::Histogram,
            Self::FloatHistograms(_) => Kind::FloatHistogram,
        }
    }
}

/// Buffers for histogram iterators. An iterator takes them along;
/// [`Self::recycle`] brings them back.
#[derive(Debug, Default)]
pub struct DecodeScratch {
    histograms: Vec<HistogramScratch>,
    float_histograms: Vec<FloatHistogramScratch>,
}

impl DecodeScratch {
    /// Takes the buffers of an iterator that is no longer needed.
    pub fn recycle(&mut self, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Floats { .. } => {}
            Decoded::Histograms(iter) => self.histograms.push(iter.into_scratch()),
            Decoded::FloatHistograms(iter) => self.float_histograms.push(iter.into_scratch()),
        }
    }
}

/// Opens a chunk: floats are appended to `floats`, for histograms an iterator
/// comes back.
///
/// # Errors
/// Corrupt data; for floats all of it is read here. [`Error::Misuse`] for an
/// aggregate chunk, whose columns are to be opened one by one.
pub fn decode_chunk<'a>(
    encoding: Encoding,
    data: &'a [u8],
    floats: &mut FloatSamples,
    scratch: &mut DecodeScratch,
) -> Result<Decoded<'a>> {
    match encoding.kind() {
        Some(Kind::Float) => {
            decode_floats(encoding, data, floats).map(|start_times| Decoded::Floats { start_times })
        }
        Some(Kind::Histogram) => {
            let scratch = scratch.histograms.pop().unwrap_or_default();
            HistogramIter::with_scratch(encoding, data, scratch).map(Decoded::Histograms)
        }
        Some(Kind::FloatHistogram) => {
            let scratch = scratch.float_histograms.pop().unwrap_or_default();
            FloatHistogramIter::with_scratch(encoding, data, scratch).map(Decoded::FloatHistograms)
        }
        None => Err(not_plain(encoding)),
    }
}

/// Appends the samples of a float chunk to `out`; nothing on error. Returns how
/// many had a start timestamp, which `out` cannot take.
///
/// # Errors
/// Corrupt data; [`Error::Misuse`] for an encoding of other samples.
pub fn decode_floats(encoding: Encoding, data: &[u8], out: &mut FloatSamples) -> Result<usize> {
    match encoding {
        Encoding::Xor => decode_xor(data, out).map(|()| 0),
        Encoding::Xor2 => decode_xor2(data, out),
        _ => Err(not_plain(encoding)),
    }
}

/// The same; true if the times are known to ascend, each above the one before.
///
/// # Errors
/// As [`decode_floats`].
pub fn decode_ascending(encoding: Encoding, data: &[u8], out: &mut FloatSamples) -> Result<bool> {
    if encoding == Encoding::Xor {
        return decode_xor_ascending(data, out);
    }
    let start = out.len();
    decode_floats(encoding, data, out)?;
    let ts = out.ts.get(start..).unwrap_or_default();
    Ok(ts.is_sorted_by(|before, t| before < t))
}

#[cold]
fn not_plain(encoding: Encoding) -> Error {
    Error::Misuse(format!(
        "asked for the floats of a chunk with encoding {}",
        encoding.name()
    ))
}
