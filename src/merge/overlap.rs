//! One series that several sources have: which chunks pass, which are mixed.
//!
//! ```text
//!  source a  |--1--|--2--|       |--5--|
//!  source b           |--3--|--4--|      |--6--|
//!            pass    `----- one cluster ---´ pass
//! ```
//!
//! Pieces are taken in (min time, max time, rank) order. A piece that starts
//! no later than the cluster so far ends belongs to it; touching at one
//! timestamp counts, since that timestamp must not come out twice. An exact
//! copy of the piece before it (times and bytes) is dropped. A cluster of one
//! passes byte for byte, if readers of today know its encoding; the samples of
//! any other are mixed: one per timestamp, ties to the lower rank, at most 120
//! per new chunk.
//!
//! Mixing opens a piece only when the sweep reaches its first sample, so
//! memory holds the pieces open at one time, however long the cluster is, and
//! time is linear in the samples.

use super::floats::{self, FloatScratch};
use super::ledger::Ledger;
use super::mixed;
use super::penalty::PenaltyScratch;
use super::worker::{OutChunk, OutData};
use crate::downsample::{Downsampler, Level};
use crate::tsdb::chunkenc::{
    DecodeScratch, EncodedChunks, Encoding, FloatSamples, Kind, SeriesEncoder,
};
use crate::tsdb::chunks::frame_chunk;
use crate::tsdb::{Corrupt, Damage, Result};

/// One chunk of one series of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// First sample, ms.
    pub min_time: i64,
    /// Last sample, ms.
    pub max_time: i64,
    /// Of its source: on a tie the lower one wins.
    pub rank: u32,
    /// The connected run of blocks that its source is in.
    pub run: u32,
    /// The replica that its source is a block of.
    pub replica: u32,
    /// How `data` is encoded.
    pub encoding: Encoding,
    /// Samples by its header.
    pub samples: u32,
    /// Encoded samples, without length, encoding byte and CRC.
    pub data: &'a [u8],
    /// Index in the batch.
    pub input: u32,
    /// False if samples were cut out, so that `data` is not what the source
    /// holds and has to be framed anew even if nothing overlaps it.
    pub intact: bool,
}

/// Buffers that live as long as the worker's thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) floats: FloatScratch,
    pub(super) histograms: DecodeScratch,
    pub(super) encoder: SeriesEncoder,
    pub(super) chunks: EncodedChunks,
    pub(super) penalty: PenaltyScratch,
    pub(super) downsampler: Downsampler,
    pub(super) five: Level,
    pub(super) hour: Level,
    /// Floats of the series that were mixed, for whoever downsamples them: what
    /// was just encoded need not be decoded.
    pub(super) tap: FloatSamples,
    /// Whether they are kept.
    pub(super) tapping: bool,
}

/// Samples of a series that are kept besides their chunks, at most.
const MOST_TAPPED: usize = 1 << 20;

impl Scratch {
    /// Drops what an error or a panic left behind. Threads outlive a merge, so
    /// without this samples of a failed one could get into the next.
    pub fn reset(&mut self) {
        self.floats.reset();
        self.encoder.clear();
        self.chunks.clear();
        self.downsampler.reset();
        self.tap.clear();
    }

    /// Keeps samples that go to the encoder.
    pub fn tap(&mut self) {
        let merged = &self.floats.merged;
        self.tapping &= self.tap.len() + merged.len() <= MOST_TAPPED;
        if self.tapping {
            self.tap.ts.extend_from_slice(&merged.ts);
            self.tap.vs.extend_from_slice(&merged.vs);
        }
    }
}

/// Chunks that take the place of pieces before the series is merged: what a cut
/// left, or what several pieces became.
#[derive(Debug, Default)]
pub(super) struct NewChunks {
    chunks: EncodedChunks,
    /// For each of `chunks` a piece that it has its place, rank and run from.
    from: Vec<Origin>,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    input: u32,
    rank: u32,
    run: u32,
    replica: u32,
}

impl NewChunks {
    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// Takes chunks that `encode` appends in the place of a piece.
    pub fn append_with<R>(
        &mut self,
        piece: &Piece<'_>,
        encode: impl FnOnce(&mut EncodedChunks) -> Result<R>,
    ) -> Result<R> {
        let result = encode(&mut self.chunks)?;
        let origin = Origin {
            input: piece.input,
            rank: piece.rank,
            run: piece.run,
            replica: piece.replica,
        };
        self.from.resize(self.chunks.metas.len(), origin);
        Ok(result)
    }

    /// Appends them as pieces.
    pub fn extend<'a>(&'a self, pieces: &mut Vec<Piece<'a>>) {
        for ((chunk, data), from) in self.chunks.iter().zip(&self.from) {
            pieces.push(Piece {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                rank: from.rank,
                run: from.run,
                replica: from.replica,
                encoding: chunk.encoding,
                samples: chunk.samples as u32,
                data,
                input: from.input,
                intact: false,
            });
        }
    }
}

/// Where the chunks of the series go.
pub(super) struct SeriesOut<'a> {
    /// Chunks of the result, in time order.
    pub chunks: &'a mut Vec<OutChunk>,
    /// Framed bytes of chunks that were encoded anew.
    pub framed: &'a mut Vec<u8>,
    /// The books.
    pub ledger: &'a mut Ledger,
}

/// An error in the piece with this index in the batch.
#[derive(Debug)]
pub(super) struct PieceError {
    /// Index of the piece's input in the batch.
    pub input: u32,
    /// What is wrong with it.
    pub error: crate::tsdb::Error,
}

/// Merges the pieces of one series, of any number of sources.
pub(super) fn merge_series(
    pieces: &mut Vec<Piece<'_>>,
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    pieces.sort_unstable_by_key(|p| (p.min_time, p.max_time, p.rank, p.input));
    pieces.dedup_by(|next, kept| drop_copy(next, kept, out.ledger));
    merge_sorted(pieces, scratch, out)
}

/// The same for pieces that are sorted and of which no copies are left.
pub(super) fn merge_sorted(
    pieces: &[Piece<'_>],
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let len = cluster_len(rest, first.max_time);
        let (cluster, after) = rest.split_at(len);
        match cluster {
            // Store gateways of today cannot read the encodings with start times.
            [alone] if !alone.encoding.has_start_times() => pass(alone, out),
            several => mix(several, scratch, out)?,
        }
        rest = after;
    }
    Ok(())
}

/// Whether a piece equals the one kept before it; counts it if so.
pub(super) fn drop_copy(next: &Piece<'_>, kept: &Piece<'_>, ledger: &mut Ledger) -> bool {
    let same = next.min_time == kept.min_time
        && next.max_time == kept.max_time
        && next.encoding == kept.encoding
        && next.data == kept.data;
    if same {
        ledger.drop_chunk(next.samples, next.intact);
    }
    same
}

/// How many pieces from the first on are connected.
pub(super) fn cluster_len(pieces: &[Piece<'_>], first_end: i64) -> usize {
    let mut end = first_end;
    let mut len = 1;
    while let Some(next) = pieces.get(len).filter(|p| p.min_time <= end) {
        end = end.max(next.max_time);
        len += 1;
    }
    len
}

pub(super) fn pass(piece: &Piece<'_>, out: &mut SeriesOut<'_>) {
    let data = if piece.intact {
        out.ledger.chunks_passed += 1;
        OutData::Input(piece.input)
    } else {
        out.ledger.chunks_encoded += 1;
        out.frame(piece.encoding, piece.data)
    };
    out.ledger.written += u64::from(piece.samples);
    out.chunks.push(OutChunk {
        min_time: piece.min_time,
        max_time: piece.max_time,
        encoding: piece.encoding,
        samples: piece.samples,
        data,
        tap: None,
    });
}

impl SeriesOut<'_> {
    /// Frames encoded samples as a segment holds them.
    fn frame(&mut self, encoding: Encoding, data: &[u8]) -> OutData {
        let start = self.framed.len();
        frame_chunk(encoding.as_byte(), data, self.framed);
        OutData::Framed(start, self.framed.len())
    }

    /// Takes over what was encoded anew.
    pub(super) fn take(&mut self, chunks: &EncodedChunks) {
        for (chunk, data) in chunks.iter() {
            let data = self.frame(chunk.encoding, data);
            self.ledger.written += chunk.samples as u64;
            self.ledger.chunks_encoded += 1;
            self.chunks.push(OutChunk {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                encoding: chunk.encoding,
                samples: chunk.samples as u32,
                data,
                tap: None,
            });
        }
    }
}

fn mix(
    cluster: &[Piece<'_>],
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    let (tapped, start) = (scratch.tap.len(), out.chunks.len());
    mix_chunks(cluster, scratch, out.ledger)?;
    out.take(&scratch.chunks);
    let made = &mut out.chunks[start..];
    let samples: u64 = made.iter().map(|c| u64::from(c.samples)).sum();
    // All of them are there, or it is not known which.
    if scratch.tapping && samples == (scratch.tap.len() - tapped) as u64 {
        let mut at = tapped as u32;
        for chunk in made {
            chunk.tap = Some(at);
            at += chunk.samples;
        }
    }
    Ok(())
}

/// Mixes a cluster into the chunks of `scratch`, and into nothing else.
pub(super) fn mix_chunks(
    cluster: &[Piece<'_>],
    scratch: &mut Scratch,
    ledger: &mut Ledger,
) -> Result<(), PieceError> {
    refuse_aggregates(cluster)?;
    ledger.chunks_replaced += cluster.iter().filter(|p| p.intact).count() as u64;
    scratch.chunks.clear();
    let is_float = |p: &Piece<'_>| p.encoding.kind() == Some(Kind::Float);
    if cluster.iter().all(is_float) {
        floats::sweep(cluster, scratch, ledger)?;
    } else {
        mixed::sweep(cluster, scratch, ledger)?;
    }
    let finished = scratch.encoder.finish(&mut scratch.chunks);
    finished.map_err(|error| PieceError {
        input: cluster[0].input,
        error,
    })
}

/// Aggregates of different windows cannot be taken apart again, so only exact
/// copies of downsampled chunks, which are gone by now, may overlap.
fn refuse_aggregates(cluster: &[Piece<'_>]) -> Result<(), PieceError> {
    let [first, second, ..] = cluster else {
        return Ok(());
    };
    if cluster.iter().all(|p| p.encoding != Encoding::Aggr) {
        return Ok(());
    }
    let what = format!(
        "downsampled chunks overlap: {}..={} ms and {}..={} ms cannot be merged; downsample the \
         merged raw blocks instead",
        first.min_time, first.max_time, second.min_time, second.max_time
    );
    Err(PieceError {
        input: second.input,
        error: Corrupt::at(0, what)
            .because(Damage::OverlappingAggregates)
            .into(),
    })
}

/// A merge relies on ascending times inside the range that the index states.
pub(super) fn check_times(piece: &Piece<'_>, ts: &[i64]) -> Result<()> {
    // Without a way out early, so that it becomes vector code.
    let ascending = ts
        .windows(2)
        .fold(true, |ok, pair| ok & (pair[0] < pair[1]));
    let (Some(&first), Some(&last)) = (ts.first(), ts.last()) else {
        return Ok(());
    };
    if ascending && first >= piece.min_time && last <= piece.max_time {
        return Ok(());
    }
    // Once more, one by one, for the message.
    let mut before = None;
    ts.iter()
        .try_for_each(|&t| check_time(piece, before.replace(t), t))
}

/// The same for the sample at `t` that follows one at `before`.
pub(super) fn check_time(piece: &Piece<'_>, before: Option<i64>, t: i64) -> Result<()> {
    let (damage, what) = if before.is_some_and(|before| t <= before) {
        let what = format!(
            "samples of the chunk are out of order: {t} ms follows {} ms",
            before.unwrap_or_default()
        );
        (Damage::UnsortedSamples, what)
    } else if t < piece.min_time || t > piece.max_time {
        let what = format!(
            "chunk has a sample at {t} ms, outside of the times in its index entry, {}..={} ms",
            piece.min_time, piece.max_time
        );
        (Damage::ChunkTimeMismatch, what)
    } else {
        return Ok(());
    };
    Err(Corrupt::at(0, what).because(damage).into())
}
