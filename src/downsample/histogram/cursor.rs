//! The samples of several histogram chunks, one after the other.

use super::Failure;
use crate::tsdb::chunkenc::{
    CUSTOM_SCHEMA, CounterReset, DecodeScratch, Decoded, Encoding, FloatHistogram, FloatSamples,
    Histogram, Kind, decode_chunk, is_stale,
};
use crate::tsdb::{Corrupt, Result};

/// A chunk of histograms to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Which of the chunks of the run it is, or is a column of.
    pub(super) index: usize,
    pub(super) encoding: Encoding,
    pub(super) data: &'a [u8],
    /// Where `data` begins in that chunk, bytes.
    pub(super) offset: usize,
}

/// A histogram as it stands in a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sample<'a> {
    Integers(&'a Histogram),
    Floats(&'a FloatHistogram),
}

/// What all histograms of a chunk have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) gauge: bool,
    pub(super) schema: i32,
    /// 0 for custom buckets, which have no zero bucket.
    pub(super) zero_threshold: f64,
    /// Empty for exponential buckets.
    pub(super) bounds: &'a [f64],
}

impl<'a> Sample<'a> {
    pub(super) fn sum(self) -> f64 {
        match self {
            Self::Integers(h) => h.sum,
            Self::Floats(h) => h.sum,
        }
    }

    pub(super) fn layout(self) -> Layout<'a> {
        let (hint, schema, zero_threshold, bounds) = match self {
            Self::Integers(h) => (
                h.counter_reset,
                h.schema,
                h.zero_threshold,
                &h.custom_values,
            ),
            Self::Floats(h) => (
                h.counter_reset,
                h.schema,
                h.zero_threshold,
                &h.custom_values,
            ),
        };
        let custom = schema == CUSTOM_SCHEMA;
        Layout {
            gauge: hint == CounterReset::Gauge,
            schema,
            zero_threshold: if custom { 0.0 } else { zero_threshold },
            bounds: if custom { bounds } else { &[] },
        }
    }

    /// Makes `out` a copy in floats, without what the schema has no use for.
    pub(super) fn copy_to(self, out: &mut FloatHistogram) {
        match self {
            Self::Integers(h) => integers_to(h, out),
            Self::Floats(h) => out.copy_from(h),
        }
        if out.schema == CUSTOM_SCHEMA {
            out.zero_threshold = 0.0;
            out.zero_count = 0.0;
            out.negative_spans.clear();
            out.negative_buckets.clear();
        } else {
            out.custom_values.clear();
        }
    }
}

fn integers_to(h: &Histogram, out: &mut FloatHistogram) {
    // Summed up as floats, as upstream: beyond 2^53 that makes a difference.
    let counts = |deltas: &[i64], counts: &mut Vec<f64>| {
        let mut count = 0.0;
        counts.clear();
        counts.extend(deltas.iter().map(|delta| {
            count += *delta as f64;
            count
        }));
    };
    out.counter_reset = h.counter_reset;
    out.schema = h.schema;
    out.zero_threshold = h.zero_threshold;
    out.zero_count = h.zero_count as f64;
    out.count = h.count as f64;
    out.sum = h.sum;
    out.positive_spans.clone_from(&h.positive_spans);
    out.negative_spans.clone_from(&h.negative_spans);
    counts(&h.positive_buckets, &mut out.positive_buckets);
    counts(&h.negative_buckets, &mut out.negative_buckets);
    out.custom_values.clone_from(&h.custom_values);
}

/// Samples that a [`Cursor`] went over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// All of them.
    pub(super) read: u64,
    /// Stale markers, left out.
    pub(super) stale: u64,
    /// Samples before their predecessor in time, left out.
    pub(super) disordered: u64,
}

/// Reads the samples of `pieces` that are neither stale nor out of order.
#[derive(Debug)]
pub(super) struct Cursor<'a, 's, I> {
    pieces: I,
    scratch: &'s mut DecodeScratch,
    open: Option<(Piece<'a>, Decoded<'a>)>,
    /// Of the last sample that was handed out.
    last: i64,
    pub(super) passed: Passed,
}

impl<'a, 's, I: Iterator<Item = Piece<'a>>> Cursor<'a, 's, I> {
    pub(super) fn new(pieces: I, scratch: &'s mut DecodeScratch) -> Self {
        Self {
            pieces,
            scratch,
            open: None,
            last: i64::MIN,
            passed: Passed::default(),
        }
    }

    /// Moves to the next sample and returns its timestamp (ms).
    ///
    /// # Errors
    /// Corrupt data, and a chunk of floats, with the index of the chunk.
    pub(super) fn next(&mut self) -> Result<Option<i64>, Failure> {
        loop {
            let Some((piece, decoded)) = &mut self.open else {
                let Some(piece) = self.pieces.next() else {
                    return Ok(None);
                };
                let decoded = open(piece, self.scratch).map_err(|e| piece.failure(e))?;
                self.open = Some((piece, decoded));
                continue;
            };
            let next = match decoded {
                Decoded::Histograms(iter) => iter.next(),
                Decoded::FloatHistograms(iter) => iter.next(),
                Decoded::Floats { .. } => Ok(None),
            };
            let Some(t) = next.map_err(|e| piece.failure(e))? else {
                self.close();
                continue;
            };
            self.passed.read += 1;
            if self.sample().is_none_or(|sample| is_stale(sample.sum())) {
                self.passed.stale += 1;
            } else if t < self.last {
                self.passed.disordered += 1;
            } else {
                self.last = t;
                return Ok(Some(t));
            }
        }
    }

    /// The sample that [`Self::next`] moved to.
    pub(super) fn sample(&self) -> Option<Sample<'_>> {
        match &self.open {
            Some((_, Decoded::Histograms(iter))) => Some(Sample::Integers(iter.current())),
            Some((_, Decoded::FloatHistograms(iter))) => Some(Sample::Floats(iter.current())),
            _ => None,
        }
    }

    /// Gives the buffers back before the end.
    pub(super) fn close(&mut self) {
        if let Some((_, decoded)) = self.open.take() {
            self.scratch.recycle(decoded);
        }
    }

    /// Index of the chunk that it is from.
    pub(super) fn index(&self) -> usize {
        self.open.as_ref().map_or(0, |(piece, _)| piece.index)
    }
}

fn open<'a>(piece: Piece<'a>, scratch: &mut DecodeScratch) -> Result<Decoded<'a>> {
    if !matches!(
        piece.encoding.kind(),
        Some(Kind::Histogram | Kind::FloatHistogram)
    ) {
        let what = format!("{} chunk among histograms", piece.encoding.name());
        return Err(Corrupt::at(0, what).into());
    }
    // No floats come of a chunk of histograms.
    let mut floats = FloatSamples::default();
    decode_chunk(piece.encoding, piece.data, &mut floats, scratch)
}

impl Piece<'_> {
    /// The error with the place in the chunk of the run.
    #[cold]
    fn failure(&self, error: crate::tsdb::Error) -> Failure {
        (self.index, error.in_file("", self.offset as u64))
    }
}
