//! Everything the planner may depend on besides the bucket and the time.

use super::cost::Machine;
use super::lanes::Lanes;
use super::policy::{Policies, StreamPolicy};
use super::relabel::Selector;
use super::shard::Shard;
use super::view::BlockView;
use crate::block::meta::Labels;
use crate::merge::Dedup;

/// Block ranges of `thanos compact`, ms: 1h is only the smallest block size,
/// nothing is ever merged into 1h.
pub const RANGES_MS: [i64; 5] = [3_600_000, 7_200_000, 28_800_000, 172_800_000, 1_209_600_000];

/// Age, by its newest object, at which a folder without `meta.json` counts as
/// given up, ms. Fixed upstream, too.
pub const PARTIAL_AGE_MS: i64 = 48 * 3600 * 1000;

/// Settings of a plan.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Minimum age of a block that an ingesting component uploaded, ms.
    pub consistency_delay_ms: i64,
    /// Age of a deletion mark at which the block is removed, ms. A marked
    /// block takes part in nothing once half of it has passed.
    pub delete_delay_ms: i64,
    /// External labels that tell replicas apart, ascending.
    pub replica_labels: Vec<String>,
    /// Blocks whose times overlap may be merged.
    pub vertical: bool,
    /// How their samples become one stream.
    pub dedup: Dedup,
    /// Block ranges, ascending, ms; the first is only the smallest size.
    pub ranges_ms: Vec<i64>,
    /// Blocks that lie wholly before or behind take part in nothing, ms.
    pub time_range_ms: (i64, i64),
    /// Which streams are this process's, by rules.
    pub selector: Selector,
    /// Which of them are, by number; `None` is all.
    pub shard: Option<Shard>,
    /// Largest index a compaction may make, bytes. Blocks are kept out of
    /// compactions from [`Settings::INDEX_SHARE`] of it on.
    pub max_index_bytes: u64,
    /// Straight from the sources into the final block, or step by step.
    pub one_pass: bool,
    /// Predicted seconds at which a chain of compactions is cut.
    pub max_job_seconds: f64,
    /// A folder whose `meta.json` is no JSON is never removed.
    pub keep_corrupted: bool,
    /// How long raw blocks, blocks of 5 minutes and of 1 hour are kept after
    /// their end, ms; 0 is for ever.
    pub retention_ms: [i64; 3],
    /// A block past its retention is retired even if nothing of lower
    /// resolution stands in for it and something could.
    pub force_retention: bool,
    /// Whether blocks of lower resolution are made.
    pub downsampling: bool,
    /// Whoever runs this knows that data goes which no lower resolution keeps.
    pub loss_acknowledged: bool,
    /// Rules that change retention, dedup and downsampling for some streams.
    pub policies: Policies,
    /// Kinds of work that stand in the plan; others are left out.
    pub lanes: Lanes,
    /// Blocks that may be removed; `None` is no limit. Those that were marked
    /// first go first.
    pub max_deletions: Option<usize>,
    /// What predictions are made for.
    pub machine: Machine,
}

impl Settings {
    /// Share of [`Settings::max_index_bytes`] that the indexes of the sources
    /// together have to stay below: their sum is the worst case of the result.
    pub const INDEX_SHARE: f64 = 0.85;

    /// The limit that sums of index sizes are compared with, bytes.
    pub fn index_limit(&self) -> u64 {
        (self.max_index_bytes as f64 * Self::INDEX_SHARE) as u64
    }

    /// What holds for a stream with these labels (replica labels taken off):
    /// the rules, and the values above where no rule says anything.
    pub fn policy(&self, labels: &Labels) -> StreamPolicy {
        self.policies.of(labels, self.flag_policy())
    }

    /// What holds where no rule says anything.
    pub fn flag_policy(&self) -> StreamPolicy {
        StreamPolicy {
            retention_ms: self.retention_ms,
            dedup: self.dedup,
            downsampling: self.downsampling,
        }
    }

    /// Whether selector and shard give a block to this process.
    pub fn selects(&self, block: &BlockView) -> bool {
        let labels = &block.meta.thanos.labels;
        let ours = |shard: Shard| shard.has_stream(labels, &self.replica_labels);
        self.shard.is_none_or(ours) && self.selector_keeps(block)
    }

    fn selector_keeps(&self, block: &BlockView) -> bool {
        if self.selector.is_empty() {
            return true;
        }
        // Replicas must not end up in different shards.
        let mut labels = block.meta.thanos.labels.clone();
        labels.retain(|name, _| !self.replica_labels.contains(name));
        self.selector.keeps(&labels, block.id())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consistency_delay_ms: 30 * 60 * 1000,
            delete_delay_ms: 48 * 3600 * 1000,
            replica_labels: Vec::new(),
            vertical: false,
            dedup: Dedup::OneToOne,
            ranges_ms: RANGES_MS.to_vec(),
            time_range_ms: (i64::MIN, i64::MAX),
            selector: Selector::default(),
            shard: None,
            max_index_bytes: 64 << 30,
            one_pass: true,
            max_job_seconds: 3600.0,
            keep_corrupted: false,
            retention_ms: [0; 3],
            force_retention: false,
            downsampling: true,
            loss_acknowledged: false,
            policies: Policies::default(),
            lanes: Lanes::default(),
            max_deletions: None,
            machine: Machine::default(),
        }
    }
}
