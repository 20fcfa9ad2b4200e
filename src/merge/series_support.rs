//! Merging one series without blocks around it, for the tests.

use super::Dedup;
use super::ledger::Ledger;
use super::overlap::{self, Piece, PieceError, Scratch, SeriesOut};
use super::penalty;
use super::test_support::Chunk;
use super::worker::OutData;

/// What a merge made of one series.
#[derive(Debug)]
pub(super) struct MergedSeries {
    pub chunks: Vec<Chunk>,
    /// For each chunk the source chunk that it is a copy of, counted over all
    /// sources.
    pub copies: Vec<Option<usize>>,
    pub ledger: Ledger,
}

impl MergedSeries {
    pub fn samples(&self) -> Vec<(i64, String)> {
        let decoded = self.chunks.iter().flat_map(Chunk::decode);
        decoded.map(|(t, v, _)| (t, v)).collect()
    }
}

/// The chunks of one series in one source.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub run: u32,
    pub replica: u32,
    pub chunks: Vec<Chunk>,
}

/// Merges one series one-to-one; the place of a source is its rank.
pub(super) fn merge_series(sources: &[Vec<Chunk>]) -> Result<MergedSeries, PieceError> {
    merge_series_with(sources, &mut Scratch::default())
}

pub(super) fn merge_series_with(
    sources: &[Vec<Chunk>],
    scratch: &mut Scratch,
) -> Result<MergedSeries, PieceError> {
    merge_parts(&replicas(sources), Dedup::OneToOne, scratch)
}

/// Merges one series of replicas in one run by `penalty`.
pub(super) fn penalty_series(sources: &[Vec<Chunk>]) -> Result<MergedSeries, PieceError> {
    merge_parts(&replicas(sources), Dedup::Penalty, &mut Scratch::default())
}

/// Each source as a replica, all in one run.
fn replicas(sources: &[Vec<Chunk>]) -> Vec<Part> {
    let part = |(replica, chunks): (u32, &Vec<Chunk>)| Part {
        run: 0,
        replica,
        chunks: chunks.clone(),
    };
    (0..).zip(sources).map(part).collect()
}

/// The place of a part is its rank.
pub(super) fn merge_parts(
    parts: &[Part],
    dedup: Dedup,
    scratch: &mut Scratch,
) -> Result<MergedSeries, PieceError> {
    let mut ledger = Ledger::default();
    let mut pieces = Vec::new();
    let mut inputs = Vec::new();
    for (rank, part) in (0..).zip(parts) {
        for chunk in &part.chunks {
            ledger.read += chunk.samples();
            ledger.chunks_read += 1;
            pieces.push(Piece {
                min_time: chunk.min_time,
                max_time: chunk.max_time,
                rank,
                run: part.run,
                replica: part.replica,
                encoding: chunk.known(),
                samples: chunk.samples() as u32,
                data: &chunk.data,
                input: inputs.len() as u32,
                intact: true,
            });
            inputs.push(chunk.clone());
        }
    }
    let (mut out, mut framed) = (Vec::new(), Vec::new());
    let mut to = SeriesOut {
        chunks: &mut out,
        framed: &mut framed,
        ledger: &mut ledger,
    };
    match dedup {
        Dedup::OneToOne => overlap::merge_series(&mut pieces, scratch, &mut to)?,
        Dedup::Penalty => penalty::merge_series(&mut pieces, scratch, &mut to)?,
    }
    let mut merged = MergedSeries {
        chunks: Vec::new(),
        copies: Vec::new(),
        ledger,
    };
    for chunk in out {
        let (data, copy) = match chunk.data {
            OutData::Input(i) => (inputs[i as usize].data.clone(), Some(i as usize)),
            OutData::Framed(start, end) => {
                // Length uvarint, encoding, data, CRC; the frame is tested elsewhere.
                let framed = &framed[start..end];
                let prefix = framed.iter().take_while(|b| **b >= 0x80).count() + 2;
                (framed[prefix..framed.len() - 4].to_vec(), None)
            }
        };
        merged.copies.push(copy);
        merged.chunks.push(Chunk {
            encoding: chunk.encoding.as_byte(),
            min_time: chunk.min_time,
            max_time: chunk.max_time,
            data,
        });
    }
    Ok(merged)
}
