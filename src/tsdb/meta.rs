//! The Prometheus part of `meta.json`: who the block is and where it came from.
//!
//! Field order is the order in the file. Zero counts and empty lists are left
//! out, as Prometheus does; keys we do not know are kept and written back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

/// The only version of `meta.json` there is.
pub const META_VERSION: u64 = 1;

/// Identity, time range and origin of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Name of the block; a new one at every compaction.
    pub ulid: Ulid,
    /// First moment the block may hold samples of, ms since the epoch.
    #[serde(rename = "minTime")]
    pub min_time: i64,
    /// End of the range, ms since the epoch, itself not part of it.
    #[serde(rename = "maxTime")]
    pub max_time: i64,
    /// What the block holds.
    #[serde(default)]
    pub stats: BlockStats,
    /// What the block was made from.
    #[serde(default)]
    pub compaction: Compaction,
    /// Version of the file, [`META_VERSION`].
    pub version: u64,
}

/// Counts of what a block holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of all kinds; for downsampled blocks those of the count column.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Samples in float chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Samples in chunks of either histogram kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series that have at least one chunk.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted ranges that are still to be applied.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Short description of a direct input of a compaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDesc {
    /// Name of the input.
    pub ulid: Ulid,
    /// Start of its range, ms.
    #[serde(rename = "minTime")]
    pub min_time: i64,
    /// End of its range, ms, exclusive.
    #[serde(rename = "maxTime")]
    pub max_time: i64,
}

/// What a block was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// 1 for a block cut from a head, else one more than the highest input.
    pub level: u32,
    /// The head blocks that went in over all generations, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    /// Set by Prometheus on blocks whose compaction left no sample.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The direct inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    /// Set by Prometheus when a compaction of this block failed.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Free hints such as `from-out-of-order`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Keys of newer producers.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl BlockMeta {
    /// The meta of the block that a compaction of `inputs` makes: hull of
    /// their ranges, next level, union of their sources, inputs as parents in
    /// the order given. Statistics are still to be counted.
    ///
    /// `None` without inputs.
    pub fn compacted(ulid: Ulid, inputs: &[&Self]) -> Option<Self> {
        let min_time = inputs.iter().map(|m| m.min_time).min()?;
        let max_time = inputs.iter().map(|m| m.max_time).max()?;
        let level = inputs.iter().map(|m| m.compaction.level).max()?;
        let mut sources: Vec<Ulid> = inputs
            .iter()
            .flat_map(|m| m.source_ids().iter().copied())
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let parents = inputs.iter().map(|m| m.desc()).collect();
        Some(Self {
            ulid,
            min_time,
            max_time,
            stats: BlockStats::default(),
            compaction: Compaction {
                // It was read: 2^32 - 1 may stand there.
                level: level.saturating_add(1),
                sources,
                parents,
                ..Compaction::default()
            },
            version: META_VERSION,
        })
    }

    /// The head blocks it was made from: itself if it names none, so that what
    /// is made of it stands in for it.
    pub fn source_ids(&self) -> &[Ulid] {
        match self.compaction.sources.as_slice() {
            [] => std::slice::from_ref(&self.ulid),
            sources => sources,
        }
    }

    /// Name and range.
    pub fn desc(&self) -> BlockDesc {
        BlockDesc {
            ulid: self.ulid,
            min_time: self.min_time,
            max_time: self.max_time,
        }
    }

    /// Length of the range in ms; 0 for a range that lies backwards.
    pub fn duration_ms(&self) -> i64 {
        self.max_time.saturating_sub(self.min_time).max(0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !*b
}
