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
//! passes byte for byte; the samples of any other are mixed: one per timestamp,
//! ties to the lower rank, at most 120 per new chunk.
//!
//! Mixing opens a piece only when the sweep reaches its first sample, so
//! memory holds the pieces open at one time, however long the cluster is, and
//! time is linear in the samples.

use super::ledger::Ledger;
use super::mixed;
use super::worker::{OutChunk, OutData};
use crate::tsdb::chunkenc::{
    DecodeScratch, EncodedChunks, Encoding, FloatSamples, Kind, SeriesEncoder, decode_floats,
};
use crate::tsdb::chunks::frame_chunk;
use crate::tsdb::{Corrupt, Result};

/// One chunk of one series of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// First sample, ms.
    pub min_time: i64,
    /// Last sample, ms.
    pub max_time: i64,
    /// Of its source: on a tie the lower one wins.
    pub rank: u32,
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
    open: Vec<FloatCursor>,
    pub(super) idle: Vec<FloatSamples>,
    merged: FloatSamples,
    pub(super) histograms: DecodeScratch,
    pub(super) encoder: SeriesEncoder,
    pub(super) chunks: EncodedChunks,
}

/// A float piece that the sweep has reached.
#[derive(Debug)]
struct FloatCursor {
    rank: u32,
    at: usize,
    samples: FloatSamples,
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
    drop_copies(pieces, out.ledger);
    let mut rest = pieces.as_slice();
    while let Some(first) = rest.first() {
        let len = cluster_len(rest, first.max_time);
        let (cluster, after) = rest.split_at(len);
        match cluster {
            [alone] => pass(alone, out),
            several => mix(several, scratch, out)?,
        }
        rest = after;
    }
    Ok(())
}

/// Removes each piece that equals the one kept before it.
fn drop_copies(pieces: &mut Vec<Piece<'_>>, ledger: &mut Ledger) {
    pieces.dedup_by(|next, kept| {
        let same = next.min_time == kept.min_time
            && next.max_time == kept.max_time
            && next.encoding == kept.encoding
            && next.data == kept.data;
        if same {
            ledger.deduplicated += u64::from(next.samples);
        }
        same
    });
}

/// How many pieces from the first on are connected.
fn cluster_len(pieces: &[Piece<'_>], first_end: i64) -> usize {
    let mut end = first_end;
    let mut len = 1;
    while let Some(next) = pieces.get(len).filter(|p| p.min_time <= end) {
        end = end.max(next.max_time);
        len += 1;
    }
    len
}

fn pass(piece: &Piece<'_>, out: &mut SeriesOut<'_>) {
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
    });
}

impl SeriesOut<'_> {
    /// Frames encoded samples as a segment holds them.
    fn frame(&mut self, encoding: Encoding, data: &[u8]) -> OutData {
        let start = self.framed.len();
        frame_chunk(encoding.as_byte(), data, self.framed);
        OutData::Framed(start as u32, (self.framed.len() - start) as u32)
    }

    /// Takes over what was encoded anew.
    fn take(&mut self, chunks: &EncodedChunks) {
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
            });
        }
    }
}

fn mix(
    cluster: &[Piece<'_>],
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    scratch.chunks.clear();
    if cluster.iter().all(|p| p.encoding.kind() == Some(Kind::Float)) {
        sweep_floats(cluster, scratch, out.ledger)?;
    } else {
        mixed::sweep(cluster, scratch, out.ledger)?;
    }
    let finished = scratch.encoder.finish(&mut scratch.chunks);
    finished.map_err(|error| PieceError {
        input: cluster[0].input,
        error,
    })?;
    out.take(&scratch.chunks);
    Ok(())
}

/// Mixes float pieces, sorted by start, into the encoder.
fn sweep_floats(
    cluster: &[Piece<'_>],
    scratch: &mut Scratch,
    ledger: &mut Ledger,
) -> Result<(), PieceError> {
    let mut unopened = cluster.iter();
    while let Some(piece) = unopened.next() {
        let at = |error| PieceError {
            input: piece.input,
            error,
        };
        open(piece, scratch, ledger).map_err(at)?;
        // What starts later cannot have samples before its first one.
        let bound = unopened.as_slice().first().map(|p| p.min_time);
        drain_until(bound, scratch, ledger);
        if bound.is_none() || scratch.merged.len() >= FLUSH_SAMPLES {
            flush(scratch).map_err(at)?;
        }
    }
    debug_assert!(scratch.open.is_empty(), "the last drain has no bound");
    Ok(())
}

/// Decodes a piece and puts it among the open ones, by rank.
fn open(piece: &Piece<'_>, scratch: &mut Scratch, ledger: &mut Ledger) -> Result<()> {
    let mut samples = scratch.idle.pop().unwrap_or_default();
    samples.clear();
    let start_times = decode_floats(piece.encoding, piece.data, &mut samples)?;
    ledger.start_times_dropped += start_times as u64;
    check_times(piece, &samples.ts)?;
    let place = scratch
        .open
        .partition_point(|c| (c.rank, c.samples.ts.first()) <= (piece.rank, samples.ts.first()));
    let cursor = FloatCursor {
        rank: piece.rank,
        at: 0,
        samples,
    };
    scratch.open.insert(place, cursor);
    Ok(())
}

/// A merge relies on ascending times inside the range that the index states.
pub(super) fn check_times(piece: &Piece<'_>, ts: &[i64]) -> Result<()> {
    let ascending = ts.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = ts.first().is_none_or(|t| *t >= piece.min_time)
        && ts.last().is_none_or(|t| *t <= piece.max_time);
    if ascending && inside {
        return Ok(());
    }
    let what = if ascending {
        "chunk has samples outside the time range its index entry states"
    } else {
        "samples of a chunk are not in time order"
    };
    Err(Corrupt::at(0, what).into())
}

/// Moves all samples before `bound` (ms, exclusive; `None`: all) from the open
/// cursors to the merged ones, one per timestamp, and closes those at their end.
fn drain_until(bound: Option<i64>, scratch: &mut Scratch, ledger: &mut Ledger) {
    let Scratch {
        open, merged, idle, ..
    } = scratch;
    ledger.deduplicated += match open.as_mut_slice() {
        [] => 0,
        [only] => copy_until(bound, only, merged),
        [a, b] => zip_until(bound, a, b, merged),
        several => step_until(bound, several, merged),
    };
    open.retain_mut(|cursor| {
        let alive = cursor.at < cursor.samples.ts.len();
        if !alive {
            idle.push(std::mem::take(&mut cursor.samples));
        }
        alive
    });
}

impl FloatCursor {
    /// Index of the first sample at or after the bound.
    fn end(&self, bound: Option<i64>) -> usize {
        let left = &self.samples.ts[self.at..];
        self.at + bound.map_or(left.len(), |bound| left.partition_point(|t| *t < bound))
    }

    /// Copies the samples up to `end` and moves there.
    fn copy_to(&mut self, end: usize, merged: &mut FloatSamples) {
        merged.ts.extend_from_slice(&self.samples.ts[self.at..end]);
        merged.vs.extend_from_slice(&self.samples.vs[self.at..end]);
        self.at = end;
    }
}

/// One cursor: everything before the bound in one copy, no ties.
fn copy_until(bound: Option<i64>, cursor: &mut FloatCursor, merged: &mut FloatSamples) -> u64 {
    cursor.copy_to(cursor.end(bound), merged);
    0
}

/// Two cursors, `a` of the lower rank: the common case of a replica pair.
/// Returns how many samples of `b` lost a tie.
fn zip_until(
    bound: Option<i64>,
    a: &mut FloatCursor,
    b: &mut FloatCursor,
    merged: &mut FloatSamples,
) -> u64 {
    let (a_end, b_end) = (a.end(bound), b.end(bound));
    let mut ties = 0;
    {
        let (a_ts, a_vs) = (&a.samples.ts[..a_end], &a.samples.vs[..a_end]);
        let (b_ts, b_vs) = (&b.samples.ts[..b_end], &b.samples.vs[..b_end]);
        while let (Some(&ta), Some(&tb)) = (a_ts.get(a.at), b_ts.get(b.at)) {
            let tie = ta == tb;
            if ta <= tb {
                merged.ts.push(ta);
                merged.vs.push(a_vs[a.at]);
                a.at += 1;
                b.at += usize::from(tie);
                ties += u64::from(tie);
            } else {
                merged.ts.push(tb);
                merged.vs.push(b_vs[b.at]);
                b.at += 1;
            }
        }
    }
    a.copy_to(a_end, merged);
    b.copy_to(b_end, merged);
    ties
}

/// Any number of cursors, by rank.
fn step_until(bound: Option<i64>, open: &mut [FloatCursor], merged: &mut FloatSamples) -> u64 {
    let mut ties = 0;
    loop {
        let mut first: Option<(i64, usize)> = None;
        for (i, cursor) in open.iter().enumerate() {
            if let Some(&t) = cursor.samples.ts.get(cursor.at) {
                if first.is_none_or(|(earliest, _)| t < earliest) {
                    first = Some((t, i));
                }
            }
        }
        let Some((t, winner)) = first.filter(|(t, _)| bound.is_none_or(|b| *t < b)) else {
            return ties;
        };
        merged.ts.push(t);
        merged.vs.push(open[winner].samples.vs[open[winner].at]);
        for (i, cursor) in open.iter_mut().enumerate() {
            if cursor.samples.ts.get(cursor.at) == Some(&t) {
                cursor.at += 1;
                ties += u64::from(i != winner);
            }
        }
    }
}

/// Samples after which the merged ones go to the encoder: they still lie in the
/// first-level cache then.
const FLUSH_SAMPLES: usize = 1024;

fn flush(scratch: &mut Scratch) -> Result<()> {
    let Scratch {
        merged,
        encoder,
        chunks,
        ..
    } = scratch;
    encoder.push_floats(&merged.ts, &merged.vs, chunks)?;
    merged.clear();
    Ok(())
}
