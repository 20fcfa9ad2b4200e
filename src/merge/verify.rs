//! One source read from front to back, to find out whether it is damaged.
//!
//! It is a merge of that source alone into nothing, so every check of a merge
//! is made, and besides each chunk is decoded, which a merge does only where
//! chunks overlap, and each series is downsampled as far as it goes. What a merge
//! of several sources blames on one of them shows up here, too, unless it lies in
//! how they fit together.

use std::cell::RefCell;
use std::sync::Arc;

use rayon::ThreadPool;

use super::batch::Batch;
use super::ledger::Ledger;
use super::overlap::{Piece, PieceError, check_time, check_times};
use super::pipeline::{Tuning, merge_with};
use super::products::Products;
use super::worker::{self, checked};
use super::{Dedup, MergeError, MergeMemory, MergeOptions, Output, Source};
use crate::downsample::FIVE_MINUTES_MS;
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{DecodeScratch, Decoded, Encoding, FloatSamples, decode_chunk};
use crate::tsdb::chunks::DEFAULT_SEGMENT_SIZE;

/// Reads all of a source and writes nothing; tables past `memory` go to scratch.
/// `resolution` is the window of its samples, ms, 0 for raw.
///
/// # Errors
/// [`MergeError`] for the first damage in series order, or what reading
/// returns.
pub fn verify(
    source: Source,
    resolution: i64,
    pool: &Arc<ThreadPool>,
    memory: MergeMemory,
) -> Result<(), MergeError> {
    let options = MergeOptions {
        pool: Arc::clone(pool),
        range: (i64::MIN, i64::MAX),
        dedup: Dedup::OneToOne,
        products: Products::merged(resolution),
        one_in: 1,
        segment_bytes: DEFAULT_SEGMENT_SIZE,
        memory,
    };
    let tuning = Tuning {
        work,
        ..Tuning::default()
    };
    merge_with(vec![source], &options, vec![Output::nowhere()], tuning).map(drop)
}

#[derive(Default)]
struct Scratch {
    floats: FloatSamples,
    histograms: DecodeScratch,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn work(batch: &mut Batch) -> Result<(), PieceError> {
    // The books are kept by the work of a merge, which follows.
    let mut ignored = Ledger::default();
    SCRATCH.with_borrow_mut(|scratch| {
        for (input, chunk) in (0..).zip(&batch.inputs) {
            let piece = checked(input, chunk, &mut ignored);
            let read = piece.and_then(|piece| read_samples(&piece, scratch));
            read.map_err(|error| PieceError { input, error })?;
        }
        Ok(())
    })?;
    let wanted = batch.products;
    batch.products = wanted.map(all_resolutions);
    let done = worker::work(batch);
    batch.products = wanted;
    done
}

/// What can be made of the source, besides what is written.
fn all_resolutions(products: Products) -> Products {
    Products {
        five_minutes: products.from == 0,
        one_hour: matches!(products.from, 0 | FIVE_MINUTES_MS),
        ..products
    }
}

/// Decodes a chunk and checks the times of its samples. Of aggregates the columns
/// have been told apart when their samples were counted; what is in them is read
/// by the downsampling, and of those of 1 hour by nobody.
fn read_samples(piece: &Piece<'_>, scratch: &mut Scratch) -> Result<()> {
    if piece.encoding == Encoding::Aggr {
        return Ok(());
    }
    scratch.floats.clear();
    let (floats, histograms) = (&mut scratch.floats, &mut scratch.histograms);
    let mut before = None;
    match decode_chunk(piece.encoding, piece.data, floats, histograms)? {
        Decoded::Floats { .. } => check_times(piece, &floats.ts),
        Decoded::Histograms(mut iter) => {
            while let Some(t) = iter.next()? {
                check_time(piece, before.replace(t), t)?;
            }
            histograms.recycle(Decoded::Histograms(iter));
            Ok(())
        }
        Decoded::FloatHistograms(mut iter) => {
            while let Some(t) = iter.next()? {
                check_time(piece, before.replace(t), t)?;
            }
            histograms.recycle(Decoded::FloatHistograms(iter));
            Ok(())
        }
    }
}
