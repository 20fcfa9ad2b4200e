//! Checks of a result before anybody can see it: its books, and the index as a
//! reader would see it.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::merge::Merged;
use crate::objstore;
use crate::tsdb::index::{Index, RawSeries};
use crate::tsdb::meta::BlockStats;
use crate::tsdb::source::{BlobReader, MemBlob};
use crate::tsdb::{self, Corrupt};

/// Every sample, chunk and series that was read has a fate, and those that were
/// written are in the result.
///
/// # Errors
/// [`Kind::Internal`]: something got lost on the way.
pub(super) fn books(merged: &Merged) -> Result<()> {
    match merged.imbalance() {
        None => Ok(()),
        Some(what) => Err(
            Error::new(Kind::Internal, format!("the ledger of the job: {what}"))
                .with_cure("this is a bug in lithify; nothing was marked, please report it"),
        ),
    }
}

/// Reads a finished index from front to back: every checksum, the order of
/// symbols, series, chunks and postings, that all chunks lie in `range` (ms,
/// end exclusive), and that there are as many as were written.
///
/// # Errors
/// [`Kind::Internal`]: we wrote something wrong, or the disk did.
pub(super) fn index(file: &Path, expected: &BlockStats, range: (i64, i64)) -> Result<()> {
    /// For messages.
    const NAME: &str = "index in scratch";
    // Series are read once, front to back: mapped, all of them would count as
    // memory of this process. Lists and their table are looked up.
    let (read, mapped) = (
        objstore::read_file(file, NAME)?,
        objstore::map_file(file, NAME)?,
    );
    let walked = walk(read, expected, range);
    walked
        .and_then(|()| postings(mapped, expected.num_series))
        .map_err(|error| {
            Error::new(Kind::Internal, "the new index failed its check")
                .with_source(error)
                .with_cure("nothing was marked; check the disk under --data-dir, then run again")
        })
}

fn walk(blob: Box<dyn BlobReader>, expected: &BlockStats, range: (i64, i64)) -> tsdb::Result<()> {
    let (index, refs) = Index::open(blob)?.into_symbols()?.finish()?;
    let mut stream = index.into_series(refs);
    let mut series = RawSeries::default();
    let (mut count, mut chunks) = (0, 0);
    while stream.next(&mut series)? {
        let mut end = None;
        for chunk in &series.chunks {
            let ordered = end.is_none_or(|end| chunk.min_time > end);
            let inside = chunk.min_time >= range.0 && chunk.max_time < range.1;
            if !ordered || !inside || chunk.min_time > chunk.max_time {
                let what = format!(
                    "chunk {}..{} is out of order or out of range",
                    chunk.min_time, chunk.max_time
                );
                return Err(Corrupt::at(0, what).in_file("index", series.offset).into());
            }
            end = Some(chunk.max_time);
        }
        count += 1;
        chunks += series.chunks.len() as u64;
    }
    if (count, chunks) == (expected.num_series, expected.num_chunks) {
        return Ok(());
    }
    let what = format!(
        "{count} series and {chunks} chunks where {} and {} were written",
        expected.num_series, expected.num_chunks
    );
    Err(Corrupt::at(0, what).in_file("index", 0).into())
}

/// Reads every postings list; that of all series must have all of them.
fn postings(blob: MemBlob, series: u64) -> tsdb::Result<()> {
    let mut index = Index::open(Box::new(blob))?;
    let table = index.load_postings_table()?;
    for entry in table.iter() {
        let list = index.postings(entry.offset)?;
        for reference in list.iter() {
            reference?;
        }
        let all = entry.name.is_empty() && entry.value.is_empty();
        if all && list.len() as u64 != series {
            let what = format!("postings of all series list {} of {series}", list.len());
            return Err(Corrupt::at(0, what).in_file("index", entry.offset).into());
        }
    }
    Ok(())
}
