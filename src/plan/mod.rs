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

pub mod filter;
pub mod group;
pub mod leveled;
mod model;
pub mod relabel;
pub mod view;

pub use model::{Garbage, Held, Job, JobKind, Plan, RANGES_MS, Reason, Settings};

use filter::Live;
use view::BucketView;

/// Plans the next step of every group.
///
/// `now_ms` is milliseconds since the epoch. The result is ordered by group
/// and time, and does not depend on the order of the blocks in `view`.
pub fn plan(view: &BucketView, settings: &Settings, now_ms: i64) -> Plan {
    let Live { blocks, garbage } = filter::live(view, settings, now_ms);
    let mut plan = Plan {
        garbage,
        ..Plan::default()
    };
    for group in group::groups(blocks) {
        plan_group(&group, settings, &mut plan);
    }
    plan
}

/// Adds the next job of one group to the plan, or the reason there is none.
fn plan_group(group: &group::Group, settings: &Settings, plan: &mut Plan) {
    if group.blocks.len() < 2 {
        return;
    }
    let spans: Vec<leveled::Span> = group.blocks.iter().map(leveled::Span::of).collect();
    let overlap = leveled::overlapping(&spans);
    let mergeable = settings.vertical && group.resolution == 0;
    if !overlap.is_empty() && !mergeable {
        plan.held.push(Held::overlap(group, &overlap));
        return;
    }
    let Some((picked, reason)) = leveled::next(&spans, &settings.ranges_ms) else {
        return;
    };
    let sources = picked.iter().map(|&i| group.blocks[i].clone()).collect();
    plan.jobs.push(Job::new(group, sources, reason));
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
