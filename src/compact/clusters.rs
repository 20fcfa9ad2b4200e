//! Counting the series of each cluster in the indexes of blocks whose streams
//! do not name one: what a receiver writes.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use ulid::Ulid;

use super::job::on_a_thread;
use crate::block::{self, INDEX, path};
use crate::error::{Error, Kind, Result};
use crate::objstore::Bucket;
use crate::plan::Plan;
use crate::plan::forecast::SeriesByCluster;
use crate::tsdb::index::Index;
use crate::tsdb::source::BlobReader;

/// Indexes read at the same time; their postings tables lie in memory.
const AT_ONCE: usize = 4;

/// Series by value of `label` for every block of a plan whose stream lacks it.
///
/// Reads the table of postings and the lists of that label, not the series.
///
/// # Errors
/// What the bucket fails with. A damaged index is left out with a warning.
pub async fn count_series(bucket: &Bucket, plan: &Plan, label: &str) -> Result<SeriesByCluster> {
    let streams = plan
        .streams
        .iter()
        .filter(|s| !s.labels.contains_key(label));
    let tiles = streams.flat_map(|s| s.before.iter());
    let blocks: Vec<(Ulid, u64)> = tiles
        .filter(|t| !t.damaged)
        .filter_map(|t| Some((t.block?, t.index_bytes)))
        .collect();
    futures::stream::iter(blocks)
        .map(|(id, size)| async move {
            let reader = block::io::open_index(bucket, id, size)?;
            let label = label.to_owned();
            let counts = on_a_thread("count-series", move || {
                count(reader, &label).map_err(|e| {
                    Error::new(Kind::Corrupt, format!("cannot read {}", path(id, INDEX)))
                        .with_source(e)
                        .with_block(id)
                })
            });
            match counts.await {
                Ok(counts) => Ok(Some((id, counts))),
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!(block = %id, error = error.chain(), "series not counted");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|counted| async move { Ok::<_, Error>(counted) })
        .try_collect()
        .await
}

/// Series by value of a label; the empty value has those without it.
fn count(reader: Box<dyn BlobReader>, label: &str) -> crate::tsdb::Result<BTreeMap<String, u64>> {
    let mut index = Index::open(reader)?;
    let table = index.load_postings_table()?;
    let lists: Vec<(String, u64)> = table
        .values(label.as_bytes())
        .map(|e| (String::from_utf8_lossy(e.value).into_owned(), e.offset))
        .collect();
    let all = table.find(b"", b"");
    let mut counts = BTreeMap::new();
    let mut named = 0;
    for (value, offset) in lists {
        let series = index.postings(offset)?.len() as u64;
        named += series;
        counts.insert(value, series);
    }
    let all = match all {
        Some(offset) => index.postings(offset)?.len() as u64,
        None => named,
    };
    if all > named {
        *counts.entry(String::new()).or_default() += all - named;
    }
    Ok(counts)
}
