//! Mixing a cluster of floats: the hot path of a replica pair.
//!
//! ```text
//!  pieces by start   a1 |-----------|
//!                    b1    |-----------|
//!                    a2                 |----- ...
//!  open              a1 |a1 b1      |b1|
//!  drained           <--'           |  |    up to where the next piece begins
//! ```
//!
//! What lies before the next piece's start is settled once the piece before it
//! has been opened. One open piece is copied, two are zipped, more are compared
//! sample by sample.

use super::ledger::Ledger;
use super::overlap::{Piece, PieceError, Scratch, check_times};
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{FloatSamples, decode_floats};

/// Samples after which the merged ones go to the encoder: they still lie in the
/// first-level cache then.
const FLUSH_SAMPLES: usize = 1024;

/// Buffers of the sweep.
#[derive(Debug, Default)]
pub(super) struct FloatScratch {
    /// Pieces that the sweep has reached, the winner of a tie first.
    open: Vec<FloatCursor>,
    /// Buffers of pieces that have ended.
    idle: Vec<FloatSamples>,
    /// On the way to the encoder.
    pub(super) merged: FloatSamples,
}

/// A float piece that the sweep has reached.
#[derive(Debug)]
struct FloatCursor {
    /// Who wins a tie: the smaller one. Rank, then place in the batch.
    order: (u32, u32),
    /// Samples that have been taken.
    at: usize,
    samples: FloatSamples,
}

impl FloatScratch {
    /// Drops what a failed series left behind.
    pub fn reset(&mut self) {
        self.merged.clear();
        self.idle.extend(self.open.drain(..).map(|c| c.samples));
    }

    /// An empty buffer, used before if there is one.
    pub fn take_idle(&mut self) -> FloatSamples {
        let mut samples = self.idle.pop().unwrap_or_default();
        samples.clear();
        samples
    }

    /// Takes a buffer back.
    pub fn give_idle(&mut self, samples: FloatSamples) {
        self.idle.push(samples);
    }
}

/// Mixes float pieces, sorted by start, into the encoder.
pub(super) fn sweep(
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
        open(piece, &mut scratch.floats, ledger).map_err(at)?;
        // What starts later cannot have samples before its first one.
        let bound = unopened.as_slice().first().map(|p| p.min_time);
        drain_until(bound, &mut scratch.floats, ledger);
        if bound.is_none() || scratch.floats.merged.len() >= FLUSH_SAMPLES {
            flush(scratch).map_err(at)?;
        }
    }
    debug_assert!(
        scratch.floats.open.is_empty(),
        "the last drain has no bound"
    );
    Ok(())
}

/// Decodes a piece and puts it among the open ones.
fn open(piece: &Piece<'_>, scratch: &mut FloatScratch, ledger: &mut Ledger) -> Result<()> {
    let mut samples = scratch.take_idle();
    let start_times = decode_floats(piece.encoding, piece.data, &mut samples)?;
    ledger.start_times_dropped += start_times as u64;
    check_times(piece, &samples.ts)?;
    let order = (piece.rank, piece.input);
    let place = scratch.open.partition_point(|c| c.order < order);
    let cursor = FloatCursor {
        order,
        at: 0,
        samples,
    };
    scratch.open.insert(place, cursor);
    Ok(())
}

/// Moves all samples before `bound` (ms, exclusive; `None`: all) from the open
/// cursors to the merged ones, one per timestamp, and closes those at their end.
fn drain_until(bound: Option<i64>, scratch: &mut FloatScratch, ledger: &mut Ledger) {
    let FloatScratch { open, merged, idle } = scratch;
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
    /// Timestamps and values, equally many, of what is left before the bound.
    fn left(&self, bound: Option<i64>) -> (&[i64], &[f64]) {
        let (ts, vs) = (&self.samples.ts[self.at..], &self.samples.vs[self.at..]);
        let len = bound.map_or(ts.len(), |bound| ts.partition_point(|t| *t < bound));
        (&ts[..len], &vs[..len])
    }
}

/// One cursor: everything before the bound in one copy, no ties.
fn copy_until(bound: Option<i64>, cursor: &mut FloatCursor, merged: &mut FloatSamples) -> u64 {
    let (ts, vs) = cursor.left(bound);
    merged.ts.extend_from_slice(ts);
    merged.vs.extend_from_slice(vs);
    cursor.at += ts.len();
    0
}

/// Two cursors, `a` winning ties: the common case of a replica pair. Returns
/// how many samples of `b` lost a tie.
fn zip_until(
    bound: Option<i64>,
    a: &mut FloatCursor,
    b: &mut FloatCursor,
    merged: &mut FloatSamples,
) -> u64 {
    let (a_ts, a_vs) = a.left(bound);
    let (b_ts, b_vs) = b.left(bound);
    // Room first and then slices: a push per sample would compare and store
    // two lengths each time, a third of this loop's cost.
    let start = merged.len();
    let most = start + a_ts.len() + b_ts.len();
    merged.ts.resize(most, 0);
    merged.vs.resize(most, 0.0);
    let (ts, vs) = (&mut merged.ts[start..], &mut merged.vs[start..]);
    let (mut i, mut j) = (0, 0);
    let mut n = 0;
    // Replicas scrape in turns, so the branch is predicted well; a select
    // instead of it is slower for them and for equal timestamps (measured).
    for (t, v) in ts.iter_mut().zip(vs.iter_mut()) {
        let (Some(&ta), Some(&tb)) = (a_ts.get(i), b_ts.get(j)) else {
            break;
        };
        if ta <= tb {
            (*t, *v) = (ta, a_vs[i]);
            i += 1;
            j += usize::from(ta == tb);
        } else {
            (*t, *v) = (tb, b_vs[j]);
            j += 1;
        }
        n += 1;
    }
    let ties = i + j - n;
    // Of one cursor nothing is left, so the order of these does not matter.
    for (rest_ts, rest_vs) in [(&a_ts[i..], &a_vs[i..]), (&b_ts[j..], &b_vs[j..])] {
        let end = n + rest_ts.len();
        ts[n..end].copy_from_slice(rest_ts);
        vs[n..end].copy_from_slice(rest_vs);
        n = end;
    }
    let (a_len, b_len) = (a_ts.len(), b_ts.len());
    a.at += a_len;
    b.at += b_len;
    merged.ts.truncate(start + n);
    merged.vs.truncate(start + n);
    ties as u64
}

/// Any number of cursors, the winner of a tie first. Returns the ties lost.
fn step_until(bound: Option<i64>, open: &mut [FloatCursor], merged: &mut FloatSamples) -> u64 {
    let mut ties = 0;
    loop {
        let mut first: Option<(i64, usize)> = None;
        for (i, cursor) in open.iter().enumerate() {
            if let Some(&t) = cursor.samples.ts.get(cursor.at)
                && first.is_none_or(|(earliest, _)| t < earliest)
            {
                first = Some((t, i));
            }
        }
        let Some((t, winner)) = first.filter(|(t, _)| bound.is_none_or(|b| *t < b)) else {
            return ties;
        };
        merged.push(t, open[winner].samples.vs[open[winner].at]);
        for (i, cursor) in open.iter_mut().enumerate() {
            if cursor.samples.ts.get(cursor.at) == Some(&t) {
                cursor.at += 1;
                ties += u64::from(i != winner);
            }
        }
    }
}

fn flush(scratch: &mut Scratch) -> Result<()> {
    if scratch.tapping {
        scratch.tap();
    }
    let merged = &mut scratch.floats.merged;
    let chunks = &mut scratch.chunks;
    scratch
        .encoder
        .push_floats(&merged.ts, &merged.vs, chunks)?;
    merged.clear();
    Ok(())
}
