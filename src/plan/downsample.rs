//! Which blocks get one of lower resolution beside them.
//!
//! ```text
//!  raw streams at their end     5m streams at their end
//!  |--14d--|--14d--|-2d-|2h     |--14d--|
//!      |       |      |             |
//!      |  >= 40h and not all        |  >= 10d and not all sources in
//!      |  sources in 5m blocks      |  1h blocks
//!      v       v      v             v
//!      5m ---> 5m --> 5m            1h          a 5m block that is long enough
//!              `----- 1h, too                   becomes 1h in the same job
//! ```
//!
//! As upstream, blocks are looked at once no compaction is due: a block that is
//! made by a job of this plan is downsampled by that job. Sources are counted
//! over all streams, and blocks with a no-downsample mark count as nothing.

use std::collections::{HashMap, HashSet};

use ulid::Ulid;

use super::cost;
use super::filter::LiveBlock;
use super::group::{Group, GroupKey};
use super::growth::DOWNSAMPLED_FROM_MS;
use super::lanes::Lane;
use super::model::{HeldReason, Job, JobKind, Place, Plan, Reason, Stream, Tile};
use super::retention::expires_ms;
use super::settings::Settings;
use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::merge::{Dedup, Products};

/// A block as it will be once the compactions of the plan are done.
pub(super) struct Node<'a> {
    pub group: &'a Group,
    pub what: What,
    /// ms, end exclusive.
    pub range: (i64, i64),
    /// Ascending.
    pub sources: Vec<Ulid>,
    /// False if it is to be merged further, or may not be downsampled.
    pub settled: bool,
}

/// Where a node comes from.
pub(super) enum What {
    /// Number in its group.
    Block(usize),
    /// Number in the plan.
    Job(usize),
}

/// Adds products to the jobs of `plan`, and jobs that only downsample.
///
/// `groups` are those of the plan's streams, in that order.
pub(super) fn add(plan: &mut Plan, groups: &[Group], settings: &Settings, now_ms: i64) {
    let later = !settings.one_pass && !plan.jobs.is_empty();
    if later || !settings.lanes.has(Lane::Downsampling) {
        return;
    }
    let [least_raw, least_five] = DOWNSAMPLED_FROM_MS;
    let have_five = sources_of(groups, FIVE_MINUTES_MS);
    let have_hour = sources_of(groups, ONE_HOUR_MS);
    let mut wanted: Vec<(Node<'_>, Products)> = Vec::new();
    for node in nodes(plan, groups) {
        let policy = settings.policy(&node.group.labels);
        if !policy.downsampling {
            continue;
        }
        let five = node.is_due(0, least_raw, &have_five);
        // Of a block of 5m, whether it is there or made now.
        let hour = if five {
            // It would be retired at once.
            let gone = expires_ms(node.range.1, policy.retention_ms[2]).is_some_and(|t| t < now_ms);
            !gone && node.lacks(least_five, &have_hour)
        } else {
            node.is_due(FIVE_MINUTES_MS, least_five, &have_hour)
        };
        let products = Products {
            from: node.group.resolution,
            merged: matches!(node.what, What::Job(_)),
            five_minutes: five,
            one_hour: hour,
        };
        if five || hour {
            wanted.push((node, products));
        }
    }
    for (node, products) in wanted {
        let job = match node.what {
            What::Job(job) => job,
            What::Block(block) => {
                let source = node.group.blocks[block].clone();
                plan.jobs.push(alone(node.group, source));
                plan.jobs.len() - 1
            }
        };
        make(plan, job, products, settings);
    }
}

/// Sources of all blocks of a resolution that may stand for them.
fn sources_of(groups: &[Group], resolution: i64) -> HashSet<Ulid> {
    let groups = groups.iter().filter(|g| g.resolution == resolution);
    let blocks = groups.flat_map(|g| &g.blocks);
    let usable = blocks.filter(|b| b.view.no_downsample.is_none() && !b.view.is_suspect());
    usable.flat_map(|b| b.sources().iter().copied()).collect()
}

/// The blocks that will be there after the compactions.
pub(super) fn nodes<'a>(plan: &Plan, groups: &'a [Group]) -> Vec<Node<'a>> {
    let streams = plan.streams.iter().zip(groups);
    streams
        .flat_map(|(stream, group)| nodes_of(plan, stream, group))
        .collect()
}

/// Those of one stream.
fn nodes_of<'a>(plan: &Plan, stream: &Stream, group: &'a Group) -> Vec<Node<'a>> {
    let held = plan.held.iter();
    let overlapping = held.filter(|h| h.why == HeldReason::OverlapNotAllowed);
    let here = overlapping.filter(|h| h.group == stream.key);
    let waiting: HashSet<Ulid> = here.flat_map(|h| h.blocks.iter().copied()).collect();
    let numbers: HashMap<Ulid, usize> = (0..)
        .zip(&group.blocks)
        .map(|(n, block)| (block.id(), n))
        .collect();
    let cuts = || plan.cuts.iter().filter(|c| c.group == stream.key);
    let mut nodes = Vec::new();
    for tile in &stream.after {
        let cut = |c: &super::Cut| tile.range.0 < c.range.1 && c.range.0 < tile.range.1;
        let Some((what, sources, fit)) = origin(plan, group, tile, &numbers, &waiting) else {
            continue;
        };
        nodes.push(Node {
            group,
            what,
            range: tile.range,
            sources,
            settled: fit && !cuts().any(cut),
        });
    }
    nodes
}

/// Ranges (ms, end exclusive) for which blocks are about to be made in a stream
/// of lower resolution: its windows are not complete before.
///
/// A run plans again while its jobs are under way. Without this, the blocks that
/// are there would be compacted although one that replaces them is being made,
/// and the two would overlap.
pub(super) fn about_to_come(
    plan: &Plan,
    groups: &[Group],
    stream: &Group,
    settings: &Settings,
) -> Vec<(i64, i64)> {
    let wanted = settings.policy(&stream.labels).downsampling
        && settings.lanes.has(Lane::Downsampling)
        && settings.one_pass;
    if stream.resolution == 0 || !wanted {
        return Vec::new();
    }
    let [least_five, least_hour] = DOWNSAMPLED_FROM_MS;
    let least = match stream.resolution {
        FIVE_MINUTES_MS => least_five,
        _ => least_hour,
    };
    let have = sources_of(std::slice::from_ref(stream), stream.resolution);
    let higher = plan
        .streams
        .iter()
        .zip(groups)
        .filter(|(_, g)| g.resolution < stream.resolution && g.labels == stream.labels);
    let nodes = higher.flat_map(|(s, g)| nodes_of(plan, s, g));
    let due = nodes.filter(|n| n.settled && n.lacks(least, &have));
    due.map(|n| n.range).collect()
}

/// Where a block comes from, its sources, and whether it may be downsampled.
fn origin(
    plan: &Plan,
    group: &Group,
    tile: &Tile,
    numbers: &HashMap<Ulid, usize>,
    waiting: &HashSet<Ulid>,
) -> Option<(What, Vec<Ulid>, bool)> {
    if let Some(id) = tile.block {
        let number = *numbers.get(&id)?;
        let block = &group.blocks[number];
        let view = &block.view;
        let fit = view.no_downsample.is_none()
            && !view.is_suspect()
            && !waiting.contains(&id)
            && plan.pointless.binary_search(&id).is_err();
        return Some((What::Block(number), block.sources().to_vec(), fit));
    }
    let number = tile.job?;
    let job = plan.jobs.get(number)?;
    let mut sources: Vec<Ulid> = job
        .sources
        .iter()
        .flat_map(|b| b.sources().iter().copied())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    let pointless = |b: &LiveBlock| plan.pointless.binary_search(&b.id()).is_ok();
    let fit = !job.sources.iter().all(pointless);
    Some((What::Job(number), sources, fit))
}

impl Node<'_> {
    /// Whether it is of `resolution`, and gets a block of the next one.
    fn is_due(&self, resolution: i64, least_ms: i64, have: &HashSet<Ulid>) -> bool {
        self.settled && self.group.resolution == resolution && self.lacks(least_ms, have)
    }

    /// Whether it is long enough, and one of its sources is not in `have`.
    fn lacks(&self, least_ms: i64, have: &HashSet<Ulid>) -> bool {
        self.range.1.saturating_sub(self.range.0) >= least_ms
            && self.sources.iter().any(|source| !have.contains(source))
    }
}

/// A job that reads one block and keeps it.
pub(super) fn alone(group: &Group, source: LiveBlock) -> Job {
    Job {
        group: group.key,
        labels: group.labels.clone(),
        resolution: group.resolution,
        products: Products::merged(group.resolution),
        dedup: Dedup::OneToOne,
        places: vec![Place {
            keep: (source.min_time(), source.max_time()),
            run: 0,
        }],
        steps: 1,
        level: source.view.meta.tsdb.compaction.level,
        kind: JobKind::Downsampling,
        reason: Reason::Downsample,
        cost: cost::Cost::default(),
        sources: vec![source],
    }
}

/// Lets a job of the plan make `products`, and shows them in their streams.
pub(super) fn make(plan: &mut Plan, number: usize, products: Products, settings: &Settings) {
    let Some(job) = plan.jobs.get_mut(number) else {
        return;
    };
    job.products = products;
    let how = (products, job.dedup);
    job.cost = cost::predict(&job.sources, &job.places, how, &settings.machine);
    let (range, level) = ((job.min_time(), job.max_time()), job.level);
    let labels = job.labels.clone();
    // What it was to make before stands there already.
    for stream in &mut plan.streams {
        let merged = |t: &Tile| t.resolution == job.resolution;
        stream.after.retain(|t| t.job != Some(number) || merged(t));
    }
    let lower = job.cost.lower.clone();
    for product in lower {
        let tile = Tile {
            block: None,
            job: Some(number),
            resolution: product.resolution,
            range,
            level,
            bytes: product.bytes,
            index_bytes: 0,
            samples: product.samples,
            no_compact: false,
            damaged: false,
        };
        let key = GroupKey::of(product.resolution, &labels);
        let streams = plan.streams.iter_mut();
        let mut same = streams.filter(|s| s.key.resolution == key.resolution && s.labels == labels);
        if let Some(stream) = same.next() {
            let at = stream.after.partition_point(|t| t.range.0 <= range.0);
            stream.after.insert(at, tile);
            continue;
        }
        plan.streams.push(Stream {
            key,
            policy: settings.policy(&labels),
            rules: settings.policies.matching(&labels),
            labels: labels.clone(),
            before: Vec::new(),
            after: vec![tile],
        });
    }
}
