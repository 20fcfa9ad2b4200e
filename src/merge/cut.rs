//! Leaving samples out of a chunk: deleted ranges, and what lies outside of
//! the result's range. Rare, so nothing here is reused between series.

use super::ledger::Ledger;
use super::overlap::{NewChunks, Piece, check_time};
use crate::tsdb::chunkenc::{
    DecodeScratch, Decoded, EncodedChunks, Encoding, FloatSamples, SeriesEncoder, decode_chunk,
};
use crate::tsdb::tombstones::Interval;
use crate::tsdb::{Corrupt, Result};

/// Encodes what `intervals` (ms, inclusive at both ends) leave of a piece.
pub(super) fn cut(
    piece: &Piece<'_>,
    intervals: &[Interval],
    left: &mut NewChunks,
    ledger: &mut Ledger,
) -> Result<()> {
    ledger.chunks_replaced += 1;
    let covers = |i: &Interval| i.min_time <= piece.min_time && i.max_time >= piece.max_time;
    if intervals.iter().any(covers) {
        ledger.deleted += u64::from(piece.samples);
        return Ok(());
    }
    if piece.encoding == Encoding::Aggr {
        let what = "downsampled chunk would have to be cut: tombstones and the end of a block \
                    may only take whole chunks of it";
        return Err(Corrupt::at(0, what).into());
    }
    let kept = left.append_with(piece, |out| encode_rest(piece, intervals, out, ledger))?;
    let lost = u64::from(piece.samples).checked_sub(kept);
    ledger.deleted +=
        lost.ok_or_else(|| Corrupt::at(0, "chunk holds more samples than its header says"))?;
    Ok(())
}

/// Decides sample by sample what is left out.
struct Cutter<'a> {
    piece: &'a Piece<'a>,
    intervals: &'a [Interval],
    /// Time of the sample before, ms.
    last: Option<i64>,
    kept: u64,
}

impl Cutter<'_> {
    /// Whether the next sample, at `t`, stays.
    fn keeps(&mut self, t: i64) -> Result<bool> {
        check_time(self.piece, self.last, t)?;
        self.last = Some(t);
        let keeps = !self.intervals.iter().any(|i| i.contains(t));
        self.kept += u64::from(keeps);
        Ok(keeps)
    }
}

/// Encodes the samples outside of all intervals and returns how many they are.
/// The hints of histograms are passed on, see `mixed.rs`.
fn encode_rest(
    piece: &Piece<'_>,
    intervals: &[Interval],
    out: &mut EncodedChunks,
    ledger: &mut Ledger,
) -> Result<u64> {
    let mut floats = FloatSamples::default();
    let mut scratch = DecodeScratch::default();
    let mut encoder = SeriesEncoder::new();
    let mut cutter = Cutter {
        piece,
        intervals,
        last: None,
        kept: 0,
    };
    match decode_chunk(piece.encoding, piece.data, &mut floats, &mut scratch)? {
        Decoded::Floats { start_times } => {
            ledger.start_times_dropped += start_times as u64;
            for (t, v) in floats.iter() {
                if cutter.keeps(t)? {
                    encoder.push_float(t, v, out)?;
                }
            }
        }
        Decoded::Histograms(mut iter) => {
            while let Some(t) = iter.next()? {
                ledger.start_times_dropped += u64::from(iter.start_time().is_some());
                if cutter.keeps(t)? {
                    encoder.push_histogram(t, iter.current(), out)?;
                }
            }
        }
        Decoded::FloatHistograms(mut iter) => {
            while let Some(t) = iter.next()? {
                ledger.start_times_dropped += u64::from(iter.start_time().is_some());
                if cutter.keeps(t)? {
                    encoder.push_float_histogram(t, iter.current(), out)?;
                }
            }
        }
    }
    encoder.finish(out)?;
    Ok(cutter.kept)
}
