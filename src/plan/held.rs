//! Blocks that are left alone, with the reason and the way out.

use std::sync::Arc;

use ulid::Ulid;

use super::filter::LiveBlock;
use super::group::Group;
use super::model::{Held, HeldReason};
use super::settings::Settings;
use crate::block::markers::{NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK};
use crate::block::meta::Labels;
use crate::tsdb::Damage;

impl Held {
    /// Blocks that overlap and may not be merged.
    pub(super) fn overlap<'a>(group: &Group, blocks: impl Iterator<Item = &'a LiveBlock>) -> Self {
        let blocks: Vec<&LiveBlock> = blocks.collect();
        let (what, cure) = if group.resolution != 0 {
            (
                "downsampled blocks of this stream overlap in time",
                "keep all but one of them out of compactions with no-compact-mark.json, which \
                 happens by itself with --compact.enable-vertical-compaction or replica labels"
                    .to_owned(),
            )
        } else {
            (
                "blocks of this stream overlap in time",
                differing_labels(&blocks),
            )
        };
        let start = blocks.iter().map(|b| b.min_time()).min();
        let end = blocks.iter().map(|b| b.max_time()).max();
        Self {
            group: group.key,
            labels: Arc::new(group.labels.clone()),
            why: HeldReason::OverlapNotAllowed,
            what: format!("{} {what}", blocks.len()),
            cure,
            blocks: blocks.iter().map(|b| b.id()).collect(),
            range: (start.unwrap_or(0), end.unwrap_or(0)),
        }
    }

    /// Blocks whose compaction needs more scratch than there is, bytes.
    pub(super) fn scratch<'a>(
        group: &Group,
        blocks: impl Iterator<Item = &'a LiveBlock>,
        needed: u64,
        settings: &Settings,
    ) -> Self {
        let blocks: Vec<&LiveBlock> = blocks.collect();
        let start = blocks.iter().map(|b| b.min_time()).min();
        let end = blocks.iter().map(|b| b.max_time()).max();
        Self {
            group: group.key,
            labels: Arc::new(group.labels.clone()),
            why: HeldReason::Scratch,
            what: format!(
                "their compaction needs at least {needed} bytes of scratch, {} may be used",
                settings.machine.scratch_bytes
            ),
            cure: "raise --max-scratch, or give a larger disk with --data-dir".to_owned(),
            blocks: blocks.iter().map(|b| b.id()).collect(),
            range: (start.unwrap_or(0), end.unwrap_or(0)),
        }
    }

    /// One block that its own state keeps out of compactions.
    pub(super) fn alone(group: &Group, labels: &Arc<Labels>, block: &LiveBlock) -> Option<Self> {
        let id = block.id();
        let (why, what, cure) = if let Some(damage) = block.view.quarantine() {
            let details = block.view.no_compact.as_ref().map(|mark| &mark.details);
            (
                HeldReason::Quarantined,
                format!("{damage}: {}", details.map_or("", String::as_str)),
                cure_of_quarantine(damage, id),
            )
        } else if let Some(found) = &block.view.damaged {
            (
                HeldReason::Damaged,
                found.to_string(),
                found.reason.cure(id),
            )
        } else if let Some(mark) = &block.view.no_compact {
            (
                HeldReason::NoCompactMark,
                format!("{}: {}", mark.reason, mark.details),
                format!("remove {id}/{NO_COMPACT_MARK} to compact it again"),
            )
        } else if block.view.is_parquet_migrated() {
            (
                HeldReason::ParquetMigrated,
                "its samples were migrated to Parquet files".to_owned(),
                "nothing to do: readers use the Parquet files".to_owned(),
            )
        } else if block.view.meta.tsdb.compaction.failed {
            (
                HeldReason::CompactionFailed,
                "prometheus failed to compact it, its windows wait".to_owned(),
                format!("look into its samples, then set compaction.failed in {id}/meta.json back"),
            )
        } else {
            return None;
        };
        Some(Self {
            group: group.key,
            labels: Arc::clone(labels),
            why,
            what,
            cure,
            blocks: vec![id],
            range: (block.min_time(), block.max_time()),
        })
    }
}

/// How to get a block out of quarantine.
pub fn cure_of_quarantine(damage: Damage, block: Ulid) -> String {
    format!(
        "{}; then remove {NO_COMPACT_MARK} and {NO_DOWNSAMPLE_MARK} from {block}/",
        damage.cure(block)
    )
}

/// What to do about raw blocks that overlap: name the label that tells them
/// apart, if there is one; they have equal labels when replica labels are
/// missing altogether.
fn differing_labels(blocks: &[&LiveBlock]) -> String {
    let ids: Vec<String> = blocks.iter().skip(1).map(|b| b.id().to_string()).collect();
    format!(
        "merge them with --compact.enable-vertical-compaction (or give the label that tells the \
         replicas apart with --deduplication.replica-label), or leave all but one out: put \
         {NO_COMPACT_MARK} into the folders of {}",
        ids.join(", ")
    )
}
