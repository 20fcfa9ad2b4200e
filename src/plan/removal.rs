//! When the bytes of blocks go.
//!
//! ```text
//!  marked          half of the delay         the whole delay
//!    |--------------------|------------------------|-----> removed by the next
//!         takes part          takes part in nothing        run that starts
//! ```

use std::collections::{BTreeMap, HashSet};

use ulid::Ulid;

use super::filter::State;
use super::model::{Job, Plan};
use super::settings::Settings;
use super::view::BucketView;

/// Folders that are removed with common requests.
pub const FOLDERS_AT_ONCE: usize = 250;

/// Requests that remove folders, each given as its number of objects and whether
/// it is a block with a mark, where one request deletes up to `deletes_at_once`.
///
/// First goes `meta.json` of all, then the rest, then the marks, so that each of
/// the three is at least one request for every [`FOLDERS_AT_ONCE`] of them.
pub fn requests(folders: &[(u64, bool)], deletes_at_once: u64) -> u64 {
    let piece = |piece: &[(u64, bool)]| -> u64 {
        let blocks = piece.iter().filter(|(_, is_block)| *is_block).count() as u64;
        let all: u64 = piece.iter().map(|(objects, _)| objects).sum();
        let stages = [blocks, all.saturating_sub(2 * blocks), blocks];
        let requests = |objects: u64| objects.div_ceil(deletes_at_once.max(1));
        stages.into_iter().map(requests).sum()
    };
    folders.chunks(FOLDERS_AT_ONCE).map(piece).sum()
}

/// A block that goes, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The block.
    pub block: Ulid,
    /// What its deletion mark says, or will say.
    pub details: String,
    /// When it was marked, ms since the epoch; `None` if the plan will do that.
    pub marked_ms: Option<i64>,
    /// From when on a run removes it, ms since the epoch. Of a block that is
    /// still to be marked, as if that were done now.
    pub removed_ms: i64,
    /// Bytes of all of its objects.
    pub bytes: u64,
}

/// All blocks of this process that carry a deletion mark or are about to get
/// one, by time of removal, then ULID.
pub(super) fn removals(
    view: &BucketView,
    plan: &Plan,
    settings: &Settings,
    now_ms: i64,
) -> Vec<Removal> {
    let mut to_come: BTreeMap<Ulid, String> = BTreeMap::new();
    // Those of a job that only downsamples stay.
    let compactions = plan.jobs.iter().filter(|job| !job.only_downsamples());
    let replaced = compactions.flat_map(Job::source_ids);
    to_come.extend(replaced.map(|id| (id, "source of compacted block".to_owned())));
    let outdated = plan.garbage.iter().map(|g| g.block);
    to_come.extend(outdated.map(|id| (id, "outdated block".to_owned())));
    to_come.extend(plan.retired.iter().map(|r| (r.block, r.details())));
    // These are other processes' business, or not yet ours.
    let not_ours = [State::TimeExcluded, State::LabelExcluded, State::TooFresh];
    let not_ours = plan.excluded.iter().filter(|(_, s)| not_ours.contains(s));
    let not_ours: HashSet<Ulid> = not_ours.map(|(id, _)| *id).collect();
    let ours = view.blocks.iter().filter(|b| !not_ours.contains(&b.id()));
    let removal = ours.filter_map(|block| {
        let (details, marked_ms) = match &block.deletion {
            Some(mark) => (mark.details.clone(), Some(mark.marked_ms())),
            None => (to_come.remove(&block.id())?, None),
        };
        let from = marked_ms.unwrap_or(now_ms);
        Some(Removal {
            block: block.id(),
            details,
            marked_ms,
            removed_ms: from.saturating_add(settings.delete_delay_ms),
            bytes: block.files.iter().map(|f| f.size).sum(),
        })
    });
    let mut removals: Vec<Removal> = removal.collect();
    removals.sort_by_key(|r| (r.removed_ms, r.block));
    removals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_objects_go_with_one_request_where_the_store_can() {
        let blocks = vec![(4, true); 600];
        // Pieces of 250, 250 and 100; 500 and 200 objects besides metas and marks.
        assert_eq!(requests(&blocks, 1000), 9);
        assert_eq!(requests(&blocks, 1), 2400);
        assert_eq!(requests(&[(2001, false)], 1000), 3);
        assert_eq!(requests(&[], 1000), 0);
    }
}
