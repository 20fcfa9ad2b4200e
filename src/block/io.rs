//! Reading blocks from a bucket: opening one as a source of a merge.

use std::sync::Arc;

use ulid::Ulid;

use super::{INDEX, TOMBSTONES, failure, path, segment};
use crate::error::Result;
use crate::merge::Source;
use crate::objstore::{Bucket, ReadAhead};
use crate::tsdb::source::BlobReader;
use crate::tsdb::tombstones::Tombstones;
use crate::tsdb::{Damage, Error as TsdbError, meta::BlockMeta};

/// Windows of one file that are read ahead.
const DEPTH: usize = 3;

/// Windows of one source: read ahead of its index and of one segment, and two
/// that batches in work still look at.
const WINDOWS: u64 = 2 * DEPTH as u64 + 2;

/// Read-ahead of one file of one source.
fn read_ahead(size: u64, sources: usize, job_bytes: u64) -> ReadAhead {
    ReadAhead {
        window: window_bytes(size, sources, job_bytes),
        depth: DEPTH,
    }
}

/// Bytes of one window of a file of `size` bytes in a job with so many sources
/// whose windows may take `job_bytes` all together.
///
/// Small files are read in one window.
pub fn window_bytes(size: u64, sources: usize, job_bytes: u64) -> usize {
    let share = job_bytes / (WINDOWS * sources.max(1) as u64);
    let window = share.clamp(16 << 10, 2 << 20);
    usize::try_from(window.min(size))
        .unwrap_or(2 << 20)
        .max(4096)
}

/// What a block is to the other sources of its merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The samples to take, ms, end exclusive; all others are left out.
    pub keep: (i64, i64),
    /// Number of the connected run of overlapping blocks that it belongs to.
    pub run: u32,
    /// Which replica it is a block of; `penalty` prefers the lower number.
    pub replica: u32,
}

/// Opens a block as a source; `sizes` gives the bytes of its files as listed,
/// `sources` is how many the merge will have, `job_bytes` what all their
/// windows may take.
///
/// # Errors
/// A missing file, or what the bucket fails with.
pub async fn open_source(
    bucket: &Bucket,
    meta: &BlockMeta,
    sizes: impl Fn(&str) -> Option<u64> + Send + Sync + 'static,
    (sources, job_bytes): (usize, u64),
    place: Place,
) -> Result<Source> {
    let id = meta.ulid;
    let index_size = sizes(INDEX).unwrap_or(0);
    let index = bucket.open(
        &path(id, INDEX),
        index_size,
        read_ahead(index_size, sources, job_bytes),
    )?;
    let tombstones = match sizes(TOMBSTONES) {
        None => None,
        Some(size) => read_tombstones(bucket, id, size).await?,
    };
    let bucket = bucket.clone();
    let sizes = Arc::new(sizes);
    Ok(Source {
        name: id.to_string(),
        index,
        open_segment: Box::new(move |seq| {
            let file = segment(seq);
            let size = sizes(&file);
            let ahead = read_ahead(size.unwrap_or(0), sources, job_bytes);
            open_segment(&bucket, &path(id, &file), size, ahead)
        }),
        min_time: meta.min_time,
        max_time: meta.max_time,
        keep: place.keep,
        run: place.run,
        replica: place.replica,
        tombstones,
        stated: None,
    })
}

/// Opens the index of a block, `size` bytes as listed.
///
/// # Errors
/// What the bucket fails with.
pub fn open_index(bucket: &Bucket, block: Ulid, size: u64) -> Result<Box<dyn BlobReader>> {
    Ok(bucket.open(&path(block, INDEX), size, read_ahead(size, 1, 16 << 20))?)
}

fn open_segment(
    bucket: &Bucket,
    name: &str,
    size: Option<u64>,
    ahead: ReadAhead,
) -> Result<Box<dyn BlobReader>, TsdbError> {
    let size = size.ok_or_else(|| {
        let what = "the index refers to this segment, but it does not exist";
        let corrupt = crate::tsdb::Corrupt::at(0, what).because(Damage::MissingSegment);
        TsdbError::from(corrupt.in_file(name, 0))
    })?;
    let read = |source| TsdbError::Read {
        file: name.to_owned(),
        offset: 0,
        source: Box::new(source),
    };
    bucket.open(name, size, ahead).map_err(read)
}

async fn read_tombstones(bucket: &Bucket, block: Ulid, size: u64) -> Result<Option<Tombstones>> {
    let name = path(block, TOMBSTONES);
    let Some(bytes) = bucket.get_bounded(&name, size).await? else {
        return Ok(None);
    };
    let tombstones = Tombstones::decode(&bytes);
    Ok(Some(tombstones.map_err(|corrupt| {
        failure::of_file(corrupt.in_file(&name, 0), block)
    })?))
}
