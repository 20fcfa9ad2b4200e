//! Planning: from what lies in the bucket to what a run will do. Pure: no IO,
//! no clock, no side effect; a dry run prints the very value a run executes.
//!
//! Terms, as in Thanos:
//!
//! - **Stream** or **group**: the blocks of one resolution whose external
//!   labels are equal once the replica labels are taken off ([`group`]).
//! - **Range**: a window of 2h, 8h, 2d or 14d aligned to the epoch; small
//!   blocks are merged into the block of the next range ([`leveled`]).
//! - **Vertical** compaction merges blocks whose times overlap (replicas, late
//!   uploads), **horizontal** compaction blocks that lie side by side.
//! - **Duplicate**: a block whose sources are all contained in another one.
//! - **Retention**: how long a block is kept after its end. One that is past it
//!   is **retired** (marked, and out of everything) once blocks of the next
//!   resolution **cover** it, which is to say hold all of its sources, or once it
//!   is proven that none ever will; until then it is **held** ([`retention`]).
//! - **Policy**: retention, dedup and downsampling of a stream ([`policy`]).
//! - **Lane**: one of four kinds of work that do not wait for each other
//!   ([`Lane`]).
//! - **Shard**: one of several parts of a bucket, each with whole streams
//!   ([`shard`]; by rules: [`relabel`]).
//!
//! ```text
//!  BucketView --filter--> live blocks --retention--> kept --group--> streams --leveled--> jobs
//!                  |                        |                           |                  |
//!                  +--> garbage             +--> retired, held          +--> held          +--> downsample:
//!                                                                      (with a reason)    lower resolutions
//! ```
//!
//! What comes behind a plan is planned from the bucket that it leaves, on paper
//! ([`after()`], [`rounds()`]); only a dry run asks for that.
//!
//! Invariants:
//!
//! - PL-1: the sources of one job are of one group and in (min time, ULID) order.
//! - PL-2: no block is a source of two jobs of one plan.
//! - PL-3: a block with a no-compact mark is a source of no job.
//! - PL-4: the newest block of a stream is only a source if it overlaps another.
//! - PL-5: the plan is a function of (view, settings, now): same in, same out.
//! - PL-6: a block is retired only if blocks of the next resolution that stay hold
//!   all of its sources, if it can never be downsampled, or by force.
//! - PL-7: a retired block is a source of no job.
//! - PL-8: of n shards, one and only one has a block or a folder, and it has all
//!   of its stream: the plans of all shards together are that of the whole.

mod after;
pub mod cost;
pub mod downsample;
pub mod filter;
pub mod forecast;
pub mod group;
mod growth;
mod held;
mod judge;
mod lanes;
pub mod leveled;
pub mod lint;
mod lower;
pub mod memory;
mod model;
pub mod policy;
mod rebuild;
pub mod relabel;
pub mod removal;
pub mod retention;
mod rounds;
mod settings;
pub mod shard;
mod simulate;
pub mod view;

pub use crate::merge::{Dedup, Products};
pub use after::{After, Made, after};
pub use growth::{DOWNSAMPLED_FROM_MS, RESOLUTIONS_MS};
pub use held::cure_of_quarantine;
pub use lanes::{Lane, Lanes};
pub use lower::LowerCost;
pub use model::{
    Cleanup, CleanupReason, Cut, CutReason, Deletion, Garbage, Held, HeldReason, Job, JobKind,
    NoCompact, NoCompactReason, Place, Plan, Reason, Stream, Tile, length, resolution_name,
};
pub use removal::Removal;
pub use retention::{Proof, Retired, RetiredBecause, Waits, held_back};
pub use rounds::{MOST_LATER_ROUNDS, Rounds, rounds};
pub use settings::{PARTIAL_AGE_MS, RANGES_MS, Settings};

use filter::{Live, LiveBlock, State};
use view::{BucketSize, BucketView, PartialView};

/// Plans everything that is due, for every stream to its end.
///
/// `now_ms` is milliseconds since the epoch. The result is ordered by group
/// and time, and does not depend on the order of the blocks in `view`.
pub fn plan(view: &BucketView, settings: &Settings, now_ms: i64) -> Plan {
    let live = filter::live(view, settings, now_ms);
    let Live {
        blocks,
        garbage,
        expired,
        mut excluded,
    } = live;
    let kept = retention::apply(blocks, (view, &excluded), settings, now_ms);
    excluded.extend(kept.leaving.iter().map(|b| (b.id(), State::Expired)));
    excluded.sort_unstable();
    let partials = view.partials.iter();
    let mut plan = Plan {
        deletions: expired,
        garbage,
        excluded,
        retired: kept.retired,
        held: kept.held,
        pointless: kept.pointless,
        partials: partials
            .filter_map(|p| cleanup(p, settings, now_ms))
            .collect(),
        ..Plan::default()
    };
    let groups = group::groups(kept.blocks);
    for group in &groups {
        let first = plan.jobs.len();
        let around = simulate::Around {
            coming: downsample::about_to_come(&plan, &groups, group, settings),
            retired: of_stream(&kept.leaving, group),
        };
        let outcome = simulate::run(group, &around, settings);
        let renumber = |tiles: Vec<Tile>| -> Vec<Tile> {
            let moved = |tile: Tile| Tile {
                job: tile.job.map(|job| first + job),
                ..tile
            };
            tiles.into_iter().map(moved).collect()
        };
        plan.jobs.extend(outcome.jobs);
        plan.marks.extend(outcome.marks);
        plan.held.extend(outcome.held);
        plan.cuts.extend(outcome.cut);
        plan.streams.push(Stream {
            key: group.key,
            policy: settings.policy(&group.labels),
            rules: settings.policies.matching(&group.labels),
            before: renumber(outcome.before),
            after: renumber(outcome.after),
            labels: group.labels.clone(),
        });
    }
    downsample::add(&mut plan, &groups, settings, now_ms);
    rebuild::add(&mut plan, &groups, settings);
    show_retired(&mut plan, kept.leaving, settings);
    plan.add_last_looks(view.size);
    plan.keep(&settings.lanes);
    plan.limit_deletions(settings.max_deletions);
    plan.removals = removal::removals(view, &plan, settings, now_ms);
    plan
}

/// Those of the blocks that belong to a stream, by min time.
fn of_stream<'a>(blocks: &'a [LiveBlock], group: &group::Group) -> Vec<&'a LiveBlock> {
    let same = |b: &&LiveBlock| b.resolution() == group.resolution && *b.labels == group.labels;
    let mut blocks: Vec<&LiveBlock> = blocks.iter().filter(same).collect();
    blocks.sort_by_key(|b| (b.min_time(), b.id()));
    blocks
}

impl Plan {
    /// Adds to the cost of each job what its last look takes in a bucket of
    /// this size.
    fn add_last_looks(&mut self, size: BucketSize) {
        for job in &mut self.jobs {
            job.cost.requests.list += size.look(job.sources.len());
        }
    }
}

/// Adds blocks that are to be marked to what their streams were before.
fn show_retired(plan: &mut Plan, leaving: Vec<LiveBlock>, settings: &Settings) {
    let to_be_marked = |b: &LiveBlock| b.view.deletion.is_none();
    let retired = leaving.into_iter().filter(to_be_marked).collect();
    for group in group::groups(retired) {
        let same = |s: &&mut Stream| s.key == group.key && s.labels == group.labels;
        let tiles = group.blocks.iter().map(Tile::of);
        if let Some(stream) = plan.streams.iter_mut().find(same) {
            stream.before.extend(tiles);
            stream.before.sort_by_key(|t| (t.range.0, t.block));
            continue;
        }
        plan.streams.push(Stream {
            key: group.key,
            policy: settings.policy(&group.labels),
            rules: settings.policies.matching(&group.labels),
            before: tiles.collect(),
            after: Vec::new(),
            labels: group.labels,
        });
    }
    let by = |s: &Stream| (s.key.resolution, s.labels.clone());
    plan.streams.sort_by_cached_key(by);
}

/// Whether a folder without usable `meta.json` is to be removed.
///
/// The latest change of any object counts, so an upload that is still under
/// way is left alone however long it takes.
fn cleanup(partial: &PartialView, settings: &Settings, now_ms: i64) -> Option<Cleanup> {
    let ours = |shard: shard::Shard| shard.has_folder(partial.id);
    if !settings.shard.is_none_or(ours) {
        return None;
    }
    let given_up = now_ms.saturating_sub(partial.modified_ms) > PARTIAL_AGE_MS;
    let why = match (&partial.deletion, &partial.corrupted) {
        (Some(mark), None) => {
            if mark.age_ms(now_ms) <= settings.delete_delay_ms {
                return None;
            }
            CleanupReason::UnfinishedDeletion
        }
        _ if !given_up => return None,
        (_, Some(_)) if settings.keep_corrupted => return None,
        (_, Some(_)) => CleanupReason::CorruptedMeta,
        (None, None) => CleanupReason::AbortedUpload,
    };
    Some(Cleanup {
        folder: partial.id,
        why,
        modified_ms: partial.modified_ms,
        objects: partial.objects,
        bytes: partial.bytes,
    })
}

#[cfg(test)]
mod blocks_for_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod index_size_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
