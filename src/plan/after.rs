//! A bucket as it will be once a plan was executed.
//!
//! ```text
//!  view + plan --> deletions gone
//!                  garbage, retired, sources of merges   marked for deletion
//!                  blocks to be kept out                 marked no-compact
//!                  results of jobs                       there, with predicted sizes
//! ```
//!
//! Sizes are the middle of their ranges; nothing else about a result is unknown.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Map;
use ulid::Ulid;

use super::lower::LowerCost;
use super::model::{Job, Plan};
use super::view::{BlockView, BucketView, ListedFile};
use crate::block::markers::{DeletionMark, NoCompactMark};
use crate::block::meta::{Downsample, Meta, Thanos};
use crate::block::{INDEX, META, segment};
use crate::tsdb::meta::BlockMeta;

/// Version that markers state.
const MARK_VERSION: u64 = 1;

/// Who makes blocks; the planner knows that those of this name are complete.
const SOURCE: &str = "compactor";

/// A bucket after a plan.
#[derive(Debug, Clone, Default)]
pub struct After {
    /// The bucket.
    pub view: BucketView,
    /// What jobs have made.
    pub made: Vec<Made>,
}

/// A block that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name in the view: made up, for no eyes but the planner's.
    pub id: Ulid,
    /// The job that makes it: an index into [`Plan::jobs`].
    pub job: usize,
    /// What it will take.
    pub cost: LowerCost,
}

/// What becomes of `view` if exactly `plan` is done at `now_ms` (ms since the
/// epoch).
pub fn after(view: &BucketView, plan: &Plan, now_ms: i64) -> After {
    let deleted: HashSet<Ulid> = plan.deletions.iter().map(|d| d.block).collect();
    let cleaned: HashSet<Ulid> = plan.partials.iter().map(|p| p.folder).collect();
    let mut after = After {
        view: view.clone(),
        made: Vec::new(),
    };
    after.view.blocks.retain(|b| !deleted.contains(&b.id()));
    after.view.partials.retain(|p| !cleaned.contains(&p.id));
    let gone = |id: &Ulid| deleted.contains(id) || cleaned.contains(id);
    after.view.problems.retain(|p| !gone(&p.block));
    mark(&mut after.view, plan, now_ms);
    let taken: HashSet<Ulid> = view.blocks.iter().map(BlockView::id).collect();
    let start = u64::try_from(now_ms).unwrap_or(0);
    let mut names = (1..)
        .map(|n| Ulid::from_parts(start, n))
        .filter(|id| !taken.contains(id));
    for (number, job) in plan.jobs.iter().enumerate() {
        for cost in job.made() {
            let Some(id) = names.next() else { continue };
            // Nothing is left for a block.
            if cost.samples.1 == 0 {
                continue;
            }
            let Some(block) = block(id, job, &cost) else {
                continue;
            };
            after.view.blocks.push(block);
            after.made.push(Made {
                id,
                job: number,
                cost,
            });
        }
    }
    after.view.blocks.sort_by_key(BlockView::id);
    after
}

/// Sets the marks of a plan.
fn mark(view: &mut BucketView, plan: &Plan, now_ms: i64) {
    let merges = plan.jobs.iter().filter(|j| j.products.merged);
    let merged = merges.flat_map(Job::source_ids);
    let outdated: HashSet<Ulid> = plan
        .garbage
        .iter()
        .map(|g| g.block)
        .chain(plan.retired.iter().map(|r| r.block))
        .chain(merged)
        .collect();
    let kept_out: HashMap<Ulid, _> = plan.marks.iter().map(|m| (m.block, m)).collect();
    for block in &mut view.blocks {
        let id = block.id();
        if outdated.contains(&id) && block.deletion.is_none() {
            block.deletion = Some(DeletionMark {
                id,
                version: MARK_VERSION,
                details: String::new(),
                deletion_time: now_ms.div_euclid(1000),
            });
        }
        if let Some(mark) = kept_out.get(&id)
            && block.no_compact.is_none()
        {
            block.no_compact = Some(NoCompactMark {
                id,
                version: MARK_VERSION,
                details: mark.details.clone(),
                no_compact_time: now_ms.div_euclid(1000),
                reason: mark.reason.as_str().to_owned(),
            });
        }
    }
}

/// A block that a job makes, as a listing will show it.
fn block(id: Ulid, job: &Job, cost: &LowerCost) -> Option<BlockView> {
    let middle = |(low, high): (u64, u64)| u64::midpoint(low, high);
    let mut meta = meta(id, job)?;
    let stats = &mut meta.tsdb.stats;
    // What has samples has a series.
    stats.num_series = middle(cost.series).max(1);
    stats.num_samples = middle(cost.samples).max(1);
    stats.num_chunks = (stats.num_samples / 120).max(stats.num_series);
    meta.tsdb.ulid = id;
    meta.thanos.labels = job.labels.clone();
    meta.thanos.source = SOURCE.to_owned();
    meta.thanos.downsample.resolution = cost.resolution;
    let index = middle(cost.index_bytes);
    let file = |path: String, size: u64| ListedFile { path, size };
    let files = vec![
        file(segment(0), middle(cost.bytes).saturating_sub(index)),
        file(INDEX.to_owned(), index),
        file(META.to_owned(), 0),
    ];
    Some(BlockView {
        meta: Arc::new(meta),
        files: Arc::new(files),
        damaged: None,
        deletion: None,
        no_compact: None,
        no_downsample: None,
    })
}

/// What a result takes over from the sources of its job.
fn meta(id: Ulid, job: &Job) -> Option<Meta> {
    if let ([source], true) = (job.sources.as_slice(), job.only_downsamples()) {
        return Some(source.view.meta.as_ref().clone());
    }
    let inputs: Vec<&BlockMeta> = job.sources.iter().map(|b| &b.view.meta.tsdb).collect();
    let mut tsdb = BlockMeta::compacted(id, &inputs)?;
    tsdb.compaction.level = job.level;
    Some(Meta {
        tsdb,
        thanos: Thanos {
            downsample: Downsample::default(),
            ..Thanos::default()
        },
        unknown: Map::new(),
    })
}
