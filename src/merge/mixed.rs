//! Mixing a cluster in which not all pieces are floats: the general, slower
//! sweep, sample by sample.
//!
//! A histogram says of itself whether its counter was reset since the sample
//! before it *in its chunk*, and that one may now be another. It is passed on
//! nevertheless: a reader says "not reset", "unknown" or "gauge", never "reset",
//! and the encoder takes only "gauge" and "reset" at their word. For all others
//! it compares, so what it writes is true of the result.

use super::ledger::Ledger;
use super::overlap::{Piece, PieceError, Scratch, check_time};
use crate::tsdb::chunkenc::{
    CounterReset, Decoded, EncodedChunks, FloatHistogramIter, FloatSamples, HistogramIter,
    SeriesEncoder, decode_chunk,
};
use crate::tsdb::{Error, Result};

/// A piece that the sweep has reached, standing on a sample.
struct Cursor<'a> {
    piece: &'a Piece<'a>,
    /// Timestamp of the current sample, ms.
    now: i64,
    /// False before the first sample.
    started: bool,
    samples: Samples<'a>,
}

enum Samples<'a> {
    Floats { samples: FloatSamples, at: usize },
    Histograms(HistogramIter<'a>),
    FloatHistograms(FloatHistogramIter<'a>),
}

/// Mixes pieces, sorted by start, into the encoder.
pub(super) fn sweep(
    cluster: &[Piece<'_>],
    scratch: &mut Scratch,
    ledger: &mut Ledger,
) -> Result<(), PieceError> {
    let mut open: Vec<Cursor<'_>> = Vec::new();
    let mut unopened = cluster.iter().peekable();
    loop {
        let earliest = open.iter().map(|c| c.now).min();
        let due = |p: &&&Piece<'_>| earliest.is_none_or(|t| p.min_time <= t);
        if let Some(piece) = unopened.peek().filter(due).copied() {
            unopened.next();
            let cursor = Cursor::open(piece, scratch, ledger).map_err(at(piece))?;
            open.extend(cursor);
            continue;
        }
        let Some(t) = earliest else {
            return Ok(());
        };
        let tied = open.iter().filter(|c| c.now == t);
        let Some(winner) = tied.min_by_key(|c| (c.piece.rank, c.piece.input)) else {
            return Ok(());
        };
        let piece = winner.piece;
        let emitted = winner.emit(&mut scratch.encoder, &mut scratch.chunks);
        emitted.map_err(at(piece))?;
        advance(&mut open, t, piece.input, scratch, ledger)?;
    }
}

fn at(piece: &Piece<'_>) -> impl Fn(Error) -> PieceError {
    let input = piece.input;
    move |error| PieceError { input, error }
}

/// Moves every cursor that stands on `t`; all but the winner lose a sample.
fn advance(
    open: &mut Vec<Cursor<'_>>,
    t: i64,
    winner: u32,
    scratch: &mut Scratch,
    ledger: &mut Ledger,
) -> Result<(), PieceError> {
    let mut i = 0;
    while let Some(cursor) = open.get_mut(i) {
        if cursor.now != t {
            i += 1;
            continue;
        }
        ledger.deduplicated += u64::from(cursor.piece.input != winner);
        if cursor.step(ledger).map_err(at(cursor.piece))? {
            i += 1;
        } else {
            open.remove(i).close(scratch);
        }
    }
    Ok(())
}

impl<'a> Cursor<'a> {
    /// Stands on the first sample; `None` for a piece without any.
    fn open(
        piece: &'a Piece<'a>,
        scratch: &mut Scratch,
        ledger: &mut Ledger,
    ) -> Result<Option<Self>> {
        let mut floats = scratch.floats.take_idle();
        let decoded = decode_chunk(
            piece.encoding,
            piece.data,
            &mut floats,
            &mut scratch.histograms,
        )?;
        let samples = match decoded {
            Decoded::Floats { start_times } => {
                ledger.start_times_dropped += start_times as u64;
                // `step` moves onto the first sample.
                Samples::Floats {
                    samples: floats,
                    at: usize::MAX,
                }
            }
            Decoded::Histograms(iter) => Samples::Histograms(iter),
            Decoded::FloatHistograms(iter) => Samples::FloatHistograms(iter),
        };
        let mut cursor = Self {
            piece,
            now: i64::MIN,
            started: false,
            samples,
        };
        Ok(cursor.step(ledger)?.then_some(cursor))
    }

    /// Moves to the next sample; false at the end.
    fn step(&mut self, ledger: &mut Ledger) -> Result<bool> {
        let (next, has_start) = match &mut self.samples {
            Samples::Floats { samples, at } => {
                *at = at.wrapping_add(1);
                (samples.ts.get(*at).copied(), false)
            }
            Samples::Histograms(iter) => (iter.next()?, iter.start_time().is_some()),
            Samples::FloatHistograms(iter) => (iter.next()?, iter.start_time().is_some()),
        };
        let Some(t) = next else {
            return Ok(false);
        };
        ledger.start_times_dropped += u64::from(has_start);
        check_time(self.piece, self.started.then_some(self.now), t)?;
        (self.now, self.started) = (t, true);
        Ok(true)
    }

    /// Hands the current sample to the encoder.
    fn emit(&self, encoder: &mut SeriesEncoder, chunks: &mut EncodedChunks) -> Result<()> {
        match &self.samples {
            Samples::Floats { samples, at } => {
                let v = samples.vs.get(*at).copied().unwrap_or_default();
                encoder.push_float(self.now, v, chunks)
            }
            Samples::Histograms(iter) => {
                let h = iter.current();
                debug_assert_ne!(h.counter_reset, CounterReset::Yes);
                encoder.push_histogram(self.now, h, chunks)
            }
            Samples::FloatHistograms(iter) => {
                let h = iter.current();
                debug_assert_ne!(h.counter_reset, CounterReset::Yes);
                encoder.push_float_histogram(self.now, h, chunks)
            }
        }
    }

    /// Gives the buffers back.
    fn close(self, scratch: &mut Scratch) {
        match self.samples {
            Samples::Floats { samples, .. } => scratch.floats.give_idle(samples),
            Samples::Histograms(iter) => scratch.histograms.recycle(Decoded::Histograms(iter)),
            Samples::FloatHistograms(iter) => {
                scratch.histograms.recycle(Decoded::FloatHistograms(iter));
            }
        }
    }
}
