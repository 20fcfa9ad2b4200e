//! Chunk encodings: how the samples of a series become bytes and come back.
//!
//! Terms:
//!
//! - **Sample**: a timestamp (ms since the epoch) and a value, which is a float,
//!   an integer histogram or a float histogram. **Kind**: which of the three.
//! - **Encoding**: the byte that stands before the chunk in its segment and says
//!   how to read it. All start with the number of samples.
//! - **Start timestamp**: when a counter began; encodings 4 to 6 can carry it.
//! - **Stale marker**: the NaN `0x7ff0000000000002`; ends a series. Values are
//!   moved as bits, so this payload survives every codec.
//! - **Varbit**: an integer in 1 to 72 bits, see `varbit.rs`. **Window**: where
//!   the bits lie in which two floats differ, see `window.rs`.
//!
//! ```text
//!                    samples in                            samples out
//!                        |                                      ^
//!   SeriesEncoder  cuts at 120 samples,          decode_chunk   | by Kind
//!        |         kind, reset, layout                |         |
//!        v                                            |         |
//!   XorEncoder -----------------> 1 xor ------------> decode_xor, XorIter
//!   HistogramEncoder -----------> 2 histogram ------> HistogramIter
//!   FloatHistogramEncoder ------> 3 float histogram > FloatHistogramIter
//!        |                        4 xor2 -----------> decode_xor2, Xor2Iter
//!        |                        5, 6 the same with start timestamps
//!        |                     0xff aggregates -----> AggrChunk: five of the above
//!        '-- bits.rs, varbit.rs, window.rs, below all of them --'
//! ```
//!
//! Invariants:
//!
//! - Bytes written are those of Prometheus for the same samples, down to the
//!   counter reset header and the padding.
//! - Every reader survives any input: it returns [`Corrupt`] with the byte
//!   offset in the chunk, and allocates at most a fixed multiple of the input.
//! - After an error a reader is at its end; a block decode leaves no sample.
//! - No codec allocates per sample, nor per chunk once its buffers have grown.

mod aggr;
mod bits;
mod block;
mod decode;
mod floats;
mod fold;
mod histogram;
#[cfg(target_arch = "x86_64")]
mod processor;
mod series;
mod start_time;
mod varbit;
mod window;
mod xor;
mod xor2;
mod xor_encoder;

pub use aggr::{Aggr, AggrChunk, AggrColumn, encode_aggr, put_aggr_column};
pub use decode::{DecodeScratch, Decoded, decode_chunk, decode_floats, fold_floats, fold_samples};
pub use floats::FloatSamples;
pub use fold::{FloatFold, Times};
pub use histogram::{
    Append, CounterReset, FloatHistogram, FloatHistogramEncoder, FloatHistogramIter,
    FloatHistogramScratch, Histogram, HistogramEncoder, HistogramIter, HistogramScratch, Span,
};
pub(crate) use histogram::{CUSTOM_SCHEMA, Merge, Walk, reduce};
pub use series::{EncodedChunk, EncodedChunks, SAMPLES_PER_CHUNK, SeriesEncoder};
pub(crate) use xor::MAX_SAMPLES;
use xor::fold_xor;
pub use xor::{XorIter, decode_xor};
pub use xor_encoder::XorEncoder;
pub use xor2::{Xor2Iter, decode_xor2};

use super::error::{Corrupt, Error, Result};

/// Bits of the NaN that marks the end of a series.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// True for the stale marker, not for other NaNs.
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE_NAN
}

/// How a chunk is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Integer histograms.
    Histogram = 2,
    /// Float histograms.
    FloatHistogram = 3,
    /// Floats, optionally with start timestamps.
    Xor2 = 4,
    /// Integer histograms with start timestamps.
    HistogramSt = 5,
    /// Float histograms with start timestamps.
    FloatHistogramSt = 6,
    /// Up to five chunks that hold the aggregates of a downsampled series.
    Aggr = 0xff,
}

impl Encoding {
    /// The encoding of a byte; `None` for one that this version cannot read.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramSt,
            6 => Self::FloatHistogramSt,
            0xff => Self::Aggr,
            _ => return None,
        })
    }

    /// The byte that stands before the chunk.
    pub fn as_byte(self) -> u8 {
        self as u8
    }

    /// What the samples are; `None` for [`Self::Aggr`], which has no samples of
    /// its own.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Xor | Self::Xor2 => Some(Kind::Float),
            Self::Histogram | Self::HistogramSt => Some(Kind::Histogram),
            Self::FloatHistogram | Self::FloatHistogramSt => Some(Kind::FloatHistogram),
            Self::Aggr => None,
        }
    }

    /// Lowercase name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xor => "xor",
            Self::Histogram => "histogram",
            Self::FloatHistogram => "float histogram",
            Self::Xor2 => "xor2",
            Self::HistogramSt => "histogram with start timestamps",
            Self::FloatHistogramSt => "float histogram with start timestamps",
            Self::Aggr => "aggregate",
        }
    }

    /// True when samples can carry a start timestamp.
    pub fn has_start_times(self) -> bool {
        matches!(
            self,
            Self::Xor2 | Self::HistogramSt | Self::FloatHistogramSt
        )
    }
}

/// What the value of a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A 64-bit float.
    Float,
    /// A histogram that counts in integers.
    Histogram,
    /// A histogram that counts in floats.
    FloatHistogram,
}

/// Samples that the header of a chunk claims; the data itself is not read. For
/// [`Encoding::Aggr`] that is the count of the count column, 0 without one.
///
/// # Errors
/// Corrupt when `data` is shorter than its header.
pub fn num_samples(encoding: Encoding, data: &[u8]) -> Result<usize> {
    match encoding {
        Encoding::Aggr => AggrChunk::parse(data)?.num_samples(),
        // The upper two bits say something else in these two.
        Encoding::HistogramSt | Encoding::FloatHistogramSt => Ok(read_count(data)? & 0x3fff),
        _ => read_count(data),
    }
}

/// The 16 bits that every chunk of samples starts with.
fn read_count(data: &[u8]) -> Result<usize> {
    match data.first_chunk() {
        Some(bytes) => Ok(usize::from(u16::from_be_bytes(*bytes))),
        None => Err(Corrupt::at(data.len(), "chunk ends within its sample count").into()),
    }
}

/// What a decoder can stumble over. Small, since the hot loops return it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Fewer bits than the samples need.
    TooShort,
    /// A varint of more than 64 bits.
    LongVarint,
    /// A window whose leading zeros and length exceed 64 bits.
    Window,
    /// Something else, in words.
    Other(&'static str),
}

impl From<window::BadWindow> for Fault {
    fn from(_: window::BadWindow) -> Self {
        Self::Window
    }
}

impl Fault {
    /// The error for a chunk of `total` samples that broke at byte `offset`.
    #[cold]
    fn at(self, offset: usize, codec: &str, total: usize) -> Error {
        let what = match self {
            Self::TooShort => "ends before its last sample",
            Self::LongVarint => "has a varint of more than 64 bits",
            Self::Window => "has a float of more than 64 bits",
            Self::Other(what) => what,
        };
        Corrupt::at(offset, format!("{codec} chunk of {total} samples {what}")).into()
    }
}

#[cfg(test)]
mod garbage_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod histogram_tests;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod xor_tests;
