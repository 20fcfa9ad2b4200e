//! Leaving samples out of a chunk: deleted ranges, and what lies outside of
//! the result's range. Rare, so nothing here is reused between series.

use std::sync::Arc;

use super::ledger::Ledger;
use super::overlap::Piece;
use crate::tsdb::chunkenc::{
    CounterReset, DecodeScratch, Decoded, EncodedChunks, FloatSamples, SeriesEncoder, decode_chunk,
};
use crate::tsdb::tombstones::Interval;
use crate::tsdb::{Corrupt, Result};

/// Pieces of one series after something was cut out of them.
#[derive(Default)]
pub(super) struct CutChunks {
    chunks: EncodedChunks,
    /// Which input each of `chunks` was part of, and its rank.
    from: Vec<(u32, u32)>,
}

impl CutChunks {
    /// Encodes what `intervals` (ms, inclusive at both ends) leave of a piece.
    pub fn add(
        &mut self,
        piece: &Piece<'_>,
        intervals: &Arc<[Interval]>,
        ledger: &mut Ledger,
    ) -> Result<()> {
        let mut floats = FloatSamples::default();
        let mut scratch = DecodeScratch::default();
        let mut encoder = SeriesEncoder::new();
        let out = &mut self.chunks;
        let mut kept = 0;
        // A hint speaks of the sample before, which may just have been cut.
        let mut gap = false;
        let mut is_cut = |t: i64| {
            let cut = intervals.iter().any(|i| i.contains(t));
            kept += u64::from(!cut);
            cut
        };
        match decode_chunk(piece.encoding, piece.data, &mut floats, &mut scratch)? {
            Decoded::Floats { start_times } => {
                ledger.start_times_dropped += start_times as u64;
                for (t, v) in floats.iter().filter(|(t, _)| !is_cut(*t)) {
                    encoder.push_float(t, v, out)?;
                }
            }
            Decoded::Histograms(mut iter) => {
                while let Some(t) = iter.next()? {
                    if is_cut(t) {
                        gap = true;
                        continue;
                    }
                    let mut h = iter.current().clone();
                    h.counter_reset = after(std::mem::take(&mut gap), h.counter_reset);
                    encoder.push_histogram(t, &h, out)?;
                }
            }
            Decoded::FloatHistograms(mut iter) => {
                while let Some(t) = iter.next()? {
                    if is_cut(t) {
                        gap = true;
                        continue;
                    }
                    let mut h = iter.current().clone();
                    h.counter_reset = after(std::mem::take(&mut gap), h.counter_reset);
                    encoder.push_float_histogram(t, &h, out)?;
                }
            }
        }
        encoder.finish(out)?;
        let lost = u64::from(piece.samples).checked_sub(kept).ok_or_else(|| {
            Corrupt::at(0, "chunk holds more samples than its header says")
        })?;
        ledger.deleted += lost;
        self.from.resize(self.chunks.metas.len(), (piece.input, piece.rank));
        Ok(())
    }

    /// Appends what is left as pieces.
    pub fn extend<'a>(&'a self, pieces: &mut Vec<Piece<'a>>) {
        for ((chunk, data), &(input, rank)) in self.chunks.iter().zip(&self.from) {
            pieces.push(Piece {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                rank,
                encoding: chunk.encoding,
                samples: chunk.samples as u32,
                data,
                input,
                intact: false,
            });
        }
    }
}

/// The hint of a sample whose predecessor was (`gap`) or was not cut.
fn after(gap: bool, hint: CounterReset) -> CounterReset {
    if gap && hint != CounterReset::Gauge {
        CounterReset::Unknown
    } else {
        hint
    }
}
