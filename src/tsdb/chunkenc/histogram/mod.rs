//! Native histograms: encodings 2, 3, 5 and 6.
//!
//! Terms:
//!
//! - **Schema**: how bucket numbers map to values. -9 to 52 are exponential
//!   (bucket `i` ends at `2^(i * 2^-schema)`), -53 has its bounds listed
//!   (**custom values**). Schemas above 8 are read at 8.
//! - **Span**: a run of buckets: a gap, then a length. Only buckets in spans are
//!   stored; the spans of a chunk are its **layout**, all samples share it.
//! - **Counter reset header**: what the writer knew about the start of the chunk.
//! - **Gauge histogram**: may go down, so it has no resets.
//!
//! ```text
//!  encodings 2, 3                        encodings 5, 6
//!  byte 0..2  number of samples          2 bits reset header, 14 bits number
//!  byte 2     2 bits reset header, 0     start timestamps, see xor2.rs
//!  layout     zero threshold | schema varbit | spans + | spans - [| custom values]
//!  sample 0   t | count | zero count | sum | buckets + | buckets -
//!  sample n   the same, each number coded against its predecessor
//!
//!              sample 0                  sample n
//!  t           varbit                    varbit delta of delta
//!  integers    varbit (buckets: deltas)  varbit delta of delta
//!  floats      64 bits (absolute)        XOR, each with a window of its own
//!  sum         64 bits                   XOR
//! ```
//!
//! A stale sample (its sum is the stale marker) has no buckets at all, and only
//! stale samples can follow it in a chunk.
//!
//! The two flavours differ in how they code numbers ([`number`]) and in one
//! detail of the reset header; everything else is written once, generic over
//! [`Flavour`].

mod encode;
mod fit;
mod iter;
mod layout;
mod number;
mod reduce;
mod spans;

pub use encode::{Append, Encoder};
pub use iter::{Iter, Scratch};
pub(super) use number::Bucket;
use number::Number;
pub(crate) use reduce::reduce;
pub(crate) use spans::{Merge, Walk};

use super::{Encoding, is_stale};

/// Reads the integer histograms of a chunk.
pub type HistogramIter<'a> = Iter<'a, Integers>;
/// Reads the float histograms of a chunk.
pub type FloatHistogramIter<'a> = Iter<'a, Floats>;
/// Buffers of a [`HistogramIter`], for reuse.
pub type HistogramScratch = Scratch<Integers>;
/// Buffers of a [`FloatHistogramIter`], for reuse.
pub type FloatHistogramScratch = Scratch<Floats>;
/// Writes chunks of integer histograms.
pub type HistogramEncoder = Encoder<Integers>;
/// Writes chunks of float histograms.
pub type FloatHistogramEncoder = Encoder<Floats>;
/// A histogram that counts in integers; its buckets are deltas.
pub type Histogram = HistogramOf<Integers>;
/// A histogram that counts in floats; its buckets are absolute.
pub type FloatHistogram = HistogramOf<Floats>;

/// The schema whose bucket bounds are listed.
pub(crate) const CUSTOM_SCHEMA: i32 = -53;
/// The finest exponential schema that is handed out.
const FINEST_SCHEMA: i32 = 8;
/// The exponential schemas that may be in a chunk.
const KNOWN_SCHEMAS: std::ops::RangeInclusive<i32> = -9..=52;

/// Integer or float histograms.
pub trait Flavour: Copy + PartialEq + std::fmt::Debug + Default + sealed::Sealed {
    /// Of observations.
    type Count: Number;
    /// Of observations in a bucket.
    type Bucket: Bucket;
    /// How the chunks are marked, without start timestamps.
    const ENCODING: Encoding;
    /// What the header says of a chunk of counters that follows one of gauges.
    const AFTER_GAUGE: CounterReset;
}

mod sealed {
    pub trait Sealed {}
}

/// Counts are `u64`, buckets are deltas of `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Integers;

/// Counts and buckets are `f64`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Floats;

impl sealed::Sealed for Integers {}
impl Flavour for Integers {
    type Count = u64;
    type Bucket = i64;
    const ENCODING: Encoding = Encoding::Histogram;
    const AFTER_GAUGE: CounterReset = CounterReset::No;
}

impl sealed::Sealed for Floats {}
impl Flavour for Floats {
    type Count = f64;
    type Bucket = f64;
    const ENCODING: Encoding = Encoding::FloatHistogram;
    const AFTER_GAUGE: CounterReset = CounterReset::Unknown;
}

/// Consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Buckets left out since the last span; number of the first bucket for the
    /// first span, which alone may be negative.
    pub offset: i32,
    /// Buckets in the span.
    pub length: u32,
}

/// What is known about a reset before a sample or a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum CounterReset {
    /// Nothing: compare.
    #[default]
    Unknown,
    /// There was one.
    Yes,
    /// There was none.
    No,
    /// A gauge, to which resets do not apply.
    Gauge,
}

impl CounterReset {
    /// From the upper two bits of a header byte.
    fn from_header(byte: u8) -> Self {
        match byte >> 6 {
            0b10 => Self::Yes,
            0b01 => Self::No,
            0b11 => Self::Gauge,
            _ => Self::Unknown,
        }
    }

    /// The upper two bits of a header byte.
    fn header(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Yes => 0b1000_0000,
            Self::No => 0b0100_0000,
            Self::Gauge => 0b1100_0000,
        }
    }
}

/// A histogram of either flavour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramOf<F: Flavour> {
    /// What is known about a reset before this sample.
    pub counter_reset: CounterReset,
    /// How bucket numbers map to values.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: F::Count,
    /// All observations.
    pub count: F::Count,
    /// Sum of the observations; the stale marker makes the sample stale.
    pub sum: f64,
    /// Which positive buckets there are.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets there are.
    pub negative_spans: Vec<Span>,
    /// Their counts: deltas for integers, absolute for floats.
    pub positive_buckets: Vec<F::Bucket>,
    /// Their counts: deltas for integers, absolute for floats.
    pub negative_buckets: Vec<F::Bucket>,
    /// Upper bounds of the buckets of schema -53, ascending.
    pub custom_values: Vec<f64>,
}

impl<F: Flavour> HistogramOf<F> {
    /// True for a stale sample.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Makes this a copy of `other` and keeps the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.copy_layout_from(other);
        self.copy_numbers_from(other);
        self.counter_reset = other.counter_reset;
    }

    fn copy_layout_from(&mut self, other: &Self) {
        self.schema = other.schema;
        self.zero_threshold = other.zero_threshold;
        self.positive_spans.clone_from(&other.positive_spans);
        self.negative_spans.clone_from(&other.negative_spans);
        self.custom_values.clone_from(&other.custom_values);
    }

    fn copy_numbers_from(&mut self, other: &Self) {
        self.zero_count = other.zero_count;
        self.count = other.count;
        self.sum = other.sum;
        self.positive_buckets.clone_from(&other.positive_buckets);
        self.negative_buckets.clone_from(&other.negative_buckets);
    }

    /// Makes this what a stale sample reads as: nothing but its sum.
    fn make_stale(&mut self) {
        self.clear();
        self.sum = f64::from_bits(super::STALE_NAN);
    }

    /// Empties everything and keeps the memory.
    pub fn clear(&mut self) {
        self.counter_reset = CounterReset::Unknown;
        self.schema = 0;
        self.zero_threshold = 0.0;
        self.zero_count = F::Count::default();
        self.count = F::Count::default();
        self.sum = 0.0;
        self.positive_spans.clear();
        self.negative_spans.clear();
        self.positive_buckets.clear();
        self.negative_buckets.clear();
        self.custom_values.clear();
    }
}
