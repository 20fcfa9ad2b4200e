//! Which blocks take part: the filters of upstream, in upstream's order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ulid::Ulid;

use super::model::{Deletion, Garbage};
use super::settings::Settings;
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

/// Counts are taken from `meta.json` up to here. Nobody has checked them, and
/// those of a whole bucket are added up.
const MOST_OF_A_BLOCK: u64 = 1 << 48;

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

    /// Samples, as `meta.json` says.
    pub fn samples(&self) -> u64 {
        self.view.meta.tsdb.stats.num_samples.min(MOST_OF_A_BLOCK)
    }

    /// Series, as `meta.json` says.
    pub fn series(&self) -> u64 {
        self.view.meta.tsdb.stats.num_series.min(MOST_OF_A_BLOCK)
    }

    /// Chunks, as `meta.json` says.
    pub fn chunks(&self) -> u64 {
        self.view.meta.tsdb.stats.num_chunks.min(MOST_OF_A_BLOCK)
    }

    /// The head blocks it was made from: itself if it names none.
    pub fn sources(&self) -> &[Ulid] {
        self.view.meta.tsdb.source_ids()
    }
}

/// Why a block takes part in nothing, by the name that upstream's metric
/// `thanos_blocks_meta_synced` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Outside of `--min-time` and `--max-time`.
    TimeExcluded,
    /// It belongs to another shard, by the selector or by number.
    LabelExcluded,
    /// Its uploader may still be at work.
    TooFresh,
    /// Half of the deletion delay has passed since its mark.
    MarkedForDeletion,
    /// Another block holds all its sources.
    Duplicate,
    /// Past its retention, and about to go (upstream has no such state).
    Expired,
}

impl State {
    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimeExcluded => "time-excluded",
            Self::LabelExcluded => "label-excluded",
            Self::TooFresh => "too-fresh",
            Self::MarkedForDeletion => "marked-for-deletion",
            Self::Duplicate => "duplicate",
            Self::Expired => "expired",
        }
    }
}

/// What the filters leave.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Blocks that take part, ascending by ULID.
    pub blocks: Vec<LiveBlock>,
    /// Duplicates that lack a deletion mark.
    pub garbage: Vec<Garbage>,
    /// Blocks whose deletion mark is old enough for them to be removed.
    pub expired: Vec<Deletion>,
    /// Blocks that take part in nothing, and why, ascending by ULID.
    pub excluded: Vec<(Ulid, State)>,
}

/// Applies, in upstream's order: time range, selector, consistency delay,
/// deletion marks, replica labels, duplicates.
pub fn live(view: &BucketView, settings: &Settings, now_ms: i64) -> Live {
    let mut live = Live::default();
    let mut candidates = Vec::new();
    for block in &view.blocks {
        if let Some(state) = not_ours(block, settings, now_ms) {
            live.excluded.push((block.id(), state));
            continue;
        }
        // Only blocks of this shard are removed by it, however old the mark.
        live.expired.extend(expired(block, settings, now_ms));
        if leaving(block, settings.delete_delay_ms, now_ms) {
            live.excluded.push((block.id(), State::MarkedForDeletion));
            continue;
        }
        candidates.push(LiveBlock {
            view: block.clone(),
            labels: Arc::new(strip(&block.meta.thanos.labels, &settings.replica_labels)),
        });
    }
    let verdicts = duplicates(&candidates);
    for block in candidates {
        match verdicts.get(&block.id()) {
            None => {
                live.blocks.push(block);
                continue;
            }
            Some(Verdict::Outlived) => {
                live.excluded.push((block.id(), State::MarkedForDeletion));
                continue;
            }
            Some(&Verdict::CoveredBy(covered_by)) => {
                if block.view.deletion.is_none() {
                    live.garbage.push(Garbage {
                        block: block.id(),
                        covered_by,
                    });
                }
            }
        }
        live.excluded.push((block.id(), State::Duplicate));
    }
    live.excluded.sort_unstable();
    live
}

/// The first three filters.
fn not_ours(block: &BlockView, settings: &Settings, now_ms: i64) -> Option<State> {
    let fresh = || too_fresh(block, settings.consistency_delay_ms, now_ms);
    out_of_scope(block, settings).or_else(|| fresh().then_some(State::TooFresh))
}

/// Why a block is none of this run's business, however old it is.
pub fn out_of_scope(block: &BlockView, settings: &Settings) -> Option<State> {
    let meta = &block.meta.tsdb;
    let (from, until) = settings.time_range_ms;
    // Both bounds count as inside, although a block's end is not in it.
    if meta.max_time < from || meta.min_time > until {
        return Some(State::TimeExcluded);
    }
    (!settings.selects(block)).then_some(State::LabelExcluded)
}

/// The removal of a block whose mark is older than the whole delay.
fn expired(block: &BlockView, settings: &Settings, now_ms: i64) -> Option<Deletion> {
    let mark = block.deletion.as_ref()?;
    (mark.age_ms(now_ms) > settings.delete_delay_ms).then(|| Deletion {
        block: block.id(),
        marked_ms: mark.marked_ms(),
        details: mark.details.clone(),
        objects: block.files.len() as u64,
        bytes: block.files.iter().map(|f| f.size).sum(),
    })
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
    let mark = block.deletion.as_ref();
    mark.is_some_and(|mark| mark.age_ms(now_ms) > delay_ms / 2)
}

/// Labels without those of the replicas. If none is left, the first replica
/// label stays with the value `deduped`, since a block must have labels.
pub fn strip(labels: &Labels, replica_labels: &[String]) -> Labels {
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

/// Why a block is not live although every filter before let it pass.
enum Verdict {
    /// This block holds all of its sources.
    CoveredBy(Ulid),
    /// It carries a deletion mark, and blocks it stands for do not: whoever
    /// marked it wants those back.
    Outlived,
}

/// Blocks with their sources.
type WithSources<'a> = Vec<(Vec<Ulid>, &'a LiveBlock)>;

/// Blocks all of whose sources are contained in one other block of the same
/// resolution and labels. Of equal sets the oldest ULID stays.
///
/// A block without sources is its own source (upstream takes it for a
/// duplicate of anything, and deletes it). A block with a deletion mark stands
/// in for no block without one: both would be gone after the delay.
fn duplicates(blocks: &[LiveBlock]) -> HashMap<Ulid, Verdict> {
    let mut streams: BTreeMap<(i64, &Labels), WithSources<'_>> = BTreeMap::new();
    // A damaged block stands in for nothing, and what it holds is unknown; a
    // mark that says so does not mend it.
    for block in blocks.iter().filter(|b| !b.view.is_suspect()) {
        let stream = (block.resolution(), block.labels.as_ref());
        let sources = block.sources().to_vec();
        streams.entry(stream).or_default().push((sources, block));
    }
    let mut verdicts = HashMap::new();
    for stream in streams.values_mut() {
        stream.sort_by_key(|(sources, b)| {
            let marked = b.view.deletion.is_some();
            (marked, Reverse(sources.len()), b.id())
        });
        // Which kept blocks hold a source: a block is covered if one kept
        // block holds every source of it.
        let mut holders: HashMap<Ulid, Vec<Ulid>> = HashMap::new();
        let mut unmarked: Vec<HashSet<Ulid>> = Vec::new();
        for (sources, block) in stream.iter() {
            if let Some(by) = covering(sources, &holders) {
                verdicts.insert(block.id(), Verdict::CoveredBy(by));
                continue;
            }
            let marked = block.view.deletion.is_some();
            if marked && stands_for_any(sources, &unmarked) {
                verdicts.insert(block.id(), Verdict::Outlived);
                continue;
            }
            if !marked {
                unmarked.push(sources.iter().copied().collect());
            }
            for &source in sources {
                holders.entry(source).or_default().push(block.id());
            }
        }
    }
    verdicts
}

/// Whether all of any of `sets` lies in `sources`.
fn stands_for_any(sources: &[Ulid], sets: &[HashSet<Ulid>]) -> bool {
    let sources: HashSet<Ulid> = sources.iter().copied().collect();
    sets.iter().any(|set| set.is_subset(&sources))
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
