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
//! - **Lane**: one of four kinds of work that do not wait for each other
//!   ([`Lane`]).
//!
//! ```text
//!  BucketView --filter--> live blocks --group--> streams --leveled--> jobs
//!                  |                                |
//!                  +--> garbage (duplicates)        +--> held (with a reason)
//! ```
//!
//! Invariants:
//!
//! - PL-1: the sources of one job are of one group and in (min time, ULID) order.
//! - PL-2: no block is a source of two jobs of one plan.
//! - PL-3: a block with a no-compact mark is a source of no job.
//! - PL-4: the newest block of a stream is only a source if it overlaps another.
//! - PL-5: the plan is a function of (view, settings, now): same in, same out.

pub mod cost;
pub mod filter;
pub mod forecast;
pub mod group;
mod held;
mod lanes;
pub mod leveled;
pub mod memory;
mod model;
pub mod relabel;
mod settings;
mod simulate;
pub mod view;

pub use crate::merge::Dedup;
pub use held::cure_of_quarantine;
pub use lanes::{Lane, Lanes};
pub use model::{
    Cleanup, CleanupReason, Cut, CutReason, Deletion, Garbage, Held, HeldReason, Job, JobKind,
    NoCompact, NoCompactReason, Place, Plan, Reason, Stream, Tile, length,
};
pub use settings::{PARTIAL_AGE_MS, RANGES_MS, Settings};

use filter::Live;
use view::{BucketView, PartialView};

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
        excluded,
    } = live;
    let partials = view.partials.iter();
    let mut plan = Plan {
        deletions: expired,
        garbage,
        excluded,
        partials: partials
            .filter_map(|p| cleanup(p, settings, now_ms))
            .collect(),
        ..Plan::default()
    };
    for group in group::groups(blocks) {
        let first = plan.jobs.len();
        let outcome = simulate::run(&group, settings);
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
            before: renumber(outcome.before),
            after: renumber(outcome.after),
            labels: group.labels,
        });
    }
    plan.keep(&settings.lanes);
    plan.limit_deletions(settings.max_deletions);
    plan
}

/// Whether a folder without usable `meta.json` is to be removed.
///
/// The latest change of any object counts, so an upload that is still under
/// way is left alone however long it takes.
fn cleanup(partial: &PartialView, settings: &Settings, now_ms: i64) -> Option<Cleanup> {
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
mod golden_tests;
#[cfg(test)]
mod index_size_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
