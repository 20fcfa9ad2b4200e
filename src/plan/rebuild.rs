//! Downsampled blocks that overlap, made anew.
//!
//! Aggregates of different blocks cannot be merged: upstream marks such blocks,
//! and they stay side by side for ever, counting twice. They come from replicas
//! that were downsampled before anybody told the replica labels. Where the blocks
//! that they were made from are still there, one block made from those takes
//! their place:
//!
//! ```text
//!  5m    |--a1,a2--|            a mark on each, upstream
//!          |--b1,b2--|
//!  raw   |-a1,a2,b1,b2-|        merged by now: downsampled again
//!  5m    |-a1,a2,b1,b2-|        holds all their sources, so both are outdated
//! ```

use std::collections::HashSet;

use ulid::Ulid;

use super::downsample::{Node, What, alone, make, nodes};
use super::group::Group;
use super::lanes::Lane;
use super::model::{Job, NoCompactReason, Place, Plan, Reason};
use super::settings::Settings;
use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use crate::merge::Products;

/// Blocks of one stream that overlap.
struct Cluster<'a> {
    group: &'a Group,
    blocks: Vec<Ulid>,
    sources: HashSet<Ulid>,
}

/// What can be done about a cluster.
enum Cure {
    /// These blocks, by their numbers among the nodes, have all of it.
    From(Vec<usize>),
    /// Once the jobs of this plan are done it will be seen.
    Later,
    /// Nothing but the marks.
    None,
}

/// Replaces marks on overlapping downsampled blocks by jobs that make them anew.
///
/// `groups` are those of the plan's streams, in that order.
pub(super) fn add(plan: &mut Plan, groups: &[Group], settings: &Settings) {
    if !settings.lanes.has(Lane::Downsampling) {
        return;
    }
    for cluster in clusters(plan, groups) {
        let policy = settings.policy(&cluster.group.labels);
        if !policy.downsampling {
            continue;
        }
        let resolution = cluster.group.resolution;
        // Raw blocks know most; for 1h those of 5m do as well.
        let from: &[i64] = if resolution == ONE_HOUR_MS {
            &[0, FIVE_MINUTES_MS]
        } else {
            &[0]
        };
        for &from in from {
            let all = nodes(plan, groups);
            match cure(plan, &all, &cluster, from, settings) {
                Cure::None => continue,
                Cure::Later => {}
                Cure::From(numbers) => {
                    let job = prepare(&all, &numbers, plan);
                    make_also(plan, job, resolution, settings);
                }
            }
            plan.marks.retain(|m| {
                m.reason != NoCompactReason::DownsampleVerticalCompaction
                    || !cluster.blocks.contains(&m.block)
            });
            break;
        }
    }
}

/// Runs of blocks that a plan would mark because they overlap, or that were
/// marked for that before.
fn clusters<'a>(plan: &Plan, groups: &'a [Group]) -> Vec<Cluster<'a>> {
    let name = NoCompactReason::DownsampleVerticalCompaction;
    let planned = plan.marks.iter().filter(|m| m.reason == name);
    let planned: HashSet<Ulid> = planned.map(|m| m.block).collect();
    let mut clusters = Vec::new();
    for group in groups.iter().filter(|g| g.resolution != 0) {
        let marked = group.blocks.iter().filter(|b| {
            let before = b.view.no_compact.as_ref();
            let before = before.is_some_and(|m| m.reason == name.as_str());
            !b.view.is_suspect() && (before || planned.contains(&b.id()))
        });
        let mut end = i64::MIN;
        for block in marked {
            if block.min_time() >= end {
                clusters.push(Cluster {
                    group,
                    blocks: Vec::new(),
                    sources: HashSet::new(),
                });
            }
            end = end.max(block.max_time());
            if let Some(cluster) = clusters.last_mut() {
                cluster.blocks.push(block.id());
                cluster.sources.extend(block.sources());
            }
        }
    }
    clusters.retain(|c| c.blocks.len() > 1);
    clusters
}

/// Which blocks with windows of `from` ms could take the place of a cluster.
fn cure(
    plan: &Plan,
    nodes: &[Node<'_>],
    cluster: &Cluster<'_>,
    from: i64,
    settings: &Settings,
) -> Cure {
    let same_labels = |n: &Node<'_>| n.group.labels == cluster.group.labels;
    let holds_some = |n: &Node<'_>| n.sources.iter().any(|s| cluster.sources.contains(s));
    let numbers: Vec<usize> = (0..nodes.len())
        .filter(|&i| {
            let node = &nodes[i];
            node.group.resolution == from && same_labels(node) && holds_some(node)
        })
        .collect();
    let chosen = || numbers.iter().map(|&i| &nodes[i]);
    let have: HashSet<Ulid> = chosen().flat_map(|n| n.sources.iter().copied()).collect();
    if !cluster.sources.is_subset(&have) || chosen().any(|n| !n.settled) {
        return Cure::None;
    }
    // Aggregates that overlap themselves are no help.
    let mut until = i64::MIN;
    let mut ranges: Vec<(i64, i64)> = chosen().map(|n| n.range).collect();
    ranges.sort_unstable();
    for (from, to) in ranges {
        if from < until {
            return Cure::None;
        }
        until = to;
    }
    let start = chosen().map(|n| n.range.0).min().unwrap_or(0);
    let end = chosen().map(|n| n.range.1).max().unwrap_or(0);
    let longest = settings.ranges_ms.last().copied().unwrap_or(0);
    if numbers.len() > 1 && end.saturating_sub(start) > longest {
        return Cure::None;
    }
    // Nothing else of the stream may come to lie in its range.
    let mut others = nodes.iter().filter(|n| {
        n.group.resolution == cluster.group.resolution
            && same_labels(n)
            && n.range.0 < end
            && start < n.range.1
    });
    let being_made = |n: &Node<'_>| matches!(n.what, What::Job(_));
    if others.clone().any(being_made) {
        return Cure::Later;
    }
    if others.any(|n| n.sources.iter().any(|s| !have.contains(s))) {
        return Cure::None;
    }
    if numbers.len() > 1 && chosen().any(being_made) {
        return Cure::Later;
    }
    let merged = |n: &Node<'_>| match n.what {
        What::Job(job) => plan.jobs.get(job).is_some_and(|job| job.products.merged),
        What::Block(_) => true,
    };
    if chosen().all(merged) {
        Cure::From(numbers)
    } else {
        Cure::None
    }
}

/// The job that reads these blocks, as its number in the plan.
fn prepare(nodes: &[Node<'_>], numbers: &[usize], plan: &mut Plan) -> usize {
    let chosen: Vec<&Node<'_>> = numbers.iter().map(|&i| &nodes[i]).collect();
    let mut sources = Vec::with_capacity(chosen.len());
    for node in &chosen {
        match node.what {
            What::Job(job) => return job,
            What::Block(block) => sources.push(node.group.blocks[block].clone()),
        }
    }
    sources.sort_by_key(|b| (b.min_time(), b.id()));
    let ids: Vec<Ulid> = sources.iter().map(super::filter::LiveBlock::id).collect();
    // It may be there already, to make something else of them.
    let same = |job: &Job| job.only_downsamples() && job.source_ids() == ids;
    if let Some(job) = plan.jobs.iter().position(same) {
        return job;
    }
    let mut job = alone(chosen[0].group, sources[0].clone());
    job.reason = Reason::Rebuild;
    job.products.merged = false;
    job.level = sources
        .iter()
        .map(|b| b.view.meta.tsdb.compaction.level)
        .max()
        .unwrap_or(job.level);
    job.places = (0..)
        .zip(&sources)
        .map(|(run, b)| Place {
            keep: (b.min_time(), b.max_time()),
            run,
        })
        .collect();
    job.sources = sources;
    plan.jobs.push(job);
    plan.jobs.len() - 1
}

/// Lets a job make a block of `resolution` besides what it makes.
fn make_also(plan: &mut Plan, number: usize, resolution: i64, settings: &Settings) {
    let Some(job) = plan.jobs.get(number) else {
        return;
    };
    let products = Products {
        five_minutes: job.products.five_minutes || resolution == FIVE_MINUTES_MS,
        one_hour: job.products.one_hour || resolution == ONE_HOUR_MS,
        ..job.products
    };
    if products != job.products {
        make(plan, number, products, settings);
    }
}
