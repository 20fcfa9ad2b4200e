//! Which blocks take part: the filters of upstream, in upstream's order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ulid::Ulid;

use super::model::{Garbage, Settings};
use super::view::{BlockView, BucketView};
use crate::block::meta::Labels;

/// Uploaders whose blocks are complete the moment their `meta.json` is there,
/// so that no consistency delay applies.
const EXEMPT_SOURCES: [&str; 3] = ["bucket.repair", "compactor", "compactor.repair"];

/// A block that takes part, with the labels it is grouped by.
#[derive(Debug, Clone)]
pub struct LiveBlock {
    /// The block as listed.
    pub view: BlockView,
    /// External labels without the replica labels.
    pub labels: Arc<Labels>,
}

impl LiveBlock {
    /// Name of the block.
    pub fn id(&self) -> Ulid {
        self.view.id()
    }

    /// Start of its range, ms.
    pub fn min_time(&self) -> i64 {
        self.view.meta.tsdb.min_time
    }

    /// End of its range, ms, exclusive.
    pub fn max_time(&self) -> i64 {
        self.view.meta.tsdb.max_time
    }

    /// Window of its samples in ms, 0 for raw.
    pub fn resolution(&self) -> i64 {
        self.view.meta.thanos.downsample.resolution
    }
}

/// What the filters leave.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Blocks that take part, ascending by ULID.
    pub blocks: Vec<LiveBlock>,
    /// Duplicates that lack a deletion mark.
    pub garbage: Vec<Garbage>,
}

/// Applies consistency delay, deletion marks, replica labels and duplicates.
pub fn live(view: &BucketView, settings: &Settings, now_ms: i64) -> Live {
    let candidates: Vec<LiveBlock> = view
        .blocks
        .iter()
        .filter(|b| !too_fresh(b, settings.consistency_delay_ms, now_ms))
        .filter(|b| !leaving(b, settings.delete_delay_ms, now_ms))
        .map(|b| LiveBlock {
            view: b.clone(),
            labels: Arc::new(strip(&b.meta.thanos.labels, &settings.replica_labels)),
        })
        .collect();
    let covered = duplicates(&candidates);
    let mut live = Live::default();
    for block in candidates {
        match covered.get(&block.id()) {
            None => live.blocks.push(block),
            Some(&covered_by) if block.view.deletion.is_none() => live.garbage.push(Garbage {
                block: block.id(),
                covered_by,
            }),
            Some(_) => {}
        }
    }
    live
}

/// True while an ingesting component may still be uploading.
///
/// Age counts from the upload time in `meta.json`, else from the ULID.
fn too_fresh(block: &BlockView, delay_ms: i64, now_ms: i64) -> bool {
    let thanos = &block.meta.thanos;
    if EXEMPT_SOURCES.contains(&thanos.source.as_str()) {
        return false;
    }
    let uploaded = parse_upload_time(&thanos.upload_time)
        .unwrap_or_else(|| i64::try_from(block.id().timestamp_ms()).unwrap_or(i64::MAX));
    now_ms.saturating_sub(uploaded) < delay_ms
}

/// Milliseconds since the epoch; `None` for Go's zero time or no time at all.
fn parse_upload_time(text: &str) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_millis()).filter(|ms| *ms > 0)
}

/// True once half the deletion delay has passed since the block was marked:
/// by then readers have dropped it, so it must not be a source any more.
fn leaving(block: &BlockView, delay_ms: i64, now_ms: i64) -> bool {
    block.deletion.as_ref().is_some_and(|mark| {
        let marked_ms = mark.deletion_time.saturating_mul(1000);
        now_ms.saturating_sub(marked_ms) > delay_ms / 2
    })
}

/// Labels without those of the replicas. If none is left, the first replica
/// label stays with the value `deduped`, since a block must have labels.
fn strip(labels: &Labels, replica_labels: &[String]) -> Labels {
    let mut left = labels.clone();
    for name in replica_labels {
        left.remove(name);
    }
    if left.is_empty()
        && !labels.is_empty()
        && let Some(first) = replica_labels.first()
    {
        left.insert(first.clone(), "deduped".to_owned());
    }
    left
}

/// Blocks all of whose sources are contained in one other block of the same
/// resolution and labels, with that block. Of equal sets the oldest ULID stays.
///
/// A block without sources is its own source; upstream takes it for a
/// duplicate of anything, and deletes it.
fn duplicates(blocks: &[LiveBlock]) -> HashMap<Ulid, Ulid> {
    let mut streams: BTreeMap<(i64, &Labels), Vec<&LiveBlock>> = BTreeMap::new();
    // A damaged block stands in for nothing, and what it holds is unknown.
    for block in blocks.iter().filter(|b| b.view.damaged.is_none()) {
        let stream = (block.resolution(), block.labels.as_ref());
        streams.entry(stream).or_default().push(block);
    }
    let mut covered = HashMap::new();
    for stream in streams.values_mut() {
        stream.sort_by_key(|b| (Reverse(sources(b).len()), b.id()));
        // Which kept blocks hold a source: a block is covered if one kept
        // block holds every source of it.
        let mut holders: HashMap<Ulid, Vec<Ulid>> = HashMap::new();
        for block in stream {
            if let Some(by) = covering(&sources(block), &holders) {
                covered.insert(block.id(), by);
                continue;
            }
            for source in sources(block) {
                holders.entry(source).or_default().push(block.id());
            }
        }
    }
    covered
}

/// The first kept block that holds all of `wanted`.
fn covering(wanted: &[Ulid], holders: &HashMap<Ulid, Vec<Ulid>>) -> Option<Ulid> {
    let (first, rest) = wanted.split_first()?;
    let mut left: Vec<Ulid> = holders.get(first)?.clone();
    for source in rest {
        let holding: HashSet<Ulid> = holders.get(source)?.iter().copied().collect();
        left.retain(|id| holding.contains(id));
        if left.is_empty() {
            return None;
        }
    }
    left.first().copied()
}

fn sources(block: &LiveBlock) -> Vec<Ulid> {
    let sources = &block.view.meta.tsdb.compaction.sources;
    if sources.is_empty() {
        vec![block.id()]
    } else {
        sources.clone()
    }
}
