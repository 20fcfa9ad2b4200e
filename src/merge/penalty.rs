//! One series that several replicas have, deduplicated by `penalty`: at each
//! time one replica is followed, as a Thanos querier would.
//!
//! ```text
//!  replica 0   |-----|-----|           |-----|
//!  replica 1      |-----|-----|               |-----|    |-----|
//!               `---- run ----´       `---- run ---´     `- run -´
//!                     follow one of two, afresh           passes
//! ```
//!
//! Chunks pass or are mixed as in `overlap.rs` where a run has one replica of
//! the series, and where it has aggregates: samples of those cannot be left
//! out. Everywhere else the chunks of each replica become one stream
//! (`stream.rs`) of which `fold.rs` chooses. Where chunks of one replica
//! overlap, because it has overlapping blocks, they are mixed first.
//!
//! Runs do not overlap in time, so their results follow each other. Should
//! they do so in the series nevertheless, then they are connected and count as
//! one run.
//!
//! Time is linear in the samples; chunks that cannot have a wanted sample are
//! not decoded, and all others once, or twice those with histograms that are
//! wanted in part. Memory holds one decoded chunk per replica.

use std::ops::Range;

use super::fold::{self, Fold};
use super::ledger::Ledger;
use super::overlap::{
    self, NewChunks, Piece, PieceError, Scratch, SeriesOut, cluster_len, drop_copy, mix_chunks,
};
use super::stream::{Stream, Streams};
use crate::tsdb::chunkenc::{EncodedChunk, EncodedChunks, Encoding};

/// Buffers that live as long as the worker's thread.
#[derive(Debug, Default)]
pub(super) struct PenaltyScratch {
    streams: Vec<Stream>,
    folds: Vec<Fold>,
    hulls: Vec<Hull>,
}

/// From the first to the last sample of a run of the series, ms.
#[derive(Debug)]
struct Hull {
    min_time: i64,
    max_time: i64,
    pieces: Range<usize>,
}

/// Merges the pieces of one series, of any number of replicas and runs.
pub(super) fn merge_series(
    pieces: &mut Vec<Piece<'_>>,
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    if pieces.iter().all(|p| p.replica == pieces[0].replica) {
        return overlap::merge_series(pieces, scratch, out);
    }
    // Lost on an error, and then grown again.
    let mut own = std::mem::take(&mut scratch.penalty);
    sort_by_run(pieces, &mut own.hulls);
    let same = |a: &Piece<'_>, b: &Piece<'_>| (a.run, a.replica) == (b.run, b.replica);
    pieces.dedup_by(|next, kept| same(next, kept) && drop_copy(next, kept, out.ledger));
    for run in pieces.chunk_by(|a, b| a.run == b.run) {
        one_run(run, &mut own, scratch, out)?;
    }
    scratch.penalty = own;
    Ok(())
}

/// Sorts by run, the runs by time, and within a run by replica, time and rank.
/// Runs that overlap become one.
fn sort_by_run(pieces: &mut [Piece<'_>], hulls: &mut Vec<Hull>) {
    // Pieces come source by source, so this finds long sorted parts.
    let sort = |pieces: &mut [Piece<'_>]| {
        pieces.sort_by_key(|p| (p.run, p.replica, p.min_time, p.max_time, p.rank, p.input));
    };
    sort(pieces);
    hulls.clear();
    let mut start = 0;
    for run in pieces.chunk_by(|a, b| a.run == b.run) {
        let end = start + run.len();
        hulls.push(Hull {
            min_time: run.iter().map(|p| p.min_time).min().unwrap_or_default(),
            max_time: run.iter().map(|p| p.max_time).max().unwrap_or_default(),
            pieces: start..end,
        });
        start = end;
    }
    if hulls.is_sorted_by(|a, b| a.max_time < b.min_time) {
        return;
    }
    hulls.sort_by_key(|hull| hull.min_time);
    let (mut number, mut end) = (0, None);
    for hull in hulls.iter() {
        number += u32::from(end.is_some_and(|end| hull.min_time > end));
        end = end.max(Some(hull.max_time));
        for piece in &mut pieces[hull.pieces.clone()] {
            piece.run = number;
        }
    }
    sort(pieces);
}

/// Merges the pieces of one run, sorted by replica and time.
fn one_run(
    run: &[Piece<'_>],
    own: &mut PenaltyScratch,
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    if run.iter().all(|p| p.replica == run[0].replica) {
        return overlap::merge_sorted(run, scratch, out);
    }
    if run.iter().any(|p| p.encoding == Encoding::Aggr) {
        return overlap::merge_series(&mut run.to_vec(), scratch, out);
    }
    let mut replicas = run.chunk_by(|a, b| a.replica == b.replica);
    if replicas.all(|pieces| pieces.is_sorted_by(|a, b| a.max_time < b.min_time)) {
        return follow(run, own, scratch, out);
    }
    let (mut rest, mut mixed) = (Vec::new(), NewChunks::default());
    for pieces in run.chunk_by(|a, b| a.replica == b.replica) {
        mix_overlaps(pieces, scratch, out.ledger, &mut rest, &mut mixed)?;
    }
    mixed.extend(&mut rest);
    rest.sort_by_key(|p| (p.replica, p.min_time));
    follow(&rest, own, scratch, out)
}

fn follow<'a>(
    run: &'a [Piece<'a>],
    own: &mut PenaltyScratch,
    scratch: &mut Scratch,
    out: &mut SeriesOut<'_>,
) -> Result<(), PieceError> {
    let streams = Streams::new(run, &mut own.streams, scratch, out);
    fold::fold(streams, &mut own.folds)
}

/// Sorts the pieces of one replica into those that overlap nothing, and what
/// becomes of the others. Only a replica with overlapping blocks, one of them
/// perhaps of samples that came late, has any.
fn mix_overlaps<'a>(
    pieces: &[Piece<'a>],
    scratch: &mut Scratch,
    ledger: &mut Ledger,
    alone: &mut Vec<Piece<'a>>,
    mixed: &mut NewChunks,
) -> Result<(), PieceError> {
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let (cluster, after) = rest.split_at(cluster_len(rest, first.max_time));
        rest = after;
        if let [piece] = cluster {
            alone.push(*piece);
            continue;
        }
        mix_chunks(cluster, scratch, ledger)?;
        let copied = mixed.append_with(first, |to| {
            append(&scratch.chunks, to);
            Ok(())
        });
        copied.map_err(|error| PieceError {
            input: first.input,
            error,
        })?;
    }
    Ok(())
}

fn append(chunks: &EncodedChunks, to: &mut EncodedChunks) {
    let before = to.bytes.len();
    to.bytes.extend_from_slice(&chunks.bytes);
    to.metas
        .extend(chunks.metas.iter().map(|chunk| EncodedChunk {
            start: before + chunk.start,
            ..*chunk
        }));
}
