//! One entry for all encodings: what is in this chunk, and its samples.

use super::{
    Encoding, FloatFold, FloatHistogramIter, FloatHistogramScratch, FloatSamples, HistogramIter,
    HistogramScratch, Kind, Times, decode_xor, decode_xor2, fold_xor,
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

/// Hands the samples of a float chunk to `fold`, some of them also on error;
/// `buffer` is for encodings that are not folded while they are decoded.
///
/// # Errors
/// As [`decode_floats`].
pub fn fold_floats<F: FloatFold>(
    encoding: Encoding,
    data: &[u8],
    buffer: &mut FloatSamples,
    carry: &mut F::Carry,
    fold: &mut F,
) -> Result<Times> {
    if encoding == Encoding::Xor {
        return fold_xor(data, carry, fold);
    }
    buffer.clear();
    decode_floats(encoding, data, buffer)?;
    Ok(fold_samples(&buffer.ts, &buffer.vs, carry, fold))
}

/// Hands decoded samples to `fold`; the shorter slice decides how many.
pub fn fold_samples<F: FloatFold>(
    ts: &[i64],
    vs: &[f64],
    carry: &mut F::Carry,
    fold: &mut F,
) -> Times {
    let samples = ts.iter().zip(vs);
    *carry = samples.fold(*carry, |carry, (&t, &v)| fold.fold(carry, t, v));
    Times {
        ends: ts.first().copied().zip(ts.last().copied()),
        // Without a way out early, so that it becomes vector code.
        ascending: ts.windows(2).fold(true, |ok, two| ok & (two[0] < two[1])),
    }
}

#[cold]
fn not_plain(encoding: Encoding) -> Error {
    Error::Misuse(format!(
        "asked for the floats of a chunk with encoding {}",
        encoding.name()
    ))
}
